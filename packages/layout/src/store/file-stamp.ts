import { type FileHandle, lstat } from "node:fs/promises";

/** After this time without a change, in ms, the times of a file tell every later change; some file systems count in seconds. */
const SETTLED = 2_000;

/**
 * What changes whenever a file does. With `inPlace`, for a file that others may write without replacing it, undefined where
 * it changed so lately that another change might not show.
 */
export async function fileStamp(file: string | FileHandle, inPlace = false): Promise<string | undefined> {
  const { dev, ino, size, mtimeNs, ctimeNs, ctimeMs } = await (typeof file === "string"
    ? lstat(file, { bigint: true })
    : file.stat({ bigint: true }));
  if (inPlace && Date.now() - Number(ctimeMs) < SETTLED) return undefined;
  return `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`;
}
