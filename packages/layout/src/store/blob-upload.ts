import { createHash, randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { lstat, open, readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Abortable, Bytes } from "../content.js";
import { type Digest, type DigestAlgorithm, Hasher } from "../model/digest.js";
import { systemError, systemErrorCode } from "../model/errors.js";
import { mediaTypes } from "../model/media-types.js";
import { makeDirectory, openRegularFile, readChunks, removeFile, replaceFile } from "./files.js";
import { active, checkArrived, isAbandoned, NOBODY, takeOver } from "./partial-blob.js";
import { processMark } from "./process.js";
import { writeStream } from "./write-stream.js";

/** A blob that arrives in parts before anybody has said what its digest is. One caller at a time adds to it. */
export interface BlobUpload {
  /** The bytes that have arrived. */
  readonly size: number;
  /**
   * Adds bytes to the end. When it has resolved, they are kept even where the process is killed, if the store itself outlives
   * it. Where `bytes` fails, what came before stays, and the error is the caller's.
   */
  append(bytes: Bytes, options?: Abortable): Promise<void>;
  /** Makes it the blob with this digest and ends it. Fails with `MISMATCH`, and keeps nothing, where it is not that blob. */
  commit(digest: Digest): Promise<void>;
  /** Gives it up; nothing stays behind. */
  remove(): Promise<void>;
  /** Leaves it as it is to the next process that looks for it. */
  leave(): Promise<void>;
}

/** The uploads of a store. Each has a name, which may hold anything and is nobody else's. */
export interface BlobUploads {
  /** Begins one. To commit it with a digest of another algorithm than this one costs a reading. Default: sha256. */
  begin(name: string, algorithm?: DigestAlgorithm): Promise<BlobUpload>;
  /**
   * Goes on with the one that was left under this name, or whose process has ended, where something was added to it in the
   * last `idle` ms; an older one is removed. Undefined where there is none.
   */
  find(name: string, idle: number): Promise<BlobUpload | undefined>;
  /** Removes those that nobody is at and to which nothing was added for `idle` ms. */
  expire(idle: number): Promise<void>;
}

const PREFIX = "partial.upload-";

/** Gives a whole and verified file its place among the blobs. */
type Place = (path: string, digest: Digest) => Promise<void>;

/** Uploads in files of `ingest`. Each belongs to one process at a time, and outlives it. */
export class FileUploads implements BlobUploads {
  readonly #ingest: string;
  readonly #place: Place;

  constructor(ingest: string, place: Place) {
    this.#ingest = ingest;
    this.#place = place;
  }

  async begin(name: string, algorithm: DigestAlgorithm = "sha256"): Promise<BlobUpload> {
    const path = this.#path(name);
    try {
      await (await open(path, "wx")).close();
    } catch (error) {
      if (systemErrorCode(error) !== "ENOENT") throw systemError(error, "cannot begin an upload");
      await makeDirectory(this.#ingest);
      await (await open(path, "wx")).close();
    }
    active.add(basename(path));
    return new FileUpload(path, 0, new Hasher(algorithm), this.#place);
  }

  async find(name: string, idle: number): Promise<BlobUpload | undefined> {
    const path = this.#path(name);
    active.add(basename(path));
    try {
      if (await takeOver(this.#ingest, prefixOf(name), path)) {
        const { size, mtimeMs } = await lstat(path);
        if (Date.now() - mtimeMs < idle) return new FileUpload(path, size, undefined, this.#place);
        await removeFile(path);
      }
    } catch (error) {
      if (systemErrorCode(error) !== "ENOENT") throw systemError(error, "cannot go on with an upload");
    }
    active.delete(basename(path));
    return undefined;
  }

  async expire(idle: number): Promise<void> {
    for (const name of await namesIn(this.#ingest)) {
      if (!name.startsWith(PREFIX)) continue;
      const path = join(this.#ingest, name);
      const written = (await lstat(path).catch(() => undefined))?.mtimeMs ?? Number.POSITIVE_INFINITY;
      if (Date.now() - written >= idle && isAbandoned(name, written)) await removeFile(path);
    }
  }

  #path(name: string): string {
    return join(this.#ingest, `${prefixOf(name)}${processMark}-${randomBytes(8).toString("hex")}`);
  }
}

function prefixOf(name: string): string {
  return `${PREFIX}${createHash("sha256").update(name).digest("hex")}.`;
}

async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return [];
    throw systemError(error, `cannot read ${directory}`);
  }
}

class FileUpload implements BlobUpload {
  size: number;
  readonly #path: string;
  /** Has been fed all that arrived; undefined where an earlier process took some of it. */
  readonly #hasher: Hasher | undefined;
  readonly #place: Place;

  constructor(path: string, size: number, hasher: Hasher | undefined, place: Place) {
    this.#path = path;
    this.size = size;
    this.#hasher = hasher;
    this.#place = place;
  }

  async append(bytes: Bytes, { signal }: Abortable = {}): Promise<void> {
    const from = this.size;
    let broken: unknown;
    const counted = async function* (this: FileUpload): AsyncGenerator<Uint8Array, void, undefined> {
      try {
        for await (const chunk of bytes) {
          this.size += chunk.byteLength;
          yield chunk;
        }
      } catch (error) {
        broken = error;
        throw error;
      }
    };
    try {
      const handle = await open(this.#path, constants.O_WRONLY | (constants.O_NOFOLLOW ?? 0));
      try {
        // Where an earlier process took bytes, all are hashed once the last has arrived.
        const hasher = this.#hasher ?? { update() {} };
        await writeStream(handle, counted.call(this), hasher, { from, limit: Number.MAX_SAFE_INTEGER, signal });
      } finally {
        await handle.close();
      }
    } catch (error) {
      throw error === broken ? error : systemError(error, "cannot store a part of a blob");
    }
  }

  async commit(digest: Digest): Promise<void> {
    try {
      const expected = Hasher.for(digest);
      const hasher = this.#hasher?.algorithm === expected.algorithm ? this.#hasher : await this.#read(expected);
      checkArrived({ mediaType: mediaTypes.octetStream, digest, size: this.size }, this.size, hasher.digest());
      await this.#place(this.#path, digest);
    } catch (error) {
      await removeFile(this.#path).catch(() => {});
      throw systemError(error, `cannot store ${digest}`);
    } finally {
      active.delete(basename(this.#path));
    }
  }

  async #read(hasher: Hasher): Promise<Hasher> {
    const { handle } = await openRegularFile(this.#path);
    for await (const chunk of readChunks(handle)) hasher.update(chunk);
    return hasher;
  }

  async remove(): Promise<void> {
    active.delete(basename(this.#path));
    await removeFile(this.#path);
  }

  async leave(): Promise<void> {
    // A process that cannot see this one, as one in another container, would wait before it takes the file.
    const left = basename(this.#path).replace(processMark, NOBODY);
    await replaceFile(this.#path, join(dirname(this.#path), left));
    active.delete(basename(this.#path));
  }
}
