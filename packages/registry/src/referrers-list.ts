import { type Descriptor, isJsonObject, mediaTypes, OciError, parseDescriptor, parseJsonObject } from "@stowage/layout";

/** The longest list that is believed. */
export const MAXIMUM_ENTRIES = 10_000;

/**
 * The entries of a list of referrers, from a registry or from a referrers tag, as they stand there. An entry without a
 * mediaType, which some clients write, counts as an image manifest until it is read. Fails with `INVALID` and with `LIMIT`.
 */
export function parseReferrersList(bytes: Uint8Array, where: string): readonly Descriptor[] {
  const { manifests } = parseJsonObject(bytes, where);
  if (manifests === undefined || manifests === null) return [];
  if (!Array.isArray(manifests)) throw new OciError("INVALID", `${where} has manifests that are not an array`);
  if (manifests.length > MAXIMUM_ENTRIES)
    throw new OciError("LIMIT", `${where} has more than ${MAXIMUM_ENTRIES} entries`);
  return manifests.map((entry, index) => {
    const untyped = isJsonObject(entry) && (entry.mediaType === undefined || entry.mediaType === "");
    return parseDescriptor(
      untyped ? { ...entry, mediaType: mediaTypes.manifest } : entry,
      `manifests[${index}] of ${where}`,
    );
  });
}
