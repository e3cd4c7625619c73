import type { Descriptor } from "../model/descriptor.js";
import { type Digest, digestAlgorithm, digestEncoded } from "../model/digest.js";
import { OciError } from "../model/errors.js";
import type { Manifest } from "../model/manifest.js";
import { isImageConfigType } from "../model/media-types.js";
import { formatReference, parseReference } from "../model/reference.js";
import { isNamed, type LayoutIndex, refName } from "../store/index-json.js";

/** The path of a blob inside an archive. */
export function blobPath(digest: Digest): string {
  return `blobs/${digestAlgorithm(digest)}/${digestEncoded(digest)}`;
}

/**
 * The content of the `manifest.json` that `docker load` reads: one item for each image, with the blobs where the layout
 * has them, as Docker itself writes it since version 25. Fails with `UNSUPPORTED` where a named entry is no image of a
 * single platform, and with `INVALID` where its name is no image name.
 */
export function dockerManifest(index: LayoutIndex, read: (descriptor: Descriptor) => Manifest): readonly object[] {
  const images = new Map<Digest, { Config: string; RepoTags: string[]; Layers: string[] }>();
  for (const entry of index.manifests) {
    const named = isNamed(entry);
    // An untagged referrer is an entry too; Docker has no place for it.
    if (!named && index.manifests.some(isNamed)) continue;
    const image = images.get(entry.digest) ?? { ...imagePaths(entry, read(entry)), RepoTags: [] };
    if (named) image.RepoTags.push(formatReference(parseReference(refName(entry) as string)));
    images.set(entry.digest, image);
  }
  return [...images.values()].map(({ Config, RepoTags, Layers }) => ({ Config, RepoTags, Layers }));
}

function imagePaths(entry: Descriptor, manifest: Manifest): { Config: string; Layers: string[] } {
  if (manifest.kind !== "image" || !isImageConfigType(manifest.config.mediaType)) {
    throw new OciError(
      "UNSUPPORTED",
      `cannot write ${entry.digest} for docker load: it is ${manifest.kind === "index" ? "an index of several platforms" : "no image"}`,
      {
        hint:
          manifest.kind === "index"
            ? "Choose one with --platform, for example --platform linux/amd64."
            : "Write an oci-archive: instead.",
      },
    );
  }
  return { Config: blobPath(manifest.config.digest), Layers: manifest.layers.map((layer) => blobPath(layer.digest)) };
}
