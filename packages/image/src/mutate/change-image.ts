import { isDeepStrictEqual } from "node:util";
import { type Annotations, annotationKeys, formatTime, sourceDateEpoch } from "@stowage/layout";
import type { Compression } from "../compression.js";
import { sorted } from "../config.js";
import { Ignore } from "../ignore.js";
import { type ConfigEdits, changeConfig } from "./change-config.js";
import { addLayers, dropAndReplace, type LayerEdits } from "./edit-layers.js";
import type { LayerContent } from "./layer-content.js";
import { convertImage, type MediaTypeFamily } from "./media-types.js";
import type { MutableImage, MutableLayer } from "./mutable-image.js";
import { type Rebase, rebase } from "./rebase.js";
import { recompress } from "./recompress.js";
import { rewriteLayers } from "./rewrite-layers.js";
import { type LayerRange, rangeOf, squash } from "./squash.js";

/**
 * What to change in an image, one step on what those before it made: layers are dropped and replaced, the base is exchanged,
 * layers are added, squashed and flattened; files are left out and get their times; layers are compressed; then come the
 * config, the media types and the annotations.
 */
export interface ImageChanges extends LayerEdits, ConfigEdits {
  /** After layers are dropped and replaced, before others are added. */
  readonly rebase?: Rebase | undefined;
  /** These layers become one; the lowest is 1. */
  readonly squash?: LayerRange | undefined;
  /** All layers become one. */
  readonly flatten?: boolean | undefined;
  /** Files to leave out of every layer: patterns as in a `.dockerignore` file, from the root of the image. */
  readonly strip?: readonly string[] | undefined;
  /** Seconds since 1970 that every file, the config and its history get as their time. */
  readonly timestamps?: number | undefined;
  /** How all layers are compressed. Default: as they are, and a new one as the one it is made from. */
  readonly compression?: Compression | undefined;
  /** Default: as they are. */
  readonly mediaTypes?: MediaTypeFamily | undefined;
  /** Set on the manifest of each image. */
  readonly annotations?: Annotations | undefined;
  /** Keys to take away from the manifest of each image, before others are set. */
  readonly removeAnnotations?: readonly string[] | undefined;
  /** The very last step. It may change what the manifest says of layers, but not which they are. */
  readonly describe?: ((image: MutableImage) => Promise<MutableImage>) | undefined;
}

/** True where layers are made, which take space. */
export function makesLayers(changes: ImageChanges): boolean {
  const { replaceLayers = [], addLayers: added = [], strip = [] } = changes;
  return (
    changes.squash !== undefined ||
    changes.flatten === true ||
    changes.timestamps !== undefined ||
    changes.compression !== undefined ||
    replaceLayers.length + added.length + strip.length > 0
  );
}

/** The image with the changes; nothing but new layers is stored yet. */
export async function changeImage(
  run: LayerContent,
  original: MutableImage,
  changes: ImageChanges,
): Promise<MutableImage> {
  const edits = { ...changes, mtime: changes.mtime ?? changes.timestamps ?? sourceDateEpoch() };
  let image = await dropAndReplace(run, original, edits);
  if (changes.rebase !== undefined) {
    const rebased = await rebase(image, changes.rebase, run);
    for (const layer of rebased.base.layers) run.content.assign(layer, changes.rebase.onto.source);
    image = rebased.image;
  }
  image = await addLayers(run, image, edits);
  if (changes.squash !== undefined) image = await squash(run, image, rangeOf(image, changes.squash));
  if (changes.flatten === true) image = await squash(run, image, { first: 0, last: image.layers.length - 1 });
  const { strip = [], timestamps } = changes;
  if (strip.length > 0 || timestamps !== undefined) {
    const ignore = strip.length === 0 ? undefined : new Ignore(strip);
    image = await rewriteLayers(run, image, {
      mtime: timestamps,
      strip: ignore,
      key: JSON.stringify([timestamps, strip]),
    });
  }
  if (timestamps !== undefined) image = withTimes(image, formatTime(new Date(timestamps * 1000)));
  image = await recompress(run, image);
  const config = changeConfig(image.config, changes);
  // An empty member that another tool wrote is no change.
  if (!isDeepStrictEqual(config, changeConfig(image.config, {}))) image = { ...image, config };
  image = convertImage(image, changes.mediaTypes);
  if (changes.rebase === undefined) image = withoutStaleBase(image, original);
  image = changeAnnotations(image, changes);
  return changes.describe === undefined ? image : changes.describe(image);
}

function withTimes(image: MutableImage, created: string): MutableImage {
  const timed = (steps: MutableLayer["history"]) => steps.map((step) => ({ ...step, created }));
  const { history } = image.config;
  return {
    ...image,
    config: changeConfig(
      { ...image.config, ...(history === undefined ? {} : { history: timed(history) }) },
      { created },
    ),
    layers: image.layers.map((layer) => ({ ...layer, history: timed(layer.history) })),
    lastSteps: timed(image.lastSteps),
  };
}

/** An image whose lower layers are others is not built on the base that its annotations name any more. */
function withoutStaleBase(image: MutableImage, original: MutableImage): MutableImage {
  if (original.layers.every(({ diffId }, at) => image.layers[at]?.diffId === diffId)) return image;
  const { [annotationKeys.baseName]: _name, [annotationKeys.baseDigest]: _digest, ...annotations } = image.annotations;
  return { ...image, annotations };
}

function changeAnnotations(image: MutableImage, { annotations, removeAnnotations = [] }: ImageChanges): MutableImage {
  if (annotations === undefined && removeAnnotations.length === 0) return image;
  const kept = Object.entries(image.annotations).filter(([key]) => !removeAnnotations.includes(key));
  return { ...image, annotations: sorted({ ...Object.fromEntries(kept), ...annotations }) };
}
