import { type BigIntStats, lstatSync } from "node:fs";
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
  return stampOf(
    await (typeof file === "string" ? lstat(file, { bigint: true }) : file.stat({ bigint: true })),
    inPlace,
  );
}

/**
 * As {@link fileStamp} with `inPlace`, at once and without giving way to anything else. Undefined also where there is no such
 * regular file, and where it was not changed after `since` (ms since 1970).
 */
export function fileStampAtOnce(path: string, since = 0): string | undefined {
  const stats = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  return stats?.isFile() !== true || Number(stats.mtimeMs) <= since ? undefined : stampOf(stats, true);
}

function stampOf(stats: BigIntStats, inPlace: boolean): string | undefined {
  const { dev, ino, size, mtimeNs, ctimeNs, ctimeMs } = stats;
  const settled = ctimeNs % COARSE === 0n ? SETTLED.coarse : SETTLED.fine;
  if (inPlace && Date.now() - Number(ctimeMs) < settled) return undefined;
  return `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`;
}
