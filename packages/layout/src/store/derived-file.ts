import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { endianness } from "node:os";
import { join } from "node:path";
import type { Abortable } from "../content.js";
import { isOciError, systemErrorCode } from "../model/errors.js";
import type { BlobDirectory } from "./blobs.js";
import { type DeriveOptions, derive, type IndexBytes, MAXIMUM_HEAD, type ReadManifestOf, SUBJECT } from "./derive.js";
import { type Derived, DerivedIndex, POSTING, parseHead } from "./derived-index.js";
import { fileStamp } from "./file-stamp.js";
import { CHUNK_SIZE, makeDirectory, openRegularFile, removeFile, replaceFile } from "./files.js";
import { PLACE } from "./index-places.js";
import { MAXIMUM_ROWS } from "./rows.js";

/** The name of the file in the root of a layout. Other tools leave names alone that they do not know. */
export const DERIVED_INDEX = ".stowage-index";
/** From this number of entries on an index is worth a derived one. */
export const WORTHWHILE = 256;

const FIRST_LINE = Buffer.from("stowage-index 2\n");
const HASH = 32;
/** The bytes of a number. */
const WORD = 4;
/** No derived index is larger, in bytes: as many rows as there may be of each kind. */
const MAXIMUM_SIZE = MAXIMUM_HEAD + WORD * MAXIMUM_ROWS * (PLACE + POSTING + SUBJECT);

/**
 * The file `.stowage-index`: what was derived from index.json, beside it and never instead of it. It counts only where it is
 * whole and was derived from exactly the bytes that index.json has now, and it is replaced whole. Whoever removes it loses
 * time. Where it cannot be written, what it would hold is kept in memory.
 *
 * Its bytes: the line `stowage-index 2`, the length of the head in 4 bytes (big-endian), the head as JSON, the places, the
 * postings, the subjects, and the SHA-256 of all that. All three are rows of numbers of 4 bytes in the byte order that the
 * head names. A place is the offset and the length of an entry in index.json; a posting is a key of two numbers with
 * the number of an entry; a subject is the key of a manifest, four numbers, and the key of something that it or a manifest below
 * it refers to. Postings and subjects are sorted.
 */
export class DerivedFile {
  readonly #root: string;
  readonly #blobs: Pick<BlobDirectory, "ingest" | "temporary">;
  readonly #manifest: ReadManifestOf;
  /** What was checked last. The stamp of the file proves that it is still the same; without one it is in memory. */
  #checked: { readonly stamp: string | undefined; readonly derived: Derived } | undefined;
  /** The SHA-256 of index.json, where the stamp proves that the file is still the same. */
  #origin: { readonly stamp: string; readonly digest: string } | undefined;
  #running: Promise<void> | undefined;

  /** `manifest` reads what an entry leads to. */
  constructor(root: string, blobs: Pick<BlobDirectory, "ingest" | "temporary">, manifest: ReadManifestOf) {
    this.#root = root;
    this.#blobs = blobs;
    this.#manifest = manifest;
  }

  get path(): string {
    return join(this.#root, DERIVED_INDEX);
  }

  /**
   * What `ask` finds in what was derived from index.json as it stands. Undefined where nothing was, or not from these bytes, where
   * it is damaged, or where index.json changed while it was being asked.
   */
  async ask<T>(ask: (derived: DerivedIndex) => Promise<T>): Promise<T | undefined> {
    try {
      const derived = await this.#load();
      if (derived === undefined) return undefined;
      const { handle } = await openRegularFile(join(this.#root, "index.json"));
      try {
        const stamp = await fileStamp(handle);
        if (derived.head.origin !== (await this.#originOf(handle))) return undefined;
        const answer = await ask(new DerivedIndex(derived, (offset, length) => readExactly(handle, offset, length)));
        return (await fileStamp(handle)) === stamp ? answer : undefined;
      } finally {
        await handle.close();
      }
    } catch (error) {
      // Whatever is wrong with index.json is found by those who read all of it, and nothing else can be wrong that matters.
      if (isOciError(error) || error instanceof SyntaxError || systemErrorCode(error) !== undefined) return undefined;
      throw error;
    }
  }

  /** All bytes of index.json, with what was derived from them; undefined where nothing was. */
  async whole(): Promise<{ readonly bytes: Buffer; readonly index: DerivedIndex } | undefined> {
    const derived = await this.#load().catch(() => undefined);
    if (derived === undefined) return undefined;
    const { handle, size } = await openRegularFile(join(this.#root, "index.json"));
    try {
      const stamp = await fileStamp(handle, true);
      const bytes = await readExactly(handle, 0, size);
      const known = stamp !== undefined && stamp === this.#origin?.stamp && stamp === (await fileStamp(handle));
      if (derived.head.origin !== (known ? this.#origin?.digest : originOf(bytes))) return undefined;
      return { bytes, index: new DerivedIndex(derived, async (at, length) => bytes.subarray(at, at + length)) };
    } finally {
      await handle.close();
    }
  }

  /** Derives anew from index.json as it stands, unless it is too small to be worth it. Calls at one time share the work. */
  async refresh(current: () => Promise<IndexBytes>, options: Abortable = {}): Promise<void> {
    if (this.#running !== undefined) {
      // The other call may have failed for reasons of its own; then this one does the work.
      const done = await this.#running.then(
        () => true,
        () => false,
      );
      return done ? undefined : this.refresh(current, options);
    }
    this.#running = current().then((now) => this.derive(now, options));
    try {
      await this.#running;
    } finally {
      this.#running = undefined;
    }
  }

  /** Derives anew from this index.json, unless it is too small or too odd to be worth it. */
  async derive(now: IndexBytes, options: Pick<DeriveOptions, "maximumReads"> & Abortable = {}): Promise<void> {
    if (now.index.manifests.length < WORTHWHILE) return;
    const known = (await this.#load().catch(() => undefined))?.subjects;
    const read: ReadManifestOf = (descriptor) => {
      options.signal?.throwIfAborted();
      return this.#manifest(descriptor);
    };
    const derived = await derive(now, { ...options, origin: originOf(now.bytes), known }, read);
    if (derived !== undefined) await this.save(derived);
  }

  /** Puts this in the place of what was derived before. */
  async save(derived: Derived): Promise<void> {
    this.#checked = { stamp: await this.#write(derived), derived };
  }

  /** The file, whole and checked; or what could not be written. */
  async #load(): Promise<Derived | undefined> {
    const stamp = await fileStamp(this.path).catch(() => undefined);
    const checked = this.#checked;
    if (checked !== undefined && (checked.stamp === undefined || checked.stamp === stamp)) return checked.derived;
    if (stamp === undefined) return undefined;
    const { handle, size } = await openRegularFile(this.path);
    try {
      const derived = await readChecked(handle, size);
      if (derived !== undefined) this.#checked = { stamp, derived };
      return derived;
    } finally {
      await handle.close();
    }
  }

  /** Writes the file and returns its stamp; undefined where that cannot be done, as in a directory that is read-only or on a disk that is full. */
  async #write({ head, places, postings, subjects }: Derived): Promise<string | undefined> {
    const temporary = this.#blobs.temporary();
    try {
      await makeDirectory(this.#blobs.ingest);
      const handle = await open(temporary, "wx");
      try {
        const json = Buffer.from(JSON.stringify(head));
        const length = Buffer.alloc(WORD);
        length.writeUInt32BE(json.length);
        const hash = createHash("sha256");
        const parts = [FIRST_LINE, length, json, ...[places, postings, subjects].map(bytesOf)];
        for (const part of parts) hash.update(part);
        // Not synced: what a power loss leaves of it does not pass the check.
        for (const part of [...parts, hash.digest()]) await handle.writeFile(part);
        await replaceFile(temporary, this.path);
        return await fileStamp(handle);
      } finally {
        await handle.close();
      }
    } catch (error) {
      await removeFile(temporary).catch(() => {});
      if (systemErrorCode(error) === undefined) throw error;
      return undefined;
    }
  }

  /** The SHA-256 of the open file index.json. */
  async #originOf(handle: FileHandle): Promise<string> {
    const stamp = await fileStamp(handle, true);
    if (stamp !== undefined && this.#origin?.stamp === stamp) return this.#origin.digest;
    const hash = createHash("sha256");
    const buffer = Buffer.allocUnsafeSlow(CHUNK_SIZE);
    for (let at = 0; ; ) {
      const { bytesRead } = await handle.read(buffer, 0, CHUNK_SIZE, at);
      if (bytesRead === 0) break;
      hash.update(buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
    const digest = hash.digest("hex");
    if (stamp !== undefined) this.#origin = { stamp, digest };
    return digest;
  }
}

/** The SHA-256 of the bytes of an index.json, as what is derived from it names it. */
export function originOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Reads all of the file and returns its parts, or undefined where it is not whole. */
async function readChecked(handle: FileHandle, size: number): Promise<Derived | undefined> {
  const fixed = FIRST_LINE.length + WORD;
  if (size < fixed + HASH || size > MAXIMUM_SIZE) return undefined;
  const first = await readExactly(handle, 0, fixed);
  const headLength = first.readUInt32BE(FIRST_LINE.length);
  if (!first.subarray(0, FIRST_LINE.length).equals(FIRST_LINE) || headLength > MAXIMUM_HEAD) return undefined;
  const json = await readExactly(handle, fixed, headLength);
  const head = parseHead(json);
  if (head === undefined || head.endianness !== endianness()) return undefined;
  const lengths = [head.entries * PLACE, head.postings * POSTING, head.subjects * SUBJECT];
  const start = fixed + headLength;
  if (start + WORD * lengths.reduce((sum, length) => sum + length, 0) + HASH !== size) return undefined;
  const numbers = await readExactly(handle, start, size - HASH - start);
  const hash = createHash("sha256").update(first).update(json).update(numbers).digest();
  if (!hash.equals(await readExactly(handle, size - HASH, HASH))) return undefined;
  const words = new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length / WORD);
  const [places = 0, postings = 0] = lengths;
  return {
    head,
    places: words.subarray(0, places),
    postings: words.subarray(places, places + postings),
    subjects: words.subarray(places + postings),
  };
}

function bytesOf(words: Uint32Array): Buffer {
  return Buffer.from(words.buffer, words.byteOffset, words.byteLength);
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
