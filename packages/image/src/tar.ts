import { type Abortable, type Bytes, OciError } from "@stowage/layout";
import { encodeTarHeader, type TarHeader, tarHeaderSize } from "./tar-header.js";

/** One entry to write: its header and, for a file, how to read its body. */
export interface TarEntry extends TarHeader {
  /** The body; must yield exactly `size` bytes. Each chunk is copied before the next is asked for. */
  open?(): Bytes;
}

/** One entry whose header blocks are made already. */
export interface EncodedTarEntry extends Pick<TarEntry, "name" | "size" | "open"> {
  readonly header: Uint8Array;
}

/** The options of {@link writeTar}. */
export interface WriteTarOptions extends Abortable {
  /** A chunk is valid only until the next is asked for: less memory for a consumer that copies it anyway. Default: false. */
  readonly reuseChunks?: boolean;
  /** Whether the two blocks of zeros stand behind the entries; without them, other entries can follow. Default: true. */
  readonly end?: boolean;
}

/** Large chunks: whatever follows (hash, compressor, file) is called once per chunk. */
const CHUNK = 1024 * 1024;
const BLOCK = 512;
const ZEROS = new Uint8Array(BLOCK);

/**
 * The bytes of a tar archive with the entries in the given order, in chunks of 1 MiB: the same entries give the same
 * bytes. Memory does not grow with the size of a file. Fails with `CONFLICT` where a body is not as long as its header
 * says, and as {@link TarHeader} asks with `INVALID`.
 */
export async function* writeTar(
  entries: Iterable<TarEntry> | AsyncIterable<TarEntry | EncodedTarEntry>,
  options: WriteTarOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const output = new Chunks(options.reuseChunks ?? false);
  for await (const entry of entries) {
    options.signal?.throwIfAborted();
    yield* output.add("header" in entry ? entry.header : encodeTarHeader(entry));
    if (entry.size === 0) continue;
    let size = 0;
    const body = entry.open?.() ?? [];
    if (Array.isArray(body)) {
      // What is there already need not be waited for.
      for (const chunk of body as readonly Uint8Array[]) {
        size += chunk.byteLength;
        if (size <= entry.size) yield* output.add(chunk);
      }
    } else {
      for await (const chunk of body) {
        size += chunk.byteLength;
        if (size > entry.size) break;
        yield* output.add(chunk);
        options.signal?.throwIfAborted();
      }
    }
    if (size !== entry.size) {
      throw new OciError(
        "CONFLICT",
        `${JSON.stringify(entry.name)} has ${size > entry.size ? "more" : "less"} than the ${entry.size} bytes it had before: it changed while it was being read`,
      );
    }
    yield* output.add(ZEROS.subarray(0, (BLOCK - (size % BLOCK)) % BLOCK));
  }
  if (options.end !== false) yield* output.add(new Uint8Array(2 * BLOCK));
  yield* output.rest();
}

/** How many bytes {@link writeTar} makes of these entries. */
export function tarSize(entries: Iterable<TarEntry>): number {
  let size = 2 * BLOCK;
  for (const entry of entries) size += tarHeaderSize(entry) + Math.ceil(entry.size / BLOCK) * BLOCK;
  return size;
}

/** Gathers bytes into chunks of one size. Without reuse a chunk that was yielded is never written to again. */
class Chunks {
  readonly #reuse: boolean;
  #chunk = new Uint8Array(CHUNK);
  #length = 0;

  constructor(reuse: boolean) {
    this.#reuse = reuse;
  }

  *add(bytes: Uint8Array): Generator<Uint8Array, void, undefined> {
    let from = 0;
    while (from < bytes.byteLength) {
      const count = Math.min(CHUNK - this.#length, bytes.byteLength - from);
      this.#chunk.set(bytes.subarray(from, from + count), this.#length);
      this.#length += count;
      from += count;
      if (this.#length === CHUNK) {
        yield this.#chunk;
        if (!this.#reuse) this.#chunk = new Uint8Array(CHUNK);
        this.#length = 0;
      }
    }
  }

  *rest(): Generator<Uint8Array, void, undefined> {
    if (this.#length > 0) yield this.#chunk.subarray(0, this.#length);
  }
}
