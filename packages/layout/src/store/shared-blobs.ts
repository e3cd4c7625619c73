import { randomBytes } from "node:crypto";
import { stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { type Digest, digestAlgorithm, digestEncoded } from "../model/digest.js";
import { OciError, systemError } from "../model/errors.js";
import { type Cloned, cloneFile } from "./clone.js";
import { makeDirectory, removeFile, replaceFile } from "./files.js";
import { processMark } from "./process.js";
import { sweepTemporaryBlobs, temporaryBlob } from "./sweep.js";

/** Between a layout and a directory that was named for sharing: blocks where the file system can, the file itself, or a copy. */
export const SHARED: readonly Cloned[] = ["reflink", "hardlink", "copy"];

/**
 * A directory of blobs that several layouts share, `ALGORITHM/ENCODED` as below `blobs` of a layout; it may be that of a
 * layout. What is found in it is verified before a layout takes it, and nothing in it is ever written in place.
 */
export class SharedBlobs {
  readonly directory: string;
  /** The directories in which leftovers were looked for. Once in the life of a process is enough. */
  readonly #swept = new Set<string>();

  constructor(directory: string) {
    this.directory = resolve(directory);
  }

  /** The path of a blob, whether it is there or not. */
  path(digest: Digest): string {
    return join(this.directory, digestAlgorithm(digest), digestEncoded(digest));
  }

  /** Adds a blob, whose content is known to be right, and replaces what stands under its digest. */
  async add(blob: string, digest: Digest): Promise<void> {
    const path = this.path(digest);
    const temporary = join(dirname(path), temporaryBlob(`${processMark}-${randomBytes(8).toString("hex")}`));
    try {
      await makeDirectory(dirname(path));
      if (await isSameFile(blob, path)) return;
      await cloneFile(blob, temporary, SHARED);
      await replaceFile(temporary, path);
      await this.#sweep(dirname(path));
      // Renaming one name of a file over another name of it does nothing at all.
      await removeFile(temporary);
    } catch (error) {
      await removeFile(temporary).catch(() => {});
      throw systemError(error, `cannot add ${digest} to the shared blobs in ${this.directory}`);
    }
  }

  async #sweep(directory: string): Promise<void> {
    if (this.#swept.has(directory)) return;
    this.#swept.add(directory);
    // What another user has left there stays.
    await sweepTemporaryBlobs(directory).catch(() => {});
  }
}

async function isSameFile(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([one, other].map((path) => stat(path).catch(() => undefined)));
  return a !== undefined && b !== undefined && a.ino === b.ino && a.dev === b.dev;
}

/** Fails with `INVALID` where a directory to share blobs with is named by an empty text. */
export function sharedBlobs(directory: string | undefined): SharedBlobs | undefined {
  if (directory === undefined) return undefined;
  if (directory === "") throw new OciError("INVALID", "the directory of shared blobs has no name");
  return new SharedBlobs(directory);
}
