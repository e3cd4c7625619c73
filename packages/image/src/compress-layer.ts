import { setImmediate } from "node:timers/promises";
import {
  type Abortable,
  type Bytes,
  type CompressedLayer,
  type Descriptor,
  type Digest,
  Hasher,
} from "@stowage/layout";
import { type Compression, checkLevel, compress, compressorName, layerMediaType } from "./compression.js";
import type { ContentWriter } from "./content-writer.js";

/** A layer that is stored. */
export interface Layer {
  readonly descriptor: Descriptor;
  /** The digest of the uncompressed tar. image-spec v1.1.1, config.md "Layer DiffID". */
  readonly diffId: Digest;
}

/** The options of {@link writeCompressed}. */
export interface CompressLayerOptions extends Abortable {
  /** Default: `gzip`. */
  readonly compression?: Compression | undefined;
  /** 1 to 9 for gzip, 1 to 22 for zstd; more is smaller and slower. Default: 6 for gzip, 3 for zstd. */
  readonly level?: number | undefined;
  /** Told how many bytes of uncompressed tar were taken in. */
  readonly onBytes?: ((count: number) => void) | undefined;
}

/** A tar that can be read as often as is needed. */
export interface LayerTar {
  open(): Bytes;
  /** Its bytes. */
  size(): number;
  /** Where it is known already. */
  readonly diffId?: Digest;
}

/** Stores a tar archive as a layer, compressed as asked. */
export async function writeCompressed(
  target: ContentWriter,
  tar: Bytes,
  options: CompressLayerOptions = {},
): Promise<Layer> {
  const { compression = "gzip", level, signal } = options;
  checkLevel(compression, level);
  const hasher = new Hasher();
  let size = 0;
  const onBytes = (count: number): void => {
    size += count;
    options.onBytes?.(count);
  };
  const bytes = compress(tap(tar, hasher, onBytes), compression, { level, signal });
  const descriptor = await target.write(bytes, layerMediaType(compression), { signal });
  const layer = { descriptor, diffId: hasher.digest() };
  const compressor = compressorName(compression, level);
  if (compressor !== undefined) await target.compressedLayers?.record({ ...layer, size, compressor });
  return layer;
}

/**
 * As {@link writeCompressed}, but takes the layer that the same compressor has made of the same tar before, where the target
 * has it: verified, and byte for byte what compressing would make.
 */
export async function writeCompressedOnce(
  target: ContentWriter,
  tar: LayerTar,
  options: CompressLayerOptions = {},
): Promise<Layer> {
  const known = await findCompressed(target, tar, options);
  if (known === undefined) return writeCompressed(target, tar.open(), options);
  options.onBytes?.(known.size);
  return { descriptor: known.descriptor, diffId: known.diffId };
}

async function findCompressed(
  { compressedLayers }: ContentWriter,
  tar: LayerTar,
  { compression = "gzip", level, signal }: CompressLayerOptions,
): Promise<CompressedLayer | undefined> {
  const compressor = compressorName(compression, level);
  if (compressedLayers === undefined || compressor === undefined) return undefined;
  // Only a tar of the size of one that was compressed is worth reading for its digest alone.
  const found = await compressedLayers.find({ compressor, size: tar.size() });
  if (found.length === 0) return undefined;
  const [first] = found;
  // A single one is most probably it: it is decompressed on another thread while this one reads the tar.
  const verified = found.length === 1 && first !== undefined ? compressedLayers.verify(first, { signal }) : undefined;
  const [diffId, early] = await Promise.all([tar.diffId ?? digestOf(tar.open()), verified]);
  const layer = found.find((one) => one.diffId === diffId);
  if (layer === undefined) return undefined;
  return (early ?? (await compressedLayers.verify(layer, { signal }))) ? layer : undefined;
}

async function digestOf(bytes: Bytes): Promise<Digest> {
  const hasher = new Hasher();
  let chunks = 0;
  for await (const chunk of bytes) {
    hasher.update(chunk);
    // Nothing here waits for anything: without this an interruption would not be seen.
    if (++chunks % 16 === 0) await setImmediate();
  }
  return hasher.digest();
}

/** The same bytes, hashed and counted on their way. */
export async function* tap(
  bytes: Bytes,
  hasher: Hasher | undefined,
  onBytes?: (count: number) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of bytes) {
    hasher?.update(chunk);
    onBytes?.(chunk.byteLength);
    yield chunk;
  }
}
