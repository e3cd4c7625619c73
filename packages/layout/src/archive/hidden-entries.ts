import { type Descriptor, descriptorOf } from "../model/descriptor.js";
import { isDigest } from "../model/digest.js";
import { OciError } from "../model/errors.js";
import { parseJsonObject } from "../model/json.js";
import { encodeJson, type Manifest } from "../model/manifest.js";
import { annotationKeys, isManifestType, mediaTypes } from "../model/media-types.js";
import { readBytes } from "../model/verified.js";
import { parseLegacyTag } from "../store/conventions.js";
import { checkIndex, isNamed, type LayoutIndex, MAXIMUM_INDEX_SIZE, refName } from "../store/index-json.js";
import type { IndexedSource } from "../store/indexed-source.js";

/**
 * Loaders take every entry of index.json for an image: docker and containerd would unpack an SBOM. So an archive for them
 * shows them images only; the entries that carry referrers and signatures stand in an index of their own, which an annotation
 * of index.json names and no loader looks for.
 */
export function hideFromLoaders(
  index: LayoutIndex,
  read: (descriptor: Descriptor) => Manifest | undefined,
): { readonly shown: LayoutIndex; readonly hidden: { descriptor: Descriptor; bytes: Uint8Array } | undefined } {
  const isHidden = (entry: Descriptor): boolean =>
    parseLegacyTag(refName(entry) ?? "") !== undefined ||
    (!isNamed(entry) &&
      (refName(entry) !== undefined || (isManifestType(entry.mediaType) && read(entry)?.subject !== undefined)));
  const manifests = index.manifests.filter(isHidden);
  if (manifests.length === 0) return { shown: index, hidden: undefined };
  const bytes = encodeJson({ schemaVersion: 2, mediaType: mediaTypes.index, manifests });
  const descriptor = descriptorOf(bytes, mediaTypes.index);
  const shown = {
    ...index,
    manifests: index.manifests.filter((entry) => !isHidden(entry)),
    annotations: { ...index.annotations, [annotationKeys.archiveEntries]: descriptor.digest },
  };
  return { shown, hidden: { descriptor, bytes } };
}

/** The index with the entries that {@link hideFromLoaders} took out. Fails with `INVALID` where they are not there or damaged. */
export async function withHiddenEntries(
  index: LayoutIndex,
  source: IndexedSource,
  where: string,
): Promise<LayoutIndex> {
  const { [annotationKeys.archiveEntries]: digest, ...annotations } = index.annotations ?? {};
  if (digest === undefined) return index;
  const size = isDigest(digest) ? await source.size(digest) : undefined;
  if (!isDigest(digest) || size === undefined)
    throw new OciError(
      "INVALID",
      `${where} is not complete: its index.json points at ${digest}, which it does not have`,
    );
  const bytes = await readBytes(source, { mediaType: mediaTypes.index, digest, size }, { limit: MAXIMUM_INDEX_SIZE });
  const { manifests } = checkIndex(parseJsonObject(bytes, digest), `${digest} in ${where}`);
  const { annotations: _before, ...rest } = index;
  return {
    ...rest,
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
    manifests: [...index.manifests, ...manifests],
  };
}
