import type { FileHandle } from "node:fs/promises";
import { posix } from "node:path";
import type { FetchOptions } from "../content.js";
import { type Descriptor, formatDescriptor } from "../model/descriptor.js";
import { type Digest, digestAlgorithm, digestEncoded } from "../model/digest.js";
import { OciError } from "../model/errors.js";
import { collect, verified } from "../model/verified.js";
import { CHUNK_SIZE, openRegularFile } from "../store/files.js";
import { emptyIndex, type LayoutIndex, MAXIMUM_INDEX_SIZE } from "../store/index-json.js";
import { IndexedSource } from "../store/indexed-source.js";
import { checkLayoutVersion, MAXIMUM_LAYOUT_FILE_SIZE } from "../store/layout-version.js";
import { readIndex } from "../store/read-index.js";
import { readTarEntries, type TarEntry } from "./tar-reader.js";

/** How many links may be followed from one name to another inside an archive. */
const MAXIMUM_LINKS = 16;

/**
 * An OCI layout in a tar file. The tar is indexed once; blobs are read where they stand, nothing is unpacked. Call
 * `close` when done with it.
 */
export class ArchiveSource extends IndexedSource {
  readonly name: string;
  readonly #handle: FileHandle;
  readonly #entries: ReadonlyMap<string, TarEntry>;
  #index: LayoutIndex = emptyIndex;

  private constructor(path: string, handle: FileHandle, entries: ReadonlyMap<string, TarEntry>) {
    super();
    this.name = `oci-archive:${path}`;
    this.#handle = handle;
    this.#entries = entries;
  }

  /** Opens and indexes the archive. Fails with `NOT_FOUND`, with `INVALID` where it is no tar or holds no layout, and with `UNSUPPORTED` where it is compressed. */
  static async open(path: string): Promise<ArchiveSource> {
    const { handle } = await openRegularFile(path, true);
    try {
      await refuseCompressed(handle, path);
      const entries = new Map<string, TarEntry>();
      for await (const entry of readTarEntries(handle, path)) entries.set(normalize(entry.name), entry);
      const named = async (name: string, limit: number): Promise<Uint8Array> => {
        const entry = follow(entries, name);
        if (entry === undefined) throw new OciError("INVALID", `${path} holds no OCI layout: it has no ${name}`);
        // The index of the archive tells the size, before a byte of it is read.
        if (entry.size > limit)
          throw new OciError("LIMIT", `${name} in ${path} has ${entry.size} bytes; ${limit} are allowed`);
        return collect(read(handle, entry, 0), limit, `${name} in ${path}`);
      };
      checkLayoutVersion(await named("oci-layout", MAXIMUM_LAYOUT_FILE_SIZE), `oci-layout in ${path}`);
      const index = await named("index.json", MAXIMUM_INDEX_SIZE);
      const source = new ArchiveSource(path, handle, entries);
      source.#index = await readIndex(index, `index.json in ${path}`, source);
      return source;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async index(): Promise<LayoutIndex> {
    return this.#index;
  }

  async size(digest: Digest): Promise<number | undefined> {
    return this.#entry(digest)?.size;
  }

  async *fetch(descriptor: Descriptor, options: FetchOptions = {}): AsyncIterable<Uint8Array> {
    const entry = this.#entry(descriptor.digest);
    if (entry === undefined) throw new OciError("NOT_FOUND", `${this.name} has no ${formatDescriptor(descriptor)}`);
    if (entry.size !== descriptor.size) {
      throw new OciError(
        "MISMATCH",
        `${descriptor.digest} in ${this.name} has ${entry.size} bytes; its descriptor says ${descriptor.size}`,
      );
    }
    const from = options.from ?? 0;
    const bytes = read(this.#handle, entry, from, options.signal);
    yield* from === 0 ? verified(bytes, descriptor) : bytes;
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  #entry(digest: Digest): TarEntry | undefined {
    return follow(this.#entries, `blobs/${digestAlgorithm(digest)}/${digestEncoded(digest)}`);
  }
}

/** Some writers store a layer once and link to it. Only names inside the archive are looked up, so a link leads nowhere else. */
function follow(entries: ReadonlyMap<string, TarEntry>, name: string): TarEntry | undefined {
  let entry = entries.get(name);
  for (let links = 0; entry?.link !== undefined; links++) {
    if (links === MAXIMUM_LINKS) throw new OciError("LIMIT", `the links from ${name} do not end`);
    const { target, symbolic } = entry.link;
    entry = entries.get(normalize(symbolic ? posix.join(posix.dirname(entry.name), target) : target));
  }
  return entry;
}

function normalize(name: string): string {
  return posix.normalize(name).replace(/^\.\//, "");
}

async function* read(
  handle: FileHandle,
  entry: TarEntry,
  from: number,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = from; at < entry.size; ) {
    signal?.throwIfAborted();
    const buffer = Buffer.allocUnsafeSlow(Math.min(CHUNK_SIZE, entry.size - at));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, entry.offset + at);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
    at += bytesRead;
  }
}

async function refuseCompressed(handle: FileHandle, path: string): Promise<void> {
  const magic = Buffer.alloc(6);
  await handle.read(magic, 0, magic.length, 0);
  const hex = magic.toString("hex");
  const kind = hex.startsWith("1f8b")
    ? "gzip"
    : hex.startsWith("28b52ffd")
      ? "zstd"
      : hex.startsWith("504b0304")
        ? "zip"
        : hex === "fd377a585a00"
          ? "xz"
          : undefined;
  if (kind !== undefined)
    throw new OciError("UNSUPPORTED", `${path} is compressed with ${kind}`, { hint: "Decompress it first." });
}
