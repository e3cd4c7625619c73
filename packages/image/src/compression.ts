import { type Abortable, type Bytes, mediaTypes } from "@stowage/layout";
import { gzip, nativeCompressor } from "./gzip.js";
import { zstd } from "./zstd-compress.js";

/**
 * How a layer is compressed.
 *
 * - `gzip`: the same bytes on every machine and Node version, on several threads.
 * - `gzip-native`: Node's own zlib at level 6 on several threads; the fastest, but the bytes may change with Node.
 * - `zstd`: Node's own zstd at level 3, where Node has it (22.15 and later); the bytes may change with Node.
 * - `none`: not at all.
 */
export type Compression = "gzip" | "gzip-native" | "zstd" | "none";

/** The values of {@link Compression} that every Node has, the default first. */
export const compressions: readonly Compression[] = ["gzip", "gzip-native", "none"];

/** The media type of a layer that is compressed this way. image-spec v1.1.1, layer.md. */
export function layerMediaType(compression: Compression): string {
  if (compression === "none") return mediaTypes.layer;
  return compression === "zstd" ? mediaTypes.layerZstd : mediaTypes.layerGzip;
}

/** The bytes, compressed. Fails with `UNSUPPORTED` where this Node has no zstd and it is asked for. */
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
    case "zstd":
      yield* zstd(bytes, options);
      return;
    case "none":
      yield* bytes;
      return;
    default:
      throw new TypeError(`not a compression: ${String(compression)}`);
  }
}
