import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { type Abortable, type Bytes, isOciError, mediaTypes, OciError, systemErrorCode } from "@stowage/layout";
import { gzip, nativeCompressor } from "./gzip.js";

/**
 * How a layer is compressed.
 *
 * - `gzip`: the same bytes on every machine and Node version, on several threads.
 * - `gzip-native`: Node's own zlib at level 6 on several threads; the fastest, but the bytes may change with Node.
 * - `none`: not at all.
 */
export type Compression = "gzip" | "gzip-native" | "none";

/** All values of {@link Compression}, the default first. */
export const compressions: readonly Compression[] = ["gzip", "gzip-native", "none"];

/** Node's default of 16 KiB costs a round trip to the thread pool for each. */
const NATIVE_CHUNK = 256 * 1024;

/** The media type of a layer that is compressed this way. image-spec v1.1.1, layer.md. */
export function layerMediaType(compression: Compression): string {
  return compression === "none" ? mediaTypes.layer : mediaTypes.layerGzip;
}

/** The bytes, compressed. */
export async function* compress(
  bytes: Bytes,
  compression: Compression,
  options: Abortable = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  switch (compression) {
    case "gzip":
      yield* gzip(bytes, options);
      return;
    case "gzip-native":
      yield* gzip(bytes, { ...options, compressor: nativeCompressor });
      return;
    case "none":
      yield* bytes;
      return;
    default:
      throw new TypeError(`not a compression: ${String(compression)}`);
  }
}

/**
 * The content of a gzip stream, of however many members. Fails with `INVALID` where it is damaged, cut off, or followed by
 * something that is not gzip; `what` names it in the message.
 */
export async function* gunzip(
  bytes: Bytes,
  what: string,
  options: Abortable = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* through(bytes, createGunzip({ chunkSize: NATIVE_CHUNK }), options);
  } catch (error) {
    const code = systemErrorCode(error);
    if (isOciError(error) || code === undefined || !code.startsWith("Z_")) throw error;
    throw new OciError("INVALID", `${what} is not readable gzip: ${(error as Error).message}`, { cause: error });
  }
}

/** What a transform makes of the bytes. */
export async function* through(
  bytes: Bytes,
  transform: NodeJS.ReadWriteStream,
  { signal }: Abortable,
): AsyncGenerator<Uint8Array, void, undefined> {
  const input = Readable.from(bytes, { objectMode: true, highWaterMark: 1 });
  const fed = pipeline(input, transform, { signal });
  // The loop below fails with the same error; awaiting it there again is only for one that comes after the last chunk.
  fed.catch(() => {});
  try {
    for await (const chunk of transform) yield chunk as Buffer;
    await fed;
  } catch (error) {
    throw signal?.aborted ? signal.reason : error;
  } finally {
    input.destroy();
  }
}
