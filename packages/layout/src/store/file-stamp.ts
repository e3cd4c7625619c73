import { type FileHandle, lstat } from "node:fs/promises";

/**
 * After this time without a change, in ms, the times of a file tell every later change: on a file system that counts time
 * finely, and on one that may count it in seconds.
 */
const SETTLED = { fine: 100, coarse: 2_000 };
/** In ns. Where a time is no multiple of this, the file system counts finer. */
const COARSE = 10_000_000n;

/**
 * What changes whenever a file does. With `inPlace`, for a file that others may write without replacing it, undefined where
 * it changed so lately that another change might not show.
 */
export async function fileStamp(file: string | FileHandle, inPlace = false): Promise<string | undefined> {
  const { dev, ino, size, mtimeNs, ctimeNs, ctimeMs } = await (typeof file === "string"
    ? lstat(file, { bigint: true })
    : file.stat({ bigint: true }));
  const settled = ctimeNs % COARSE === 0n ? SETTLED.coarse : SETTLED.fine;
  if (inPlace && Date.now() - Number(ctimeMs) < settled) return undefined;
  return `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`;
}
