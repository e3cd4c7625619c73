import { lstatSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, renameSync, rmdirSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { OciError, systemError, systemErrorCode } from "@stowage/layout";

/** Where an image is unpacked to, and what becomes of it at the end. */
export interface Destination {
  /** Where to write. */
  readonly path: string;
  /** True where nothing was in it. */
  readonly isNew: boolean;
  /** Makes what was written the destination. */
  commit(): void;
  /** Leaves things as they were, with `clear` to empty what was empty. */
  abandon(clear: () => void): void;
}

/**
 * Prepares a directory to unpack into. One that is missing comes to be at the end, whole, with its parents; one that is
 * empty is empty again after a failure. Fails with `CONFLICT` where there is something in it, unless `force` is set: then
 * the image goes on top of that, and a failure leaves what was written so far.
 */
export function prepareDestination(directory: string, force: boolean): Destination {
  try {
    const status = statSync(directory, { throwIfNoEntry: false });
    if (status === undefined) return prepareNew(resolve(directory));
    if (!status.isDirectory()) throw new OciError("CONFLICT", `cannot unpack into ${directory}: it is not a directory`);
    const path = realpathSync(directory);
    const isNew = readdirSync(path).length === 0;
    if (!isNew && !force)
      throw new OciError("CONFLICT", `cannot unpack into ${directory}: there is something in it`, {
        hint: "Name a directory that does not exist; --force puts the image on top of what is there.",
      });
    return { path, isNew, commit: () => {}, abandon: (clear) => isNew && clear() };
  } catch (error) {
    throw systemError(error, `cannot unpack into ${directory}`);
  }
}

function prepareNew(directory: string): Destination {
  if (lstatSync(directory, { throwIfNoEntry: false }) !== undefined)
    throw new OciError("CONFLICT", `cannot unpack into ${directory}: it is a symbolic link to nothing`);
  mkdirSync(dirname(directory), { recursive: true });
  const path = mkdtempSync(join(dirname(directory), `.${basename(directory)}.unpacking-`));
  return {
    path,
    isNew: true,
    commit: () => {
      try {
        renameSync(path, directory);
      } catch (error) {
        const taken = ["ENOTEMPTY", "EEXIST", "ENOTDIR"].includes(systemErrorCode(error) ?? "");
        if (!taken) throw systemError(error, `cannot unpack into ${directory}`);
        throw new OciError("CONFLICT", `cannot unpack into ${directory}: it came into being meanwhile`, {
          cause: error,
        });
      }
    },
    abandon: (clear) => {
      clear();
      rmdirSync(path);
    },
  };
}
