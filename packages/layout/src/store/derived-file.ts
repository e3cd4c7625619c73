import { createHash } from "node:crypto";
import { type FileHandle, mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { isOciError, systemErrorCode } from "../model/errors.js";
import type { BlobDirectory } from "./blobs.js";
import {
  type Derived,
  derive,
  type KnownSubjects,
  MAXIMUM_HEAD,
  parseSubjects,
  type ReadManifestOf,
} from "./derive.js";
import { DerivedIndex, type Head, parseHead } from "./derived-index.js";
import { fileStamp } from "./file-stamp.js";
import { CHUNK_SIZE, openRegularFile, removeFile, replaceFile } from "./files.js";
import type { LayoutIndex } from "./index-json.js";

/** The name of the file in the root of a layout. Other tools leave names alone that they do not know. */
export const DERIVED_INDEX = ".stowage-index";
/** From this number of entries on an index is worth a derived one. */
export const WORTHWHILE = 256;

const FIRST_LINE = Buffer.from("stowage-index 1\n");
const HASH = 32;

/** What index.json holds, and its bytes. */
export interface IndexBytes {
  readonly bytes: Uint8Array;
  readonly index: LayoutIndex;
}

/**
 * The file `.stowage-index`: what was derived from index.json, beside it and never instead of it. It counts only where it is
 * whole and was derived from exactly the bytes that index.json has now, and it is replaced whole. Whoever removes it loses
 * time. Where it cannot be written, what it would hold is kept in memory.
 *
 * Its bytes: the line `stowage-index 1`, the length of the head in 4 bytes, the head as JSON, the postings, the subjects,
 * the entries, and the SHA-256 of all that. A posting is a key of 8 bytes with the offset and the length of an entry,
 * sorted by key, then offset; a subject is the key of a manifest, 16 bytes, and the key of something that it or a manifest
 * below it refers to, 8 bytes. Numbers are big-endian and have 4 bytes.
 */
export class DerivedFile {
  readonly #root: string;
  readonly #blobs: Pick<BlobDirectory, "ingest" | "temporary">;
  /** What was checked last. The stamp of the file proves that it is still the same; without one it is in memory. */
  #checked: { readonly stamp: string | undefined; readonly derived: DerivedIndex } | undefined;
  /** The SHA-256 of index.json. The stamp is there where it proves that the file is still the same. */
  #origin: { readonly stamp: string | undefined; readonly digest: string } | undefined;
  #running: Promise<DerivedIndex | undefined> | undefined;

  constructor(root: string, blobs: Pick<BlobDirectory, "ingest" | "temporary">) {
    this.#root = root;
    this.#blobs = blobs;
  }

  get path(): string {
    return join(this.#root, DERIVED_INDEX);
  }

  /** What was derived from index.json as it stands, or undefined where nothing was, or not from these bytes, or where it is damaged. */
  async current(): Promise<DerivedIndex | undefined> {
    try {
      const derived = await this.#load();
      return derived !== undefined && derived.origin === (await this.#currentOrigin()) ? derived : undefined;
    } catch (error) {
      // Whatever is wrong with index.json is found by those who read all of it, and nothing else can be wrong that matters.
      if (isOciError(error) || systemErrorCode(error) !== undefined) return undefined;
      throw error;
    }
  }

  /** Derives anew from index.json as it stands. Calls at one time share the work. Undefined where it is not worth it. */
  async refresh(current: () => Promise<IndexBytes>, read: ReadManifestOf): Promise<DerivedIndex | undefined> {
    if (this.#running !== undefined) {
      // The other call may have failed for reasons of its own, a signal for one; then this one does the work.
      await this.#running.catch(() => {});
      return (await this.current()) ?? this.refresh(current, read);
    }
    this.#running = this.#refresh(current, read);
    try {
      return await this.#running;
    } finally {
      this.#running = undefined;
    }
  }

  async #refresh(current: () => Promise<IndexBytes>, read: ReadManifestOf): Promise<DerivedIndex | undefined> {
    const { bytes, index } = await current();
    if (index.manifests.length < WORTHWHILE) return undefined;
    const origin = createHash("sha256").update(bytes).digest("hex");
    const derived = await derive(index, origin, await this.#knownSubjects(), read);
    if (derived === undefined) return undefined;
    if (await this.#write(derived)) return this.#load();
    const { head, postings, entries } = derived;
    const inMemory = new DerivedIndex(head, postings, async (offset, length) =>
      entries.subarray(offset, offset + length),
    );
    this.#checked = { stamp: undefined, derived: inMemory };
    return inMemory;
  }

  /** The file, whole and checked; or what could not be written. */
  async #load(): Promise<DerivedIndex | undefined> {
    const stamp = await fileStamp(this.path).catch(() => undefined);
    const checked = this.#checked;
    if (checked !== undefined && (checked.stamp === undefined || checked.stamp === stamp)) return checked.derived;
    if (stamp === undefined) return undefined;
    const { handle, size } = await openRegularFile(this.path);
    try {
      const read = await readChecked(handle, size);
      if (read === undefined) return undefined;
      const { head, start, postings } = read;
      const entries = start + head.postings + head.subjects;
      const derived = new DerivedIndex(head, postings, (offset, length) =>
        this.#range(stamp, entries + offset, length),
      );
      this.#checked = { stamp, derived };
      return derived;
    } finally {
      await handle.close();
    }
  }

  /** A part of the file that was checked. Fails where it has been replaced since. */
  async #range(stamp: string, offset: number, length: number): Promise<Buffer> {
    const { handle } = await openRegularFile(this.path);
    try {
      if ((await fileStamp(handle)) !== stamp) throw Object.assign(new Error("replaced"), { code: "ESTALE" });
      return await readExactly(handle, offset, length);
    } finally {
      await handle.close();
    }
  }

  async #knownSubjects(): Promise<KnownSubjects> {
    try {
      const { handle, size } = await openRegularFile(this.path);
      try {
        const read = await readChecked(handle, size);
        return read === undefined ? new Map() : parseSubjects(read.subjects);
      } finally {
        await handle.close();
      }
    } catch {
      return new Map();
    }
  }

  /** Writes the file; false where that cannot be done, as in a directory that is read-only or on a disk that is full. */
  async #write({ head, postings, subjects, entries }: Derived): Promise<boolean> {
    const temporary = this.#blobs.temporary();
    try {
      await mkdir(this.#blobs.ingest, { recursive: true });
      const handle = await open(temporary, "wx");
      try {
        const json = Buffer.from(JSON.stringify(head));
        const length = Buffer.alloc(4);
        length.writeUInt32BE(json.length);
        const hash = createHash("sha256");
        const parts = [FIRST_LINE, length, json, postings, subjects, entries];
        for (const part of parts) hash.update(part);
        // Not synced: what a power loss leaves of it does not pass the check.
        for (const part of [...parts, hash.digest()]) await handle.writeFile(part);
      } finally {
        await handle.close();
      }
      await replaceFile(temporary, this.path);
      return true;
    } catch (error) {
      await removeFile(temporary).catch(() => {});
      if (systemErrorCode(error) === undefined) throw error;
      return false;
    }
  }

  /** The SHA-256 of index.json. */
  async #currentOrigin(): Promise<string> {
    const path = join(this.#root, "index.json");
    const stamp = await fileStamp(path, true);
    if (stamp !== undefined && this.#origin?.stamp === stamp) return this.#origin.digest;
    const { handle, size } = await openRegularFile(path);
    try {
      const hash = createHash("sha256");
      await eachChunk(handle, 0, size, (chunk) => hash.update(chunk));
      const digest = hash.digest("hex");
      this.#origin = { stamp, digest };
      return digest;
    } finally {
      await handle.close();
    }
  }
}

interface Checked {
  readonly head: Head;
  /** Where the postings start. */
  readonly start: number;
  readonly postings: Buffer;
  readonly subjects: Buffer;
}

/** Reads all of the file and returns its parts, or undefined where it is not whole. */
async function readChecked(handle: FileHandle, size: number): Promise<Checked | undefined> {
  const fixed = FIRST_LINE.length + 4;
  if (size < fixed + HASH) return undefined;
  const first = await readExactly(handle, 0, fixed);
  const headLength = first.readUInt32BE(FIRST_LINE.length);
  if (!first.subarray(0, FIRST_LINE.length).equals(FIRST_LINE) || headLength > MAXIMUM_HEAD) return undefined;
  const json = await readExactly(handle, fixed, headLength);
  const start = fixed + headLength;
  const head = parseHead(json);
  if (head === undefined || start + head.postings + head.subjects + head.entries + HASH !== size) return undefined;
  const postings = await readExactly(handle, start, head.postings);
  const subjects = await readExactly(handle, start + head.postings, head.subjects);
  const hash = createHash("sha256").update(first).update(json).update(postings).update(subjects);
  await eachChunk(handle, start + head.postings + head.subjects, size - HASH, (chunk) => hash.update(chunk));
  const expected = await readExactly(handle, size - HASH, HASH);
  return hash.digest().equals(expected) ? { head, start, postings, subjects } : undefined;
}

/** Hands over the bytes from `start` to `end` piece by piece, always in the same memory. */
async function eachChunk(handle: FileHandle, start: number, end: number, use: (chunk: Buffer) => void): Promise<void> {
  const buffer = Buffer.allocUnsafeSlow(CHUNK_SIZE);
  for (let at = start; at < end; ) {
    const { bytesRead } = await handle.read(buffer, 0, Math.min(CHUNK_SIZE, end - at), at);
    if (bytesRead === 0) return;
    use(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
}

async function readExactly(handle: FileHandle, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(length);
  for (let at = 0; at < length; ) {
    const { bytesRead } = await handle.read(buffer, at, length - at, offset + at);
    if (bytesRead === 0) throw Object.assign(new Error("the file is shorter than it was"), { code: "ESTALE" });
    at += bytesRead;
  }
  return buffer;
}
