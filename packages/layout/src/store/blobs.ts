import { randomBytes } from "node:crypto";
import { type FileHandle, lstat, open, utimes } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Abortable, Bytes, FetchOptions } from "../content.js";
import type { Descriptor } from "../model/descriptor.js";
import {
  type Digest,
  type DigestAlgorithm,
  digestAlgorithm,
  digestEncoded,
  Hasher,
  isVerifiable,
} from "../model/digest.js";
import { isOciError, OciError, systemError, systemErrorCode } from "../model/errors.js";
import { damaged, verified } from "../model/verified.js";
import { AllowedRoots } from "./allowed-roots.js";
import { type Cloned, cloneFile } from "./clone.js";
import { makeDirectory, openRegularFile, readAtOnce, readChunks, removeFile, replaceFile } from "./files.js";
import { gzipDigests } from "./gzip-digests.js";
import { type HashOptions, hashFile, WORTH_A_THREAD } from "./hash-threads.js";
import { checkArrived, fetchPartially, WORTH_KEEPING } from "./partial-blob.js";
import { processMark } from "./process.js";
import { type OpenBlob, VerifiedBlobs } from "./verified-blobs.js";
import { type HashedStreamOptions, writeHashed } from "./write-stream.js";

/** After this time, in ms, a blob that a writer counts on is marked as used anew. Far below any sensible grace time of a collection. */
export const REFRESH_AFTER = 60_000;

/** The largest blob that is read without giving way, in bytes. */
const SMALL = 16 * 1024;

function isContentOf(bytes: Uint8Array, digest: Digest): boolean {
  const hasher = Hasher.for(digest);
  hasher.update(bytes);
  return hasher.digest() === digest;
}

/** Has another thread hash an open file, and copy it where the options say so. Fails with `MISMATCH` where it is not that blob. */
async function hashIn({ fd }: FileHandle, path: string, digest: Digest, options: HashOptions): Promise<void> {
  const { algorithm } = Hasher.for(digest);
  const found = `${algorithm}:${await hashFile(fd, algorithm, options)}`;
  if (found !== digest) throw damaged(`${digest} at ${path}`, found);
}

function wrongSize({ digest, size: declared }: Descriptor, path: string, size: number): OciError {
  return new OciError("MISMATCH", `${digest} at ${path} has ${size} bytes; its descriptor says ${declared}`);
}

/** What storing a blob may be told, and may tell. */
export interface StoreOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onBytes?: ((count: number) => void) | undefined;
  /** The bytes from an offset on, where what arrived before a failure is to be kept for the next time. */
  readonly openFrom?: ((offset: number) => Bytes) | undefined;
}

/**
 * The `blobs` directory of a layout and the `ingest` directory beside it, where content stays until it is known to be
 * whole. A file under `blobs` is complete from the moment it has its name, whichever process is killed. Blobs are not forced
 * to the disk: after a power loss one may be short, which its size and every read tell. image-spec v1.1.1,
 * image-layout.md "Blobs".
 */
export class BlobDirectory {
  /** The directory of the layout. */
  readonly root: string;
  readonly #allowed: AllowedRoots;
  readonly #verified = new VerifiedBlobs();
  readonly #running = new Map<Digest, { readonly size: number; readonly work: Promise<void> }>();

  constructor(root: string, allowed = new AllowedRoots()) {
    this.root = root;
    this.#allowed = allowed;
  }

  get ingest(): string {
    return join(this.root, "ingest");
  }

  /** The path of the lock of the layout. */
  get lock(): string {
    return join(this.ingest, "lock");
  }

  /** The path of a blob. Only a {@link Digest} makes one, so it cannot leave the directory. */
  path(digest: Digest): string {
    return join(this.root, "blobs", digestAlgorithm(digest), digestEncoded(digest));
  }

  /** A name in `ingest` that nobody else uses. It names this process, so that a leftover can be told from work. */
  temporary(): string {
    return join(this.ingest, `${processMark}-${randomBytes(8).toString("hex")}`);
  }

  /** The size in bytes, or undefined where there is no regular file under that digest. */
  async size(digest: Digest): Promise<number | undefined> {
    try {
      const stat = await lstat(await this.#allowed.follow(this.path(digest)));
      return stat.isFile() ? stat.size : undefined;
    } catch (error) {
      if (isOciError(error)) return undefined;
      if (systemErrorCode(error) === "ENOENT" || systemErrorCode(error) === "ENOTDIR") return undefined;
      throw systemError(error, `cannot look for ${this.path(digest)}`);
    }
  }

  /**
   * The size in bytes as {@link size} tells it, for somebody who will count on the blob: its time of modification is made
   * recent, so that a collection spares it until an index names it.
   */
  async claim(digest: Digest): Promise<number | undefined> {
    const path = this.path(digest);
    try {
      const stat = await lstat(await this.#allowed.follow(path));
      if (!stat.isFile()) return undefined;
      const now = new Date();
      if (now.getTime() - stat.mtimeMs < REFRESH_AFTER) return stat.size;
      await utimes(path, now, now).catch((error: unknown) => {
        // What cannot be changed here is not collected from here either. A blob that is gone by now was being collected.
        if (!["EPERM", "EACCES", "EROFS"].includes(systemErrorCode(error) ?? "")) throw error;
      });
      return stat.size;
    } catch (error) {
      if (isOciError(error)) return undefined;
      if (systemErrorCode(error) === "ENOENT" || systemErrorCode(error) === "ENOTDIR") return undefined;
      throw systemError(error, `cannot look for ${path}`);
    }
  }

  /** The verified content of a blob of a few kilobytes, or undefined where it is larger, absent or damaged; {@link read} says which. */
  readSmall(descriptor: Descriptor): Uint8Array | undefined {
    if (descriptor.size > SMALL || !isVerifiable(descriptor.digest)) return undefined;
    const bytes = readAtOnce(this.path(descriptor.digest), descriptor.size);
    return bytes?.byteLength === descriptor.size && isContentOf(bytes, descriptor.digest) ? bytes : undefined;
  }

  /** As {@link readSmall}, whatever size a descriptor claims. */
  peek(digest: Digest): Uint8Array | undefined {
    if (!isVerifiable(digest)) return undefined;
    const bytes = readAtOnce(this.path(digest), SMALL);
    return bytes !== undefined && isContentOf(bytes, digest) ? bytes : undefined;
  }

  /** The content, verified where it is wanted whole and not `unchecked`; otherwise only its length is checked. */
  async *read(
    descriptor: Descriptor,
    { from = 0, unchecked = false, signal }: FetchOptions = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const path = await this.#allowed.follow(this.path(descriptor.digest));
    const { handle, size } = await openRegularFile(path);
    try {
      if (size !== descriptor.size) throw wrongSize(descriptor, path, size);
      const chunks = readChunks(handle, from, signal, size);
      yield* from === 0 && !unchecked ? verified(chunks, descriptor, `${descriptor.digest} at ${path}`) : chunks;
    } finally {
      // A reader that fails before it asks for the first chunk leaves the file to us.
      await handle.close();
    }
  }

  /**
   * Opens a blob for somebody who reads it as it suits them. That it has its digest is found out by another thread meanwhile, and
   * once as long as the file stays the same. Fails as {@link read} does, but for a wrong digest.
   */
  async open(descriptor: Descriptor): Promise<OpenBlob> {
    const path = await this.#allowed.follow(this.path(descriptor.digest));
    const { handle, size } = await openRegularFile(path);
    if (size !== descriptor.size) {
      await handle.close();
      throw wrongSize(descriptor, path, size);
    }
    const checked = this.#verified.check(descriptor.digest, handle, () => this.check(descriptor, {}));
    checked.catch(() => {});
    return {
      readInto: async (buffer, offset) => (await handle.read(buffer, 0, buffer.byteLength, offset)).bytesRead,
      verified: () => checked,
      // The stamp of the file may still be looked at.
      close: () =>
        checked.then(
          () => handle.close(),
          () => handle.close(),
        ),
    };
  }

  /** As reading all of it with {@link read}, with the hash taken by another thread. */
  async check(descriptor: Descriptor, options: HashOptions): Promise<void> {
    const { digest } = descriptor;
    const path = await this.#allowed.follow(this.path(digest));
    const { handle, size } = await openRegularFile(path);
    try {
      if (size !== descriptor.size) throw wrongSize(descriptor, path, size);
      await hashIn(handle, path, digest, options);
    } catch (error) {
      throw systemError(error, `cannot read ${path}`);
    } finally {
      await handle.close();
    }
  }

  /** True where the blob is whole and decompresses to these many bytes of this sha256 digest. Another thread does the work. */
  async isGzipOf(
    { digest, size }: Descriptor,
    content: { readonly diffId: Digest; readonly size: number },
    options: Abortable,
  ): Promise<boolean> {
    const { handle, size: found } = await openRegularFile(await this.#allowed.follow(this.path(digest)));
    try {
      if (found !== size) return false;
      const digests = await gzipDigests(handle.fd, content.size, options);
      return (
        digests?.size === content.size &&
        `sha256:${digests.file}` === digest &&
        `sha256:${digests.content}` === content.diffId
      );
    } finally {
      await handle.close();
    }
  }

  /**
   * Stores a blob by cloning the file `from`, in the first of `ways` that works, and checks what it got before that has its
   * name. False, and nothing stored, where the file is absent, is not that blob, or cannot be cloned.
   */
  async adopt(descriptor: Descriptor, from: string, ways: readonly Cloned[], signal?: AbortSignal): Promise<boolean> {
    return this.#take(descriptor, async (temporary) => {
      if ((await cloneFile(from, temporary, ways)) === undefined) return false;
      const { handle, size } = await openRegularFile(temporary);
      if (size < WORTH_A_THREAD)
        for await (const _chunk of verified(readChunks(handle, 0, signal, size), descriptor)) signal?.throwIfAborted();
      else
        try {
          if (size !== descriptor.size) return false;
          await hashIn(handle, temporary, descriptor.digest, { signal });
        } finally {
          await handle.close();
        }
      return true;
    });
  }

  /**
   * Stores a blob that is the file `from`, reading it once: another thread hashes what it copies. False, and nothing stored, where
   * the file is absent or is not that blob.
   */
  async copy(descriptor: Descriptor, from: string, { signal, onBytes }: StoreOptions): Promise<boolean> {
    return this.#take(descriptor, async (temporary) => {
      const { handle, size } = await openRegularFile(from);
      try {
        if (size !== descriptor.size) return false;
        const into = await this.#create(temporary);
        try {
          await hashIn(handle, from, descriptor.digest, { signal, onBytes, into: into.fd });
        } finally {
          await into.close();
        }
      } finally {
        await handle.close();
      }
      return true;
    });
  }

  /** Stores a blob that `fill` puts into a temporary file, verified. What it says is returned. */
  async #take(descriptor: Descriptor, fill: (temporary: string) => Promise<boolean>): Promise<boolean> {
    const temporary = this.temporary();
    try {
      await makeDirectory(this.ingest);
      if (!(await fill(temporary))) {
        await removeFile(temporary);
        return false;
      }
      await this.place(temporary, descriptor.digest);
      // Renaming one name of a file over another name of it does nothing at all.
      await removeFile(temporary);
      return true;
    } catch (error) {
      await removeFile(temporary).catch(() => {});
      if (isOciError(error, "MISMATCH") || isOciError(error, "DENIED") || isOciError(error, "NOT_FOUND")) return false;
      if (systemErrorCode(error) === "ENOENT") return false;
      throw systemError(error, `cannot store ${descriptor.digest} in ${this.root}`);
    }
  }

  /** Stores a stream whose digest is not known yet. */
  async write(
    bytes: Bytes,
    algorithm: DigestAlgorithm,
    options: StoreOptions,
  ): Promise<{ digest: Digest; size: number }> {
    const temporary = this.temporary();
    try {
      const { size, digest } = await this.#fill(temporary, bytes, algorithm, options);
      await this.place(temporary, digest);
      return { digest, size };
    } catch (error) {
      await removeFile(temporary).catch(() => {});
      throw systemError(error, `cannot store a blob in ${this.root}`);
    }
  }

  /** Stores a stream under its digest, or nothing where it does not match. Two calls for one digest share the work. */
  async store(descriptor: Descriptor, open: () => Bytes, options: StoreOptions): Promise<void> {
    const running = this.#running.get(descriptor.digest);
    if (running !== undefined) {
      const done = await running.work.then(
        () => true,
        () => false,
      );
      // The other call may have failed for reasons of its own: a signal, a source that broke, another declared size.
      if (done && running.size === descriptor.size) return;
      return this.store(descriptor, open, options);
    }
    const work = this.#storeOnce(descriptor, open, options);
    this.#running.set(descriptor.digest, { size: descriptor.size, work });
    try {
      await work;
    } finally {
      this.#running.delete(descriptor.digest);
    }
  }

  async #storeOnce(descriptor: Descriptor, open: () => Bytes, options: StoreOptions): Promise<void> {
    const { openFrom } = options;
    if (openFrom !== undefined && descriptor.size >= WORTH_KEEPING) {
      const fetched = (offset: number): Bytes => (offset === 0 ? open() : openFrom(offset));
      try {
        const path = await fetchPartially(this.ingest, { descriptor, open: fetched }, options);
        return await this.place(path, descriptor.digest);
      } catch (error) {
        throw systemError(error, `cannot store ${descriptor.digest} in ${this.root}`);
      }
    }
    const temporary = this.temporary();
    try {
      const { algorithm } = Hasher.for(descriptor.digest);
      const { size, digest } = await this.#fill(temporary, open(), algorithm, { ...options, limit: descriptor.size });
      checkArrived(descriptor, size, digest);
      await this.place(temporary, descriptor.digest);
    } catch (error) {
      await removeFile(temporary).catch(() => {});
      throw systemError(error, `cannot store ${descriptor.digest} in ${this.root}`);
    }
  }

  async #fill(
    path: string,
    bytes: Bytes,
    algorithm: DigestAlgorithm,
    options: HashedStreamOptions,
  ): Promise<{ digest: Digest; size: number }> {
    const handle = await this.#create(path);
    try {
      return await writeHashed(handle, bytes, algorithm, options);
    } finally {
      await handle.close();
    }
  }

  async #create(path: string): Promise<FileHandle> {
    try {
      return await open(path, "wx");
    } catch (error) {
      if (systemErrorCode(error) !== "ENOENT") throw error;
      await makeDirectory(this.ingest);
      return open(path, "wx");
    }
  }

  /** Gives a file of `ingest` that is whole and verified its place under its digest. */
  async place(temporary: string, digest: Digest): Promise<void> {
    const path = this.path(digest);
    try {
      await replaceFile(temporary, path);
    } catch (error) {
      if (systemErrorCode(error) !== "ENOENT") throw error;
      await makeDirectory(dirname(path));
      await replaceFile(temporary, path);
    }
  }
}
