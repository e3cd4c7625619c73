import { createBrotliDecompress } from "node:zlib";
import { type Abortable, type Bytes, gunzip, OciError, through, unzstd } from "@stowage/layout";
import { unbzip2 } from "./bzip2.js";
import { unxz } from "./xz.js";

type Decompressor = (bytes: Bytes, what: string, options: Abortable) => AsyncIterable<Uint8Array>;

const DECOMPRESSORS: Readonly<Record<string, Decompressor>> = {
  none: (bytes) => asynchronous(bytes),
  "": (bytes) => asynchronous(bytes),
  xz: unxz,
  zstd: unzstd,
  gzip: gunzip,
  bzip2: unbzip2,
  br: unbrotli,
};

/** The names of the compressions that {@link decompressNar} knows, as a narinfo has them. */
export const narCompressions: readonly string[] = ["none", "xz", "zstd", "bzip2", "br", "gzip"];

/**
 * A NAR, decompressed as its narinfo says. Fails with `UNSUPPORTED` for a compression that is not read here, and with `INVALID` where
 * the bytes are damaged; `what` names them.
 */
export function decompressNar(
  bytes: Bytes,
  compression: string,
  what: string,
  options: Abortable = {},
): AsyncIterable<Uint8Array> {
  const decompressor = Object.hasOwn(DECOMPRESSORS, compression) ? DECOMPRESSORS[compression] : undefined;
  if (decompressor !== undefined) return decompressor(bytes, what, options);
  throw new OciError("UNSUPPORTED", `${what} is compressed with ${JSON.stringify(compression.slice(0, 50))}`, {
    hint: `What is read: ${narCompressions.join(", ")}.`,
  });
}

async function* unbrotli(bytes: Bytes, what: string, options: Abortable): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* through(bytes, createBrotliDecompress({ chunkSize: 256 * 1024 }), options);
  } catch (error) {
    options.signal?.throwIfAborted();
    const code = (error as { code?: unknown }).code;
    if (typeof code !== "string" || !/^(?:ERR_BROTLI|Z_|ERR__ERROR)/.test(code)) throw error;
    throw new OciError("INVALID", `${what} is not readable brotli: ${(error as Error).message}`, { cause: error });
  }
}

async function* asynchronous(bytes: Bytes): AsyncGenerator<Uint8Array, void, undefined> {
  yield* bytes;
}
