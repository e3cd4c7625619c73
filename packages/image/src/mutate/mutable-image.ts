import { isDeepStrictEqual } from "node:util";
import {
  type Abortable,
  type Annotations,
  type Descriptor,
  type Digest,
  encodeJson,
  type JsonObject,
  parseJsonObject,
  parseManifest,
  readBytes,
  type Source,
} from "@stowage/layout";
import { type History, hasAlignedHistory, type ImageConfig } from "../config.js";
import type { ContentWriter } from "../content-writer.js";
import { readImage } from "../image.js";

/** A layer of an image that is being changed. */
export interface MutableLayer {
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
  /** The steps without a layer that come before it, then its own. Empty where the history does not fit the layers. */
  readonly history: readonly History[];
}

/** An image that is being changed: each step gives another one, and the last is stored. */
export interface MutableImage {
  /** Of the image as it was. */
  readonly before: Descriptor;
  /** The manifest as it was, with members that are not known. */
  readonly manifest: JsonObject;
  readonly mediaType: string;
  readonly annotations: Annotations;
  /** Its layers and history are those it had. */
  readonly config: ImageConfig;
  readonly configDescriptor: Descriptor;
  readonly layers: readonly MutableLayer[];
  /** The steps without a layer that come after the last layer. */
  readonly lastSteps: readonly History[];
}

/** Reads an image as {@link readImage} does. */
export async function readMutableImage(
  source: Source,
  before: Descriptor,
  options: Abortable = {},
): Promise<MutableImage> {
  const { config, layers, annotations } = await readImage(source, before, undefined, options);
  const manifest = parseJsonObject(await readBytes(source, before, { signal: options.signal }), before.digest);
  const steps = historyByLayer(config);
  return {
    before,
    manifest,
    mediaType: before.mediaType,
    annotations,
    config,
    configDescriptor: manifest.config as unknown as Descriptor,
    layers: layers.map((descriptor, at) => ({
      descriptor,
      diffId: config.rootfs.diff_ids[at] as Digest,
      history: steps[at] ?? [],
    })),
    lastSteps: steps[layers.length] ?? [],
  };
}

/** The history cut behind each step that has a layer, the last piece behind the last layer. Empty where it does not fit the layers. */
export function historyByLayer(config: ImageConfig): readonly (readonly History[])[] {
  if (!hasAlignedHistory(config)) return [];
  const steps: History[][] = [[]];
  for (const step of config.history ?? []) {
    steps.at(-1)?.push(step);
    if (step.empty_layer !== true) steps.push([]);
  }
  return steps;
}

/**
 * Stores config and manifest, and returns the descriptor that takes the place of `before`. What did not change keeps its
 * bytes, and so its digest.
 */
export async function storeImage(
  target: ContentWriter,
  image: MutableImage,
  original: MutableImage,
  options: Abortable = {},
): Promise<Descriptor> {
  const config = withLayers(image, original);
  const configDescriptor = isDeepStrictEqual(config, original.config)
    ? image.configDescriptor
    : {
        ...withoutData(image.configDescriptor),
        ...digestAndSize(await target.write([encodeJson(config)], image.configDescriptor.mediaType, options)),
      };
  const { annotations: _annotations, ...members } = image.manifest;
  const manifest = {
    ...members,
    ...(image.mediaType === original.mediaType ? {} : { mediaType: image.mediaType }),
    config: configDescriptor,
    layers: image.layers.map(({ descriptor }) => descriptor),
    ...(Object.keys(image.annotations).length === 0 ? {} : { annotations: image.annotations }),
  };
  if (isDeepStrictEqual(manifest, withoutEmptyAnnotations(original.manifest))) return image.before;
  const bytes = encodeJson(manifest);
  // What is wrong with it, an annotation for instance, is found before anything is copied.
  parseManifest(bytes, image.mediaType, "the changed manifest");
  const written = await target.write([bytes], image.mediaType, options);
  return { ...withoutData(image.before), ...written };
}

/** The config with the layers of the image, and its history where there is one that fits them. */
function withLayers({ config, layers, lastSteps }: MutableImage, original: MutableImage): ImageConfig {
  if (isDeepStrictEqual(layers, original.layers) && lastSteps === original.lastSteps) return config;
  const rootfs = { ...config.rootfs, diff_ids: layers.map(({ diffId }) => diffId) };
  const isAligned = hasAlignedHistory(original.config);
  const steps = [...layers.flatMap(({ history }) => history), ...lastSteps];
  const result = { ...config, rootfs, ...(isAligned ? { history: steps } : {}) };
  if (isAligned ? hasAlignedHistory(result) : layers.length === original.layers.length) return result;
  const { history: _history, ...silent } = result;
  return silent as ImageConfig;
}

function withoutEmptyAnnotations(manifest: JsonObject): JsonObject {
  const { annotations, ...rest } = manifest;
  return annotations === undefined || annotations === null || Object.keys(annotations).length === 0 ? rest : manifest;
}

function digestAndSize({ digest, size }: Descriptor): Pick<Descriptor, "digest" | "size"> {
  return { digest, size };
}

/** What was embedded in a descriptor is not the same any more. */
export function withoutData({ data: _data, ...descriptor }: Descriptor): Descriptor {
  return descriptor;
}
