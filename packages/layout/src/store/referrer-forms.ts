import { type Descriptor, descriptorOf } from "../model/descriptor.js";
import type { Digest } from "../model/digest.js";
import { encodeJson, type Manifest, referrerDescriptor } from "../model/manifest.js";
import { annotationKeys, mediaTypes } from "../model/media-types.js";
import { referrersTag } from "../model/reference.js";
import { compareText, findEntry, type LayoutIndex, refName, withEntry, withTag } from "./index-json.js";

/**
 * How referrers are kept in a layout, which no specification says. Two forms are always written:
 *
 * - *entry*: the referrer is an untagged entry of index.json, as oras keeps it;
 * - *list*: an index of the referrers, tagged as distribution-spec v1.1.1 "Referrers Tag Schema" says, as regclient keeps it;
 *
 * and a third where index.json says that olareg has taken over (`org.olareg.referrer.convert`):
 *
 * - *response*: the same list under an entry annotated with the subject.
 *
 * All forms are read. None is trusted: what counts is the `subject` of the manifest itself.
 */

/** The entry of index.json that carries the list of the subject's referrers, if there is one. */
export function findList(index: LayoutIndex, subject: Digest, where: string): Descriptor | undefined {
  const entry = findEntry(index, referrersTag(subject), where);
  // An index tagged so may still be the subject itself, or no index at all.
  return entry !== undefined && entry.mediaType === mediaTypes.index && entry.digest !== subject ? entry : undefined;
}

/** The entries that carry a response of olareg for the subject. */
export function findResponses(index: LayoutIndex, subject: Digest): readonly Descriptor[] {
  return index.manifests.filter(
    (entry) => entry.mediaType === mediaTypes.index && entry.annotations?.[annotationKeys.olaregSubject] === subject,
  );
}

/** True for an entry that only exists to carry a list of referrers. */
export function isListEntry(entry: Descriptor): boolean {
  return (
    entry.annotations?.[annotationKeys.olaregSubject] !== undefined ||
    /(?:^|:)sha(?:256|512)-[0-9a-f]{64}$/.test(refName(entry) ?? "")
  );
}

/** True if every form that this index needs names the referrer. `list` are the descriptors of the list form. */
export function isRegistered(index: LayoutIndex, list: readonly Descriptor[], referrer: Digest): boolean {
  return index.manifests.some((entry) => entry.digest === referrer) && list.some((item) => item.digest === referrer);
}

/** The bytes and the descriptor of a list: sorted by digest, each referrer once. distribution-spec v1.1.1, "Listing Referrers". */
export function encodeList(referrers: Iterable<Descriptor>): { bytes: Uint8Array; descriptor: Descriptor } {
  const byDigest = new Map([...referrers].map((referrer) => [referrer.digest, referrer]));
  const manifests = [...byDigest.values()].sort((a, b) => compareText(a.digest, b.digest));
  const bytes = encodeJson({ schemaVersion: 2, mediaType: mediaTypes.index, manifests });
  return { bytes, descriptor: descriptorOf(bytes, mediaTypes.index) };
}

/** The entry form of a referrer: what it is and its artifactType. Its annotations stay in the manifest, where every reader looks. */
export function entryForm(descriptor: Descriptor, manifest: Manifest): Descriptor {
  const { annotations: _annotations, ...entry } = referrerDescriptor(descriptor, manifest);
  return entry;
}

/** The index with the referrer in entry form and the subject's list standing where each form wants it. */
export function withReferrer(index: LayoutIndex, referrer: Descriptor, subject: Digest, list: Descriptor): LayoutIndex {
  const registered = withTag(withEntry(index, referrer), referrersTag(subject), list);
  if (index.annotations?.[annotationKeys.olaregConvert] !== "true") return registered;
  const others = registered.manifests.filter((entry) => entry.annotations?.[annotationKeys.olaregSubject] !== subject);
  const response = { ...list, annotations: { [annotationKeys.olaregSubject]: subject } };
  return { ...registered, manifests: [...others, response] };
}
