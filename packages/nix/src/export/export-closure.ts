import type { BuildTarget, Compression, ConfigChanges, Layer } from "@stowage/image";
import {
  type Abortable,
  type Annotations,
  type Descriptor,
  forEachParallel,
  hostPlatform,
  normalizePlatform,
} from "@stowage/layout";
import type { PathInfo } from "../formats/path-info.js";
import type { NixKey } from "../formats/signature.js";
import type { Closure, StoreObject } from "../sources/closure.js";
import { checkSignatures } from "./check-signatures.js";
import { convenienceOf, writeConvenienceLayer } from "./convenience-layer.js";
import { DEFAULT_MAXIMUM_LAYERS, groupPaths, type Layering } from "./grouping.js";
import { KnownLayers } from "./known-layers.js";
import { LayerPacker, type PackedLayer } from "./pack-layers.js";
import { type ImageLayer, writeClosure, writeStoreImage, writeStoreIndex } from "./store-image.js";
import { tagPaths } from "./tag-paths.js";

/** What {@link exportClosure} and {@link importClosure} tell while they work. */
export type ExportEvent =
  /** So many more bytes of NARs were read. */
  | { readonly type: "bytes"; readonly bytes: number }
  | { readonly type: "layer"; readonly layer: Layer; readonly paths: number };

/** What {@link exportClosure} and {@link importClosure} have in common. */
export interface ClosureOptions extends Abortable {
  /** Default: `gzip`. */
  readonly compression?: Compression | undefined;
  /** Refuse paths that none of these keys has signed. Those that follow from their content need no signature. Default: take all. */
  readonly trustedKeys?: readonly NixKey[] | undefined;
  /** The names of what is made. Without any it is found by its digest only. */
  readonly tags?: readonly string[] | undefined;
  readonly onEvent?: ((event: ExportEvent) => void) | undefined;
}

/** The options of {@link exportClosure}. */
export interface ExportOptions extends ClosureOptions {
  /** Default: `popularity`. */
  readonly layering?: Layering | undefined;
  /** The most layers of the image. Without effect on `per-path`. Default: 100. */
  readonly maxLayers?: number | undefined;
  /** Make an image with a layer for each path as well, as a `referrer` of the other or as the second of an `index`. Default: no. */
  readonly wide?: "referrer" | "index" | undefined;
  /** Make a manifest for each path and an index of them, a referrer of the image, and tag each path by its hash. Default: false. */
  readonly pathArtifacts?: boolean | undefined;
  /** Link what the roots have into `/bin` and so on. Default: true. */
  readonly links?: boolean | undefined;
  /** How containers of the image run. Default: the only program of the roots, and a PATH to their programs. */
  readonly config?: ConfigChanges | undefined;
  readonly annotations?: Annotations | undefined;
}

/** What {@link exportClosure} made. */
export interface ExportResult {
  /** What the tags stand for: the image, or the index of two. */
  readonly descriptor: Descriptor;
  /** The image with at most `maxLayers` layers. */
  readonly image: Descriptor;
  readonly layers: readonly Layer[];
  readonly wide?: Descriptor;
  /** The index of the manifests of the paths. */
  readonly closure?: Descriptor;
  readonly roots: readonly string[];
  /** How many store paths there are, and how many of them were compressed now. */
  readonly paths: number;
  readonly packed: number;
  /** Bytes of the NARs of all paths. */
  readonly narSize: number;
  readonly tags: readonly string[];
}

/** How many layers are made at once: while one is compressed, another is read. */
const PARALLEL_LAYERS = 4;

/**
 * Makes an image of a closure, each store path in one piece in a layer that owns it. Every path is checked against its narHash. The same
 * closure gives the same digest on every machine. A path that the target has from an export before is taken from there.
 *
 * Fails with `MISMATCH` where a path is not what its narHash says, with `DENIED` where a key is missing, and with `INVALID`
 * where an image cannot hold a path or an option is wrong; then no tag was set. Memory grows with the number of paths, not
 * with what is in them.
 */
export async function exportClosure(
  target: BuildTarget,
  closure: Closure,
  options: ExportOptions = {},
): Promise<ExportResult> {
  const { signal, compression = "gzip", layering = "popularity" } = options;
  await checkSignatures(closure, options.trustedKeys);
  const platform = normalizePlatform(options.config?.platform ?? hostPlatform());
  const convenience = options.links === false ? undefined : await convenienceOf(rootObjects(closure), { signal });
  const linked =
    convenience === undefined ? undefined : await writeConvenienceLayer(target, convenience, { signal, compression });
  const maximum = (options.maxLayers ?? DEFAULT_MAXIMUM_LAYERS) - (linked === undefined ? 0 : 1);
  const objects = new Map(closure.objects.map((object) => [object.info.path, object]));
  const infos = closure.objects.map(({ info }) => info);
  const groups = groupPaths(infos, layering, maximum);
  const known = await KnownLayers.read(target, compression, { signal });
  const onBytes = (bytes: number): void => options.onEvent?.({ type: "bytes", bytes });
  const packer = await LayerPacker.open(target, closure.storeDirectory, { signal, compression, known, onBytes });

  const alone = new Map<string, PackedLayer>();
  const packAlone = async (group: readonly PathInfo[]): Promise<void> => {
    const [info] = group as [PathInfo];
    alone.set(info.path, await packer.alone(objects.get(info.path) as StoreObject));
  };
  const needsAll = options.wide !== undefined || options.pathArtifacts === true;
  const single = needsAll ? infos.map((info) => [info]) : groups.filter((group) => group.length === 1);
  await forEachParallel(single, PARALLEL_LAYERS, packAlone);
  const layers: ImageLayer[] = [];
  let packed = [...alone.values()].reduce((sum, layer) => sum + layer.packed, 0);
  for (const group of groups) {
    const [first] = group as [PathInfo];
    const layer =
      group.length === 1
        ? (alone.get(first.path) as PackedLayer)
        : await packer.together(group.map(({ path }) => objects.get(path) as StoreObject));
    if (group.length > 1) packed += layer.packed;
    layers.push({ ...layer, comment: group.length === 1 ? first.path : `${group.length} store paths` });
    options.onEvent?.({ type: "layer", layer, paths: group.length });
  }

  const links: ImageLayer[] = linked === undefined ? [] : [{ ...linked, comment: "links to what was asked for" }];
  const config = { ...defaultConfig(convenience), ...defined(options.config), platform };
  const common = { closure, compression, config, annotations: options.annotations };
  const narrow = {
    ...common,
    shape: layering === "per-path" ? "wide" : "narrow",
    layers: [...layers, ...links],
  } as const;
  const image = await writeStoreImage(target, narrow, { signal });
  const wideLayers = groups.flat().map(({ path }) => ({ ...(alone.get(path) as PackedLayer), comment: path }));
  const wide =
    options.wide === undefined
      ? undefined
      : await writeStoreImage(
          target,
          {
            ...common,
            shape: "wide",
            layers: [...wideLayers, ...links],
            subject: options.wide === "referrer" ? image : undefined,
          },
          { signal },
        );
  const descriptor =
    wide !== undefined && options.wide === "index"
      ? await writeStoreIndex(target, image, wide, platform, { signal })
      : image;
  const artifacts =
    options.pathArtifacts === true
      ? await writeClosure(target, closure, alone, { compression, subject: descriptor }, { signal })
      : undefined;
  const tags = await setTags(target, descriptor, options);
  if (artifacts !== undefined) await tagPaths(target, artifacts.paths, { signal });
  return {
    descriptor,
    image,
    layers: narrow.layers.map(({ descriptor, diffId }) => ({ descriptor, diffId })),
    ...(wide === undefined ? {} : { wide }),
    ...(artifacts === undefined ? {} : { closure: artifacts.index }),
    ...summary(closure, packed),
    tags,
  };
}

/** What {@link importClosure} made. */
export type ImportResult = Omit<ExportResult, "image" | "layers" | "wide" | "closure">;

/**
 * Makes a manifest for each path of a closure, tagged by the hash of the path, and an index of them: a binary cache whose
 * entries are layers. Fails as {@link exportClosure} does.
 */
export async function importClosure(
  target: BuildTarget,
  closure: Closure,
  options: ClosureOptions = {},
): Promise<ImportResult> {
  const { signal, compression = "gzip" } = options;
  await checkSignatures(closure, options.trustedKeys);
  const known = await KnownLayers.read(target, compression, { signal });
  const onBytes = (bytes: number): void => options.onEvent?.({ type: "bytes", bytes });
  const packer = await LayerPacker.open(target, closure.storeDirectory, { signal, compression, known, onBytes });
  const alone = new Map<string, PackedLayer>();
  await forEachParallel(closure.objects, PARALLEL_LAYERS, async (object) => {
    const layer = await packer.alone(object);
    alone.set(object.info.path, layer);
    options.onEvent?.({ type: "layer", layer, paths: 1 });
  });
  const { index, paths } = await writeClosure(target, closure, alone, { compression }, { signal });
  const tags = await setTags(target, index, options);
  await tagPaths(target, paths, { signal });
  const packed = [...alone.values()].reduce((sum, layer) => sum + layer.packed, 0);
  return { descriptor: index, ...summary(closure, packed), tags };
}

function summary(
  { roots, objects }: Closure,
  packed: number,
): Pick<ExportResult, "roots" | "paths" | "packed" | "narSize"> {
  const narSize = objects.reduce((sum, { info }) => sum + info.narSize, 0);
  return { roots, paths: objects.length, packed, narSize };
}

function rootObjects({ roots, objects }: Closure): StoreObject[] {
  const wanted = new Set(roots);
  return objects.filter(({ info }) => wanted.has(info.path));
}

async function setTags(
  target: BuildTarget,
  descriptor: Descriptor,
  options: ClosureOptions,
): Promise<readonly string[]> {
  const tags = [...new Set(options.tags ?? [])];
  for (const tag of tags) await target.tag(tag, descriptor, { signal: options.signal });
  if (tags.length === 0) await target.addEntry(descriptor, { signal: options.signal });
  return tags;
}

function defaultConfig(
  convenience: { readonly program: string | undefined; readonly links: ReadonlyMap<string, unknown> } | undefined,
): ConfigChanges {
  if (convenience === undefined || !convenience.links.has("bin")) return {};
  return { env: ["PATH=/bin"], ...(convenience.program === undefined ? {} : { cmd: [convenience.program] }) };
}

function defined(config: ConfigChanges | undefined): ConfigChanges {
  return Object.fromEntries(Object.entries(config ?? {}).filter(([, value]) => value !== undefined));
}
