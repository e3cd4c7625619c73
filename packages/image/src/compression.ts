import { type Abortable, type Bytes, mediaTypes, OciError } from "@stowage/layout";
import { DEFAULT_LEVEL, gzip, nativeCompressor } from "./gzip.js";
import { DEFAULT_ZSTD_LEVEL, zstd } from "./zstd-compress.js";

/**
 * How a layer is compressed.
 *
 * - `gzip`: the same bytes on every machine and Node version, on several threads.
 * - `gzip-native`: Node's own zlib on several threads; the fastest gzip, but the bytes may change with Node.
 * - `zstd`: Node's own zstd, where Node has it (22.15 and later); the bytes may change with Node.
 * - `none`: not at all.
 */
export type Compression = "gzip" | "gzip-native" | "zstd" | "none";

/** The values of {@link Compression}, the default first. */
export const compressions: readonly Compression[] = ["gzip", "gzip-native", "zstd", "none"];

/** The media type of a layer that is compressed this way. image-spec v1.1.1, layer.md. */
export function layerMediaType(compression: Compression): string {
  if (compression === "none") return mediaTypes.layer;
  return compression === "zstd" ? mediaTypes.layerZstd : mediaTypes.layerGzip;
}

/** The options of {@link compress}. */
export interface CompressOptions extends Abortable {
  /** 1 to 9 for gzip, 1 to 22 for zstd; more is smaller and slower. Default: 6 for gzip, 3 for zstd. */
  readonly level?: number | undefined;
}

/** Fails with `INVALID` where there is no such level. */
export function checkLevel(compression: Compression, level: number | undefined): void {
  const most = compression === "none" ? 0 : compression === "zstd" ? 22 : 9;
  if (level === undefined || (Number.isSafeInteger(level) && level >= 1 && level <= most)) return;
  throw new OciError("INVALID", `the compression ${compression} has no level ${level}`, {
    hint: most === 0 ? "It has none at all." : `It has 1 to ${most}.`,
  });
}

/**
 * Names what compresses: the same compressor makes the same bytes of the same bytes. That of Node counts with its version.
 * Undefined where nothing is compressed.
 */
export function compressorName(compression: Compression, level?: number): string | undefined {
  const { zlib, zstd: zstdVersion } = process.versions;
  if (compression === "none") return undefined;
  if (compression === "gzip") return `gzip-${level ?? DEFAULT_LEVEL}`;
  if (compression === "zstd") return `zstd-${level ?? DEFAULT_ZSTD_LEVEL}-${zstdVersion ?? process.version}`;
  return `gzip-native-${level ?? DEFAULT_LEVEL}-${zlib}`;
}

/** The bytes, compressed. Fails with `UNSUPPORTED` where this Node has no zstd and it is asked for. */
export async function* compress(
  bytes: Bytes,
  compression: Compression,
  options: CompressOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  switch (compression) {
    case "gzip":
      yield* gzip(bytes, options);
      return;
    case "gzip-native":
      yield* gzip(bytes, { ...options, compressor: nativeCompressor(options.level) });
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
