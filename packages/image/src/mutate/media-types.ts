import { mediaTypes } from "@stowage/layout";
import { toDockerLayer, toOciLayer } from "../base.js";
import type { MutableImage } from "./mutable-image.js";

/** Whose media types an image has. image-spec v1.1.1, media-types.md "Compatibility Matrix". */
export type MediaTypeFamily = "oci" | "docker";

/** All values of {@link MediaTypeFamily}. */
export const mediaTypeFamilies: readonly MediaTypeFamily[] = ["oci", "docker"];

const TYPES = {
  oci: { manifest: mediaTypes.manifest, index: mediaTypes.index, config: mediaTypes.config, layer: toOciLayer },
  docker: {
    manifest: mediaTypes.dockerManifest,
    index: mediaTypes.dockerManifestList,
    config: mediaTypes.dockerConfig,
    layer: toDockerLayer,
  },
} as const;

/**
 * The image in the media types of `family`; without one, new layers get those of the image they are in. Bytes of layers stay.
 * Fails with `UNSUPPORTED` for a layer for which Docker has no type, such as zstd.
 */
export function convertImage(image: MutableImage, family: MediaTypeFamily | undefined): MutableImage {
  const wanted = family ?? (image.mediaType === mediaTypes.dockerManifest ? "docker" : undefined);
  if (wanted === undefined) return image;
  const types = TYPES[wanted];
  return {
    ...image,
    mediaType: types.manifest,
    configDescriptor: { ...image.configDescriptor, mediaType: types.config },
    layers: image.layers.map((layer) => ({ ...layer, descriptor: types.layer(layer.descriptor) })),
  };
}

/** The media type of an index in the types of `family`. */
export function indexType(mediaType: string, family: MediaTypeFamily | undefined): string {
  return family === undefined ? mediaType : TYPES[family].index;
}
