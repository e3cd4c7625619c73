import { type Abortable, type Bytes, type Descriptor, type Digest, mediaTypes, type Union } from "@stowage/layout";
import { type Layer, writeCompressed } from "../compress-layer.js";
import { type Compression, compressorName } from "../compression.js";
import type { ContentWriter } from "../content-writer.js";
import type { ImageFilesOptions } from "../files/image-files.js";
import { type LayerLimits, openLayer } from "../open-layer.js";
import type { MutableImage, MutableLayer } from "./mutable-image.js";

/** The layers of the images that are being changed: where they are read, and where new ones are written. */
export interface LayerContent extends Abortable, LayerLimits, Pick<ImageFilesOptions, "entries"> {
  readonly content: Union;
  readonly made: ContentWriter;
  /** The layers that the target has made by compressing a tar, where it remembers them. */
  readonly compressedLayers?: ContentWriter["compressedLayers"];
  /** How new layers are compressed. Default: as those they are made from. */
  readonly compression?: Compression | undefined;
  /** Layers that were made, by what they were made from: images of one index often share some. */
  readonly known: Map<string, Layer>;
  /** The digests of those. */
  readonly fresh: Set<Digest>;
}

/** A layer of `image`, lowest first, as messages name it. */
export function nameOfLayer(image: MutableImage, at: number): string {
  return `layer ${at + 1} of ${image.layers.length} (${image.layers[at]?.descriptor.digest})`;
}

/** The tar of a layer, verified as {@link openLayer} does. */
export function openTar(run: LayerContent, image: MutableImage, at: number): Bytes {
  const { descriptor, diffId } = image.layers[at] as MutableLayer;
  return openLayer(run.content, descriptor, nameOfLayer(image, at), { ...run, diffId });
}

/** Stores a tar as a layer, or takes the one that was made under this key. */
export async function writeTarLayer(
  run: LayerContent,
  key: string,
  like: Descriptor | undefined,
  tar: () => Bytes,
): Promise<Layer> {
  const compression = run.compression ?? compressionOf(like);
  const name = `${compression} ${key}`;
  const known = run.known.get(name);
  if (known !== undefined) return known;
  const layer = await writeCompressed(run.made, tar(), { compression, signal: run.signal });
  remember(run, name, layer);
  return layer;
}

/** The layer that the target has of this tar, compressed as is asked for; undefined where it has none. */
export async function findCompressed(run: LayerContent, diffId: Digest): Promise<Layer | undefined> {
  const compressor = run.compression === undefined ? undefined : compressorName(run.compression);
  if (compressor === undefined || run.compressedLayers === undefined) return undefined;
  for (const layer of await run.compressedLayers.find({ compressor, diffId }))
    if (await run.compressedLayers.verify(layer, run)) return { descriptor: layer.descriptor, diffId };
  return undefined;
}

/** Lets the target remember the layers that were made for it. */
export async function recordCompressed(run: LayerContent): Promise<void> {
  const compressor = run.compression === undefined ? undefined : compressorName(run.compression);
  if (compressor === undefined) return;
  for (const { diffId } of run.known.values())
    for (const layer of (await run.made.compressedLayers?.find({ compressor, diffId })) ?? [])
      await run.compressedLayers?.record(layer);
}

/** Says that a layer is new. */
export function remember(run: LayerContent, key: string, layer: Layer): void {
  run.known.set(key, layer);
  run.fresh.add(layer.descriptor.digest);
}

function compressionOf(layer: Descriptor | undefined): Compression {
  if (layer?.mediaType === mediaTypes.layerZstd) return "zstd";
  return layer?.mediaType === mediaTypes.layer || layer?.mediaType === mediaTypes.dockerLayer ? "none" : "gzip";
}
