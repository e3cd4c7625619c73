import { setMaxListeners } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { setImmediate } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { type ZlibOptions, gzip as zlibGzip } from "node:zlib";
import type { Abortable, Bytes } from "@stowage/layout";
import { gzipSync } from "fflate";
import { type Work, WorkerPool } from "./worker-pool.js";

/**
 * Bytes of input per gzip member. Part of the format: another size gives other digests. At 1 MiB the output is 0.1 % larger
 * than with one member of 8 MiB, and 64 KiB blocks would make it 2 % larger.
 */
export const GZIP_BLOCK_SIZE = 1024 * 1024;
/** That of gzip itself. */
export const DEFAULT_LEVEL = 6;
/** More threads than this only cost memory, about 15 MB each: the disk and the hash do not keep up. */
const MAXIMUM_WORKERS = 4;
/** Node's default of 16 KiB costs a round trip to the thread pool for each. */
const NATIVE_CHUNK = 256 * 1024;

const nativeGzip = promisify<Uint8Array, ZlibOptions, Buffer>(zlibGzip);

/** What turns blocks into gzip members. */
export interface BlockCompressor {
  /** How many blocks it works at, at once. */
  readonly size: number;
  run(input: Uint8Array<ArrayBuffer>, signal?: AbortSignal): Promise<Work>;
}

/** The options of {@link gzip}. */
export interface GzipOptions extends Abortable {
  /** What does the work. Default: threads with the pinned compressor, shared by the whole process. */
  readonly compressor?: BlockCompressor;
  /** 1 to 9, for the pinned compressor. Default: 6. */
  readonly level?: number | undefined;
}

/**
 * Compresses reproducibly: the input is cut into blocks of 1 MiB, each becomes a gzip member of its own (RFC 1952, section
 * 2.2), made by a pinned compressor without a time. The bytes depend on the input and the level only: not on how it is chunked,
 * not on the number of processors, not on the version of Node. Reads at most two blocks per thread ahead.
 */
export async function* gzip(bytes: Bytes, options: GzipOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
  const { signal, level = DEFAULT_LEVEL } = options;
  const stop = new AbortController();
  const abort = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  // One listener per block under way.
  setMaxListeners(0, abort);
  const pending: Promise<Work>[] = [];
  // Blocks go round between here and the threads: fresh ones would pile up faster than they are collected.
  const free: Uint8Array<ArrayBuffer>[] = [];
  let compressor = options.compressor;
  const next = async (): Promise<Uint8Array> => {
    const { output, input } = await (pending.shift() as Promise<Work>);
    free.push(new Uint8Array(input.buffer));
    return output;
  };
  try {
    for await (const { block, only } of cut(bytes, free)) {
      signal?.throwIfAborted();
      // A single block is done before a thread would have started.
      compressor ??= only ? onThisThread(level) : sharedCompressor(level);
      const work = compressor.run(block, abort);
      // Awaited in order below; until then a failure must not count as unhandled.
      work.catch(() => {});
      pending.push(work);
      if (pending.length >= 2 * compressor.size) yield await next();
    }
    while (pending.length > 0) yield await next();
  } finally {
    stop.abort();
  }
}

/**
 * Makes gzip members on the calling thread, the same that the worker threads make. `mem: 4` is a hash table of 128 KiB that
 * fits the processor's cache, instead of one of 2 MiB per block; the output is as small.
 */
function onThisThread(level: number): BlockCompressor {
  return {
    size: 1,
    async run(input) {
      // Lets the event loop turn between two blocks.
      await setImmediate();
      return { output: gzipSync(input, { level: level as GzipLevel, mem: 4, mtime: 0 }), input };
    },
  };
}

type GzipLevel = NonNullable<NonNullable<Parameters<typeof gzipSync>[1]>["level"]>;

/** Makes gzip members with Node's zlib on its thread pool, which has four threads. The bytes may change with Node. */
export function nativeCompressor(level = DEFAULT_LEVEL): BlockCompressor {
  return {
    size: 4,
    async run(input) {
      return { output: await nativeGzip(input, { level, chunkSize: NATIVE_CHUNK }), input };
    },
  };
}

/** The input in blocks of their own memory; `only` says that there is just this one. Empty input is one empty block. */
async function* cut(
  bytes: Bytes,
  free: Uint8Array<ArrayBuffer>[],
): AsyncGenerator<{ block: Uint8Array<ArrayBuffer>; only: boolean }, void, undefined> {
  let block: Uint8Array<ArrayBuffer> | undefined;
  let length = 0;
  let count = 0;
  for await (const chunk of bytes) {
    let from = 0;
    while (from < chunk.byteLength) {
      if (block !== undefined && length === GZIP_BLOCK_SIZE) {
        yield { block, only: false };
        count++;
        block = undefined;
      }
      if (block === undefined) {
        block = free.pop() ?? new Uint8Array(GZIP_BLOCK_SIZE);
        length = 0;
      }
      const taken = Math.min(GZIP_BLOCK_SIZE - length, chunk.byteLength - from);
      block.set(chunk.subarray(from, from + taken), length);
      length += taken;
      from += taken;
    }
  }
  yield { block: (block ?? new Uint8Array(0)).subarray(0, length), only: count === 0 };
}

/** By level. */
const shared = new Map<number, BlockCompressor>();

function sharedCompressor(level: number): BlockCompressor {
  const known = shared.get(level);
  if (known !== undefined) return known;
  const url = workerUrl();
  const size = Math.min(availableParallelism(), MAXIMUM_WORKERS);
  const made = url === undefined ? onThisThread(level) : new WorkerPool(url, size, { level });
  shared.set(level, made);
  return made;
}

/**
 * The program of the worker threads: beside this module as it is published (`.js`) or bundled (`.mjs`), or made from the
 * source beside it where the sources are run. Undefined where none is there, as in a foreign bundle: then blocks are
 * compressed on the calling thread, slower and to the same bytes.
 */
function workerUrl(): URL | undefined {
  const here = import.meta.url;
  if (!here?.startsWith("file:")) return undefined;
  for (const name of ["./gzip-worker.js", "./gzip-worker.mjs"]) {
    const url = new URL(name, here);
    if (existsSync(fileURLToPath(url))) return url;
  }
  const source = new URL("./gzip-worker.ts", here);
  if (!existsSync(fileURLToPath(source))) return undefined;
  // A data: URL resolves no package names, so the one in there is resolved from here.
  const fflate = pathToFileURL(createRequire(here).resolve("fflate")).href;
  const text = readFileSync(source, "utf8").replace('"fflate"', JSON.stringify(fflate));
  return new URL(`data:text/javascript,${encodeURIComponent(text)}`);
}
