import {
  type Abortable,
  type Descriptor,
  formatDescriptor,
  formatPlatform,
  hostPlatform,
  isImageConfigType,
  isIndexType,
  matchesPlatform,
  mediaTypes,
  OciError,
  type Platform,
  type ReadManifest,
  readBytes,
  readManifest,
  type Source,
} from "@stowage/layout";
import { type ImageConfig, parseConfig, platformOf } from "./config.js";

/** The image to build on. */
export interface BaseImage {
  readonly source: Source;
  /** A tag or digest in `source`, or a descriptor of what is there: an image, or an index of images. */
  readonly reference: string | Descriptor;
  /** The full name for the annotation `org.opencontainers.image.base.name`, such as `docker.io/library/alpine:3.20`. */
  readonly name?: string | undefined;
}

/** A base image that was found and read. */
export interface ReadBase {
  /** Of the image itself, also where it was found through an index. */
  readonly descriptor: Descriptor;
  readonly config: ImageConfig;
  readonly layers: readonly Descriptor[];
}

/** How deep indexes may nest. */
const MAXIMUM_DEPTH = 8;

/**
 * Finds the image for the wanted platform and reads its configuration; without a wanted platform an index gives the image
 * for Linux on this machine's processor. Fails with `NOT_FOUND` where there is no such image, with `INVALID` where it is an
 * artifact or where its layers and diff_ids do not match up.
 */
export async function readBase(
  base: BaseImage,
  wanted: Platform | undefined,
  options: Abortable = {},
): Promise<ReadBase> {
  const { source } = base;
  const root = typeof base.reference === "string" ? await source.resolve(base.reference, options) : base.reference;
  const { descriptor, manifest } = await selectImage(source, root, wanted, options);
  const where = `the base image ${descriptor.digest} of ${source.name}`;
  if (manifest.kind !== "image" || !isImageConfigType(manifest.config.mediaType)) {
    throw new OciError(
      "INVALID",
      `${where} is no container image: ${manifest.kind === "image" ? `its config is ${manifest.config.mediaType}` : formatDescriptor(descriptor)}`,
    );
  }
  const config = parseConfig(
    await readBytes(source, manifest.config, options),
    `the config ${manifest.config.digest} of ${where}`,
  );
  if (wanted !== undefined && !matchesPlatform(platformOf(config), wanted)) {
    throw new OciError(
      "NOT_FOUND",
      `${where} is for ${formatPlatform(platformOf(config))}, not for ${formatPlatform(wanted)}`,
    );
  }
  if (config.rootfs.diff_ids.length !== manifest.layers.length) {
    throw new OciError(
      "INVALID",
      `${where} has ${manifest.layers.length} layers, but its config names ${config.rootfs.diff_ids.length}`,
    );
  }
  return { descriptor, config, layers: manifest.layers };
}

/**
 * The image that `root` is, or the first one in it, at any depth, that is for the wanted platform. Entries without a
 * platform are taken where nothing else matches and there is just one. image-spec v1.1.1, image-index.md "platform".
 */
export async function selectImage(
  source: Source,
  root: Descriptor,
  wanted: Platform | undefined,
  options: Abortable = {},
): Promise<ReadManifest> {
  if (!isIndexType(root.mediaType)) return readManifest(source, root, options);
  const platform = wanted ?? hostPlatform();
  const seen: Descriptor[] = [];
  const found = await searchIndex(source, root, platform, options, seen, 0);
  const silent = seen.filter((entry) => entry.platform === undefined);
  const image = found ?? (silent.length === 1 ? silent[0] : undefined);
  if (image !== undefined) return readManifest(source, image, options);
  const known = seen.flatMap((entry) => (entry.platform === undefined ? [] : [formatPlatform(entry.platform)]));
  throw new OciError(
    "NOT_FOUND",
    `${source.name} has no image for ${formatPlatform(platform)} in the index ${root.digest}`,
    {
      hint: known.length === 0 ? undefined : `It has ${known.slice(0, 20).join(", ")}.`,
    },
  );
}

async function searchIndex(
  source: Source,
  index: Descriptor,
  platform: Platform,
  options: Abortable,
  seen: Descriptor[],
  depth: number,
): Promise<Descriptor | undefined> {
  if (depth >= MAXIMUM_DEPTH)
    throw new OciError(
      "LIMIT",
      `the index ${index.digest} in ${source.name} nests deeper than ${MAXIMUM_DEPTH} levels`,
    );
  const { manifest } = await readManifest(source, index, options);
  for (const entry of manifest.kind === "index" ? manifest.manifests : []) {
    if (isIndexType(entry.mediaType)) {
      const found = await searchIndex(source, entry, platform, options, seen, depth + 1);
      if (found !== undefined) return found;
    } else if (entry.mediaType === mediaTypes.manifest || entry.mediaType === mediaTypes.dockerManifest) {
      if (entry.platform && matchesPlatform(entry.platform, platform)) return entry;
      seen.push(entry);
    }
  }
  return undefined;
}

/**
 * The OCI descriptor of a layer: Docker's media types become those that image-spec v1.1.1, media-types.md "Compatibility
 * Matrix" calls interchangeable with them; the bytes and so the digest are the same. Any other type stays.
 */
export function toOciLayer(layer: Descriptor): Descriptor {
  const mediaType = OCI_LAYER_TYPES.get(layer.mediaType);
  return mediaType === undefined ? layer : { ...layer, mediaType };
}

const NONDISTRIBUTABLE_GZIP = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
const OCI_LAYER_TYPES: ReadonlyMap<string, string> = new Map([
  [mediaTypes.dockerLayerGzip, mediaTypes.layerGzip],
  [mediaTypes.dockerLayer, mediaTypes.layer],
  ["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", NONDISTRIBUTABLE_GZIP],
]);

/** True for a layer that is not to be copied: it stays where its `urls` say. The media type decides, not the `urls`. */
export function isNondistributable(layer: Descriptor): boolean {
  return (
    layer.mediaType.startsWith("application/vnd.oci.image.layer.nondistributable.") ||
    OCI_LAYER_TYPES.get(layer.mediaType) === NONDISTRIBUTABLE_GZIP
  );
}
