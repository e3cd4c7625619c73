import type { FileHandle } from "node:fs/promises";
import type { Digest } from "../model/digest.js";
import { isOciError } from "../model/errors.js";
import { fileStamp } from "./file-stamp.js";

/** How many blobs are remembered as verified. */
const REMEMBERED = 100_000;

/** An open blob, read piece by piece into memory of the reader's own. */
export interface OpenBlob {
  /** Fills the buffer from the offset on, as far as there are bytes; returns how many. */
  readInto(buffer: Uint8Array, offset: number): Promise<number>;
  /**
   * Resolves when all of the blob is known to have its digest, which may be long since; fails with `MISMATCH` where it has not.
   * Who passes bytes on keeps the last of them back until then.
   */
  verified(): Promise<void>;
  close(): Promise<void>;
}

/** What this process has read whole and found to be right, as long as the file stays as it was then. */
export class VerifiedBlobs {
  readonly #stamps = new Map<Digest, string>();
  readonly #running = new Map<string, Promise<void>>();

  /**
   * Runs `check`, unless it has succeeded for this file before, or does so right now for somebody else. The file counts as
   * another one when anything about it changes, as far as the file system tells.
   */
  async check(digest: Digest, handle: FileHandle, check: () => Promise<void>): Promise<void> {
    const stamp = await fileStamp(handle, true);
    if (stamp !== undefined && this.#stamps.get(digest) === stamp) return;
    const key = `${digest} ${stamp ?? (await fileStamp(handle))}`;
    const running = this.#running.get(key);
    if (running !== undefined) {
      try {
        return await running;
      } catch (error) {
        if (isOciError(error)) throw error;
        // Whoever began has given up.
        return this.check(digest, handle, check);
      }
    }
    const work = this.#remembering(digest, stamp, check);
    this.#running.set(key, work);
    try {
      await work;
    } finally {
      this.#running.delete(key);
    }
  }

  async #remembering(digest: Digest, stamp: string | undefined, check: () => Promise<void>): Promise<void> {
    await check();
    if (stamp === undefined) return;
    if (this.#stamps.size >= REMEMBERED) this.#stamps.clear();
    this.#stamps.set(digest, stamp);
  }
}
