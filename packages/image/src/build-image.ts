import {
  type Abortable,
  type Annotations,
  annotationKeys,
  contentOf,
  type Descriptor,
  descriptorOf,
  encodeJson,
  formatTime,
  hostPlatform,
  type ImageManifest,
  mediaTypes,
  normalizePlatform,
  OciError,
  type Platform,
  type Presence,
  parseAnnotations,
  readBytes,
  sourceDateEpoch,
} from "@stowage/layout";
import { type BaseImage, isNondistributable, type ReadBase, readBase, toOciLayer } from "./base.js";
import type { Layer } from "./compress-layer.js";
import { checkLevel } from "./compression.js";
import { type ConfigChanges, type History, makeConfig, platformOf, sorted } from "./config.js";
import type { BuildTarget } from "./content-writer.js";
import { type LayerOptions, writeLayer } from "./layer.js";
import { type LayerSource, layerFor } from "./layer-source.js";
import { annotationsAt, type LeveledAnnotation } from "./leveled-annotation.js";
import { LowerPaths } from "./lower-paths.js";
import type { FileMapping } from "./mapping.js";

/** What {@link buildImage} tells while it works. Layers are counted from 0, without those of the base. */
export type BuildEvent =
  | { readonly type: "base"; readonly descriptor: Descriptor; readonly platform: Platform }
  | { readonly type: "base-layer"; readonly descriptor: Descriptor; readonly presence: Presence }
  /** So many more bytes of the uncompressed tar of a layer were taken in. */
  | { readonly type: "bytes"; readonly layer: number; readonly bytes: number }
  | { readonly type: "layer"; readonly layer: number; readonly result: Layer }
  | { readonly type: "manifest"; readonly descriptor: Descriptor }
  | { readonly type: "tag"; readonly tag: string };

/** The options of {@link buildImage}. */
export interface BuildOptions
  extends Omit<LayerOptions, "below" | "onBytes">,
    Omit<ConfigChanges, "created">,
    Abortable {
  /** `SRC[:DEST[:MODE[:UID:GID]]]` each, all in one layer, above those of `layers`. */
  readonly files?: readonly (string | FileMapping)[] | undefined;
  /** Each of `files` becomes a layer of its own, the first at the bottom. Default: false. */
  readonly split?: boolean | undefined;
  /** One layer each, the first at the bottom; a text as {@link layerFor} reads it. */
  readonly layers?: readonly (string | LayerSource)[] | undefined;
  /** The image to build on: its layers stay as they are, its configuration is inherited. */
  readonly base?: BaseImage | undefined;
  /** The time in the configuration. Default: `SOURCE_DATE_EPOCH`; without it there is none. */
  readonly created?: Date | undefined;
  /** Seconds since 1970 that every file gets as its time. Default: `SOURCE_DATE_EPOCH`; without it 0. */
  readonly mtime?: number | undefined;
  /** Default: that of the base, or Linux on this machine's processor. */
  readonly platform?: Platform | undefined;
  /** Of the manifest, or each with its level. They win over those that `base` brings. */
  readonly annotations?: Annotations | readonly LeveledAnnotation[] | undefined;
  /** What the history says of each new layer. Default: `created_by` is `stowage build`. */
  readonly history?: Pick<History, "created_by" | "author" | "comment"> | undefined;
  /**
   * Content of so many bytes or fewer stands in its descriptor as well, so that whoever has the manifest has it. Default: none
   * does. image-spec v1.1.1, descriptor.md "Properties", `data`.
   */
  readonly dataMax?: number | undefined;
  readonly onEvent?: ((event: BuildEvent) => void) | undefined;
}

/** An image that was built. */
export interface BuiltImage {
  /** Of the manifest. */
  readonly descriptor: Descriptor;
  readonly platform: Platform;
  readonly config: Descriptor;
  /** All layers, those of the base first. */
  readonly layers: readonly Layer[];
}

/**
 * Builds an image from files and stores it in `target`. The same inputs give the same digest on every machine.
 *
 * A base keeps its layers, its directories keep their mode and owner, and files for a directory that is a link in it go to
 * where the link points (see {@link LowerPaths}; for that the layers of the base are read once). The result is an OCI image,
 * also on a Docker base: media types are converted, bytes and digests of layers stay.
 *
 * Fails with `NOT_FOUND` where a source or the base is missing, with `INVALID` where an option breaks the spec or where the
 * image would have no layer, and as {@link writeLayer} does.
 */
export async function buildImage(target: BuildTarget, options: BuildOptions): Promise<BuiltImage> {
  const { signal, onEvent, dataMax = -1 } = options;
  const epoch = sourceDateEpoch();
  const created =
    options.created !== undefined
      ? formatTime(options.created)
      : epoch === undefined
        ? undefined
        : formatTime(new Date(epoch * 1000));
  const wanted = options.platform === undefined ? undefined : normalizePlatform(options.platform);
  const base = options.base === undefined ? undefined : await readBase(options.base, wanted, { signal });
  const platform = base === undefined ? (wanted ?? hostPlatform()) : platformOf(base.config);
  const sources = sourcesFor(options, platform);
  if (sources.length + (base?.layers.length ?? 0) === 0) {
    throw new OciError("INVALID", "cannot build an image without a layer", {
      hint: "Name at least one file, or a base.",
    });
  }
  // Before any layer is made: a wrong option costs no time and leaves nothing behind.
  const changes = { ...options, platform: base === undefined ? platform : undefined, created };
  makeConfig(changes, [], base?.config);
  checkLevel(options.compression ?? "gzip", options.level);
  const annotations = annotationsOf(options, platform, base);
  parseAnnotations(annotations, "the manifest");
  if (base !== undefined) onEvent?.({ type: "base", descriptor: base.descriptor, platform });

  const baseLayers = base === undefined ? [] : await copyBaseLayers(target, options.base as BaseImage, base, options);
  const below = await pathsBelow(target, baseLayers, sources, signal);
  const layers: Layer[] = [];
  for (const [index, source] of sources.entries()) {
    const onBytes = (bytes: number): void => onEvent?.({ type: "bytes", layer: index, bytes });
    const result = await writeLayer(target, source, { ...options, mtime: options.mtime ?? epoch, below, onBytes });
    layers.push(result);
    onEvent?.({ type: "layer", layer: index, result });
  }

  // The spec lets a step have no time; umoci 0.4 crashes on it.
  const time = created ?? "1970-01-01T00:00:00Z";
  const history: History = { created: time, created_by: "stowage build", ...options.history };
  const configBytes = encodeJson(
    makeConfig(
      changes,
      layers.map(({ diffId }) => ({ diffId, history })),
      base?.config,
    ),
  );
  const config = descriptorOf(configBytes, mediaTypes.config);
  await target.push(contentOf(configBytes, config), { signal });
  const all = [...baseLayers, ...layers];
  const manifest: ImageManifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: await withData(target, config, dataMax),
    layers: await Promise.all(all.map((layer) => withData(target, layer.descriptor, dataMax))),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  };
  const manifestBytes = encodeJson(manifest);
  const described = annotationsAt(options.annotations, "manifest-descriptor", platform);
  const descriptor = descriptorOf(manifestBytes, mediaTypes.manifest, {
    platform,
    ...(Object.keys(described).length === 0 ? {} : { annotations: sorted(described) }),
  });
  await target.push(contentOf(manifestBytes, descriptor), { signal });
  onEvent?.({ type: "manifest", descriptor });
  return { descriptor, platform, config, layers: all };
}

/** What the layers of an image for this platform are made from. */
function sourcesFor(options: BuildOptions, platform: Platform): readonly LayerSource[] {
  const { files = [], layers = [], split = false, cwd } = options;
  const onTop = split ? files.map((file) => ({ files: [file] })) : files.length === 0 ? [] : [{ files }];
  return [...layers, ...onTop]
    .map((source) => layerFor(source, platform, cwd))
    .filter((source) => source !== undefined);
}

/** The descriptor with its content in it, where that is no larger than `maximum` and is there. */
export async function withData(
  target: Pick<BuildTarget, "fetch" | "has">,
  descriptor: Descriptor,
  maximum: number,
): Promise<Descriptor> {
  if (descriptor.size > maximum || descriptor.data !== undefined || !(await target.has(descriptor))) return descriptor;
  return { ...descriptor, data: Buffer.from(await readBytes(target, descriptor)).toString("base64") };
}

/** Copies the layers of the base as they are. Those that may not be distributed stay where they are. */
async function copyBaseLayers(
  target: BuildTarget,
  { source }: BaseImage,
  base: ReadBase,
  { signal, onEvent }: BuildOptions,
): Promise<readonly Layer[]> {
  const layers: Layer[] = [];
  for (const [index, original] of base.layers.entries()) {
    if (!isNondistributable(original)) {
      const content = { descriptor: original, open: () => source.fetch(original, { signal }), origin: source };
      const presence = await target.push(content, { signal });
      onEvent?.({ type: "base-layer", descriptor: original, presence });
    }
    layers.push({ descriptor: toOciLayer(original), diffId: base.config.rootfs.diff_ids[index] as Layer["diffId"] });
  }
  return layers;
}

/** What the layers of the base have, read only where files are put on something. Layers that are not there are passed over. */
async function pathsBelow(
  target: BuildTarget,
  base: readonly Layer[],
  sources: readonly LayerSource[],
  signal: AbortSignal | undefined,
): Promise<LowerPaths | undefined> {
  const lastFiles = sources.findLastIndex((source) => "files" in source);
  if (lastFiles < 0 || lastFiles + base.length === 0) return undefined;
  const layers = base.map((layer) => layer.descriptor).filter((layer) => !isNondistributable(layer));
  return LowerPaths.read(target, layers, { signal });
}

function annotationsOf(options: BuildOptions, platform: Platform, base: ReadBase | undefined): Annotations {
  const name = options.base?.name;
  return sorted({
    ...(base === undefined ? {} : { [annotationKeys.baseDigest]: base.descriptor.digest }),
    ...(name === undefined ? {} : { [annotationKeys.baseName]: name }),
    ...annotationsAt(options.annotations, "manifest", platform),
  });
}
