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
  readBytes,
  readManifest,
  type Source,
  selectPlatform,
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
  const isIndex = isIndexType(root.mediaType);
  const selected = isIndex ? await selectPlatform(source, root, wanted ?? hostPlatform(), options) : root;
  const { descriptor, manifest } = await readManifest(source, selected, options);
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
