import { type Descriptor, descriptorOf } from "../model/descriptor.js";
import type { Digest } from "../model/digest.js";
import { encodeJson, type Manifest, referrerDescriptor } from "../model/manifest.js";
import { annotationKeys, mediaTypes } from "../model/media-types.js";
import { referrersTag } from "../model/reference.js";
import { isResponseFor, responseKeys } from "./conventions.js";
import { compareText, insert, type LayoutIndex, refName, withEntry, withTag } from "./index-json.js";

/**
 * How referrers are kept in a layout, which no specification says. Two forms are always written:
 *
 * - *entry*: the referrer is an untagged entry of index.json, as oras keeps it;
 * - *list*: an index of the referrers, tagged as distribution-spec v1.1.1 "Referrers Tag Schema" says, as regclient keeps it;
 *
 * and a third where index.json says that olareg has taken over (`org.olareg.referrer.convert`):
 *
 * - *response*: the same list under an entry annotated with the subject. The keys of image-spec pull request 1171, which
 *   olareg's are made after, are treated alike.
 *
 * All forms are read. None is trusted: what counts is the `subject` of the manifest itself.
 */

/**
 * The entries of index.json that carry a list of the subject's referrers, in list or response form. There may be several:
 * where a layout holds several repositories, the tag of the list stands behind the name of each.
 */
export function findLists(index: LayoutIndex, subject: Digest): readonly Descriptor[] {
  const tag = referrersTag(subject);
  return index.manifests.filter((entry) => {
    // An index tagged so may still be the subject itself, or no index at all.
    if (entry.mediaType !== mediaTypes.index || entry.digest === subject) return false;
    const name = refName(entry);
    return name === tag || name?.endsWith(`:${tag}`) || isResponseFor(entry, subject);
  });
}

/** The lists that have to name every referrer of the subject, undefined for one that is not there. */
export function requiredLists(index: LayoutIndex, subject: Digest): readonly (Descriptor | undefined)[] {
  const lists = findLists(index, subject);
  return [
    lists.find((entry) => refName(entry) === referrersTag(subject)),
    ...wantedResponses(index).map((key) => lists.find((entry) => entry.annotations?.[key] === subject)),
  ];
}

/** The keys under which this index wants a response for each subject. */
export function wantedResponses(index: LayoutIndex): readonly string[] {
  return responseKeys.filter(({ convert }) => index.annotations?.[convert] === "true").map(({ subject }) => subject);
}

/** True for an entry that only exists to carry a list of referrers. */
export function isListEntry(entry: Descriptor): boolean {
  if (entry.mediaType !== mediaTypes.index) return false;
  return (
    entry.annotations?.[annotationKeys.olaregSubject] !== undefined ||
    /(?:^|:)sha(?:256|512)-[0-9a-f]{64}$/.test(refName(entry) ?? "")
  );
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
  return wantedResponses(index).reduce((changed, key) => withResponse(changed, key, subject, list), registered);
}

/** The index with one response for the subject under the key: the given list. */
export function withResponse(index: LayoutIndex, key: string, subject: Digest, list: Descriptor): LayoutIndex {
  const isOther = (entry: Descriptor): boolean =>
    entry.annotations?.[key] !== subject || entry.mediaType !== mediaTypes.index;
  const response = { ...list, annotations: { [key]: subject } };
  return insert({ ...index, manifests: index.manifests.filter(isOther) }, response);
}
