import type { FileHandle } from "node:fs/promises";
import type { Bytes } from "../content.js";
import { type Digest, type DigestAlgorithm, Hasher } from "../model/digest.js";
import { OciError } from "../model/errors.js";
import { CHUNK_SIZE, inLargeChunks, readRange, untilAborted, writeFully } from "./files.js";
import { WORTH_A_THREAD } from "./hash-threads.js";
import { ThreadWriter } from "./write-thread.js";

/** The options of {@link writeStream}. */
export interface WriteStreamOptions {
  /** Where in the file the stream begins, in bytes. Default: 0. */
  readonly from?: number;
  /** The most bytes that the file may have then. */
  readonly limit: number;
  /** How much is gathered for one write, in bytes. Twice as much may be on the way to the file. Default: 1 MiB. */
  readonly chunkSize?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onBytes?: ((count: number) => void) | undefined;
}

/**
 * Writes a stream into an open file, feeding the hasher on the way, and returns the size the file has then. Fails with
 * `MISMATCH` at the first byte beyond the limit, and with the signal's reason. What was written before a failure is in the file.
 */
export async function writeStream(
  handle: FileHandle,
  bytes: Bytes,
  hasher: Pick<Hasher, "update">,
  options: WriteStreamOptions,
): Promise<number> {
  let size = options.from ?? 0;
  // One write is under way while the next chunk is read and hashed.
  let writing: Promise<void> = Promise.resolve();
  try {
    for await (const chunk of inLargeChunks(untilAborted(bytes, options.signal), options.chunkSize)) {
      const position = size;
      size += chunk.byteLength;
      if (size > options.limit) throw tooLarge(options.limit);
      hasher.update(chunk);
      await writing;
      writing = writeFully(handle, chunk, position);
      writing.catch(() => {});
      options.onBytes?.(chunk.byteLength);
    }
    await writing;
  } finally {
    await writing.catch(() => {});
  }
  return size;
}

/** The options of {@link writeHashed}. */
export interface HashedStreamOptions extends Omit<WriteStreamOptions, "limit"> {
  /** The most bytes that the file may have then; undefined where nobody knows how many come. */
  readonly limit?: number | undefined;
}

/**
 * As {@link writeStream}, with the digest of the whole file, also of the `from` bytes that are in it already. Of what is known to be
 * large another thread hashes and writes one piece while this one receives the next.
 */
export async function writeHashed(
  handle: FileHandle,
  bytes: Bytes,
  algorithm: DigestAlgorithm,
  { limit, ...options }: HashedStreamOptions,
): Promise<{ readonly size: number; readonly digest: Digest }> {
  if (limit !== undefined && limit >= WORTH_A_THREAD)
    return writeInThread(handle, bytes, algorithm, { ...options, limit });
  const hasher = new Hasher(algorithm);
  for await (const chunk of readRange(handle, 0, options.signal, options.from ?? 0)) hasher.update(chunk);
  const size = await writeStream(handle, bytes, hasher, { ...options, limit: limit ?? Number.MAX_SAFE_INTEGER });
  return { size, digest: hasher.digest() };
}

async function writeInThread(
  handle: FileHandle,
  bytes: Bytes,
  algorithm: DigestAlgorithm,
  options: WriteStreamOptions,
): Promise<{ readonly size: number; readonly digest: Digest }> {
  const writer = new ThreadWriter(handle.fd, algorithm, options.onBytes);
  let whole: { readonly size: number; readonly hash: string };
  try {
    for (let at = 0; at < (options.from ?? 0); at += CHUNK_SIZE) {
      options.signal?.throwIfAborted();
      await writer.skip();
    }
    await pour(bytes, writer, options);
  } finally {
    whole = await writer.end();
  }
  return { size: whole.size, digest: `${algorithm}:${whole.hash}` as Digest };
}

/** Hands over a stream in large pieces. What came before a failure is handed over too. */
async function pour(bytes: Bytes, writer: ThreadWriter, options: WriteStreamOptions): Promise<void> {
  let [memory, filled] = [writer.memory(), 0];
  const flush = async (): Promise<void> => {
    const [full, length] = [memory, filled];
    filled = 0;
    await writer.write(full, length);
    memory = writer.memory();
  };
  let size = options.from ?? 0;
  try {
    for await (const chunk of untilAborted(bytes, options.signal)) {
      size += chunk.byteLength;
      if (size > options.limit) throw tooLarge(options.limit);
      for (let at = 0; at < chunk.byteLength; ) {
        const part = chunk.subarray(at, at + memory.byteLength - filled);
        memory.set(part, filled);
        at += part.byteLength;
        filled += part.byteLength;
        if (filled === memory.byteLength) await flush();
      }
    }
  } finally {
    if (filled > 0) await flush();
  }
}

function tooLarge(limit: number): OciError {
  return new OciError("MISMATCH", `the content is larger than the ${limit} bytes it was declared with`);
}
