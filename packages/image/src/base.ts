import { type Abortable, type Descriptor, mediaTypes, OciError, type Platform, type Source } from "@stowage/layout";
import { type Image, readImage } from "./image.js";

/** The image to build on. */
export interface BaseImage {
  readonly source: Source;
  /** A tag or digest in `source`, or a descriptor of what is there: an image, or an index of images. */
  readonly reference: string | Descriptor;
  /** The full name for the annotation `org.opencontainers.image.base.name`, such as `docker.io/library/alpine:3.20`. */
  readonly name?: string | undefined;
}

/** A base image that was found and read. */
export type ReadBase = Image;

/** Finds and reads the base image for exactly the wanted platform, as {@link readImage} does. */
export function readBase(base: BaseImage, wanted: Platform | undefined, options: Abortable = {}): Promise<ReadBase> {
  return readImage(base.source, base.reference, wanted, { ...options, role: "base image", exact: true });
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

/** The other way round: the descriptor of a layer in Docker's types. Fails with `UNSUPPORTED` where Docker has none. */
export function toDockerLayer(layer: Descriptor): Descriptor {
  if (layer.mediaType.startsWith("application/vnd.docker.")) return layer;
  for (const [mediaType, oci] of OCI_LAYER_TYPES) if (oci === layer.mediaType) return { ...layer, mediaType };
  throw new OciError("UNSUPPORTED", `Docker has no media type for the layer ${layer.digest}, ${layer.mediaType}`, {
    hint: layer.mediaType === mediaTypes.layerZstd ? "Compress it with gzip." : undefined,
  });
}

/** True for a layer that is not to be copied: it stays where its `urls` say. The media type decides, not the `urls`. */
export function isNondistributable(layer: Descriptor): boolean {
  return (
    layer.mediaType.startsWith("application/vnd.oci.image.layer.nondistributable.") ||
    OCI_LAYER_TYPES.get(layer.mediaType) === NONDISTRIBUTABLE_GZIP
  );
}
