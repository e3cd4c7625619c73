import { isDigest, OciError } from "@stowage/layout";
import type { Layer } from "../compress-layer.js";
import type { History } from "../config.js";
import { writeLayer } from "../layer.js";
import type { LayerSource } from "../layer-source.js";
import { LowerPaths } from "../lower-paths.js";
import { type LayerContent, remember } from "./layer-content.js";
import type { MutableImage, MutableLayer } from "./mutable-image.js";

/** A layer of an image: its number, the lowest is 1, or its digest or diff_id. */
export type LayerSelector = number | string;

/** A layer to put into the place of another. */
export interface LayerReplacement {
  readonly layer: LayerSelector;
  readonly by: LayerSource;
}

/** Which layers go, and which come. */
export interface LayerEdits {
  readonly dropLayers?: readonly LayerSelector[] | undefined;
  readonly replaceLayers?: readonly LayerReplacement[] | undefined;
  /** On top of the others, the first of them lowest. */
  readonly addLayers?: readonly LayerSource[] | undefined;
  /** What paths of new layers are relative to. Default: the working directory. */
  readonly cwd?: string | undefined;
  /** Seconds since 1970 that files of new layers get as their time. Default: 0. */
  readonly mtime?: number | undefined;
}

/** The image without some layers, and with others in their place. Numbers are those of `image`. Fails with `NOT_FOUND` where there is no such layer. */
export async function dropAndReplace(run: LayerContent, image: MutableImage, edits: LayerEdits): Promise<MutableImage> {
  const gone = new Set((edits.dropLayers ?? []).map((selector) => find(image, selector)));
  const replaced = new Map((edits.replaceLayers ?? []).map(({ layer, by }) => [find(image, layer), by]));
  const layers: MutableLayer[] = [];
  // The steps without a layer that came before one that goes stay: they are about the config.
  let steps: readonly History[] = [];
  for (const [at, layer] of image.layers.entries()) {
    const by = replaced.get(at);
    if (gone.has(at)) steps = [...steps, ...layer.history.slice(0, -1)];
    else {
      const history = [...steps, ...layer.history];
      steps = [];
      layers.push(by === undefined ? { ...layer, history } : await replacement(run, image, layers, by, edits, history));
    }
  }
  return { ...image, layers, lastSteps: steps.length === 0 ? image.lastSteps : [...steps, ...image.lastSteps] };
}

async function replacement(
  run: LayerContent,
  image: MutableImage,
  below: readonly MutableLayer[],
  by: LayerSource,
  edits: LayerEdits,
  history: readonly History[],
): Promise<MutableLayer> {
  const made = await makeLayer(run, { ...image, layers: below }, by, edits);
  return { ...made, history: history.length === 0 ? [] : [...history.slice(0, -1), stepOf(image)] };
}

/** The image with more layers on top. */
export async function addLayers(run: LayerContent, image: MutableImage, edits: LayerEdits): Promise<MutableImage> {
  let result = image;
  for (const source of edits.addLayers ?? []) {
    const made = await makeLayer(run, result, source, edits);
    const layer: MutableLayer = { ...made, history: [...result.lastSteps, stepOf(image)] };
    result = { ...result, layers: [...result.layers, layer], lastSteps: [] };
  }
  return result;
}

async function makeLayer(
  run: LayerContent,
  image: MutableImage,
  source: LayerSource,
  { cwd, mtime }: LayerEdits,
): Promise<Layer> {
  const { signal, compression } = run;
  // Files go where the links of the layers below lead; a tar stays as it is.
  const lower = "files" in source ? image.layers.map(({ descriptor }) => descriptor) : [];
  const below = lower.length === 0 ? undefined : await LowerPaths.read(run.content, lower, { signal });
  const layer = await writeLayer(run.made, source, {
    ...(cwd === undefined ? {} : { cwd }),
    mtime,
    compression,
    signal,
    below,
  });
  remember(run, `new ${layer.diffId}`, layer);
  return layer;
}

function stepOf({ config }: MutableImage): History {
  return { created: config.created ?? "1970-01-01T00:00:00Z", created_by: "stowage mutate" };
}

function find(image: MutableImage, selector: LayerSelector): number {
  const at =
    typeof selector === "number"
      ? selector - 1
      : image.layers.findIndex(({ descriptor, diffId }) => descriptor.digest === selector || diffId === selector);
  if (image.layers[at] !== undefined) return at;
  throw new OciError(
    "NOT_FOUND",
    `the image ${image.before.digest} has ${image.layers.length} layers, none is ${selector}`,
    { hint: typeof selector === "string" && !isDigest(selector) ? "Write its number or its digest." : undefined },
  );
}
