import { constants } from "node:fs";
import { copyFile, link, lstat, utimes } from "node:fs/promises";
import { systemErrorCode } from "../model/errors.js";

/** How one file got the content of another: sharing its blocks until one of them is written, being the same file, or as a copy. */
export type Cloned = "reflink" | "hardlink" | "copy";

/** What a file system says that cannot do it, or cannot do it between these two places. */
const CANNOT: ReadonlySet<string | undefined> = new Set([
  ...["ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EXDEV", "EINVAL", "ENOTTY", "EPERM", "EACCES", "EMLINK", "EBADF", "UNKNOWN"],
]);

/**
 * Makes the new file `to` with the content of the regular file `from`, by the first of `ways` that the file system can do.
 * Returns undefined where it can do none of them or `from` is no regular file. A hard link is `from` itself: neither may
 * ever be written in place, only replaced.
 */
export async function cloneFile(from: string, to: string, ways: readonly Cloned[]): Promise<Cloned | undefined> {
  const stat = await lstat(from).catch(() => undefined);
  if (stat?.isFile() !== true) return undefined;
  for (const way of ways) {
    try {
      await cloneAs[way](from, to);
      return way;
    } catch (error) {
      if (!CANNOT.has(systemErrorCode(error))) throw error;
    }
  }
  return undefined;
}

const cloneAs: Readonly<Record<Cloned, (from: string, to: string) => Promise<void>>> = {
  reflink: (from, to) => copyFile(from, to, constants.COPYFILE_FICLONE_FORCE | constants.COPYFILE_EXCL),
  async hardlink(from, to) {
    await link(from, to);
    // It has just arrived here: its time says so, as that of a copy does, to those who spare what is young.
    const now = new Date();
    await utimes(to, now, now).catch(() => {});
  },
  copy: (from, to) => copyFile(from, to, constants.COPYFILE_EXCL),
};
