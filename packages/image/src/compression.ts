import { type Abortable, type Bytes, mediaTypes } from "@stowage/layout";
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
