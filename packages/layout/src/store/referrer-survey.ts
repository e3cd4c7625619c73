import type { Abortable, Source } from "../content.js";
import type { Descriptor } from "../model/descriptor.js";
import { type Digest, isDigest } from "../model/digest.js";
import { type Manifest, referrerDescriptor } from "../model/manifest.js";
import { isManifestType, mediaTypes } from "../model/media-types.js";
import { isReferrersTag, referrersTag } from "../model/reference.js";
import { walk } from "../walk.js";
import { responseKeys } from "./conventions.js";
import { type LayoutIndex, refName } from "./index-json.js";
import { entryForm, isListEntry } from "./referrer-forms.js";

/** A referrer that was read, in the two forms in which it is written down. */
export interface SurveyedReferrer {
  /** As an entry of index.json. */
  readonly entry: Descriptor;
  /** As an item of a list. */
  readonly listed: Descriptor;
}

/** An item of a list, and the list it stands in. */
export interface ListedItem {
  readonly list: Digest;
  readonly descriptor: Descriptor;
}

/** The referrers that share a tag for their list: those of one subject, or of sha512 digests that the tag does not tell apart. */
export interface ReferrerGroup {
  readonly tag: string;
  readonly bySubject: ReadonlyMap<Digest, ReadonlyMap<Digest, SurveyedReferrer>>;
  /** Items of lists that could not be read, so that nobody can say whether they are referrers. */
  readonly unread: ReadonlyMap<Digest, Descriptor>;
}

/** Where an entry of index.json keeps a list of referrers: under a tag, or under a key for one subject. */
export type ListPlace =
  | { readonly form: "list"; readonly tag: string }
  | { readonly form: "response"; readonly tag: string; readonly key: string; readonly subject: Digest };

/** What there is of referrers in a layout. */
export interface ReferrerSurvey {
  /** By tag. */
  readonly groups: ReadonlyMap<string, ReferrerGroup>;
  /** Every manifest with a subject that was read. */
  readonly referrers: ReadonlySet<Digest>;
  /** The entries that keep a list, with their place, and whether the list could be read. */
  readonly lists: ReadonlyMap<Descriptor, ListPlace & { readonly readable: boolean }>;
  /** Items of lists that were read and have another subject, or none. */
  readonly stale: readonly ListedItem[];
  /** Items of lists that could not be read. */
  readonly unread: readonly ListedItem[];
}

interface OpenGroup extends ReferrerGroup {
  readonly bySubject: Map<Digest, Map<Digest, SurveyedReferrer>>;
  readonly unread: Map<Digest, Descriptor>;
}

/** Reads every manifest that can be reached from the index, and sorts out who refers to whom, and which list says so. */
export async function surveyReferrers(source: Source, index: LayoutIndex, options: Abortable): Promise<ReferrerSurvey> {
  const manifests = await readManifests(source, index, options);
  const groups = new Map<string, OpenGroup>();
  const groupOf = (tag: string): OpenGroup => {
    const group = groups.get(tag) ?? { tag, bySubject: new Map(), unread: new Map() };
    groups.set(tag, group);
    return group;
  };
  const referrers = new Set<Digest>();
  for (const { descriptor, manifest } of manifests.values()) {
    if (manifest.subject === undefined) continue;
    referrers.add(descriptor.digest);
    const { bySubject } = groupOf(referrersTag(manifest.subject.digest));
    const those = bySubject.get(manifest.subject.digest) ?? new Map<Digest, SurveyedReferrer>();
    bySubject.set(manifest.subject.digest, those);
    those.set(descriptor.digest, {
      entry: entryForm(descriptor, manifest),
      listed: referrerDescriptor(descriptor, manifest),
    });
  }
  const lists = new Map<Descriptor, ListPlace & { readable: boolean }>();
  const stale: ListedItem[] = [];
  const unread: ListedItem[] = [];
  for (const entry of index.manifests) {
    const place = placeOf(entry);
    const list = manifests.get(entry.digest)?.manifest;
    if (place === undefined || (list !== undefined && (list.kind !== "index" || list.subject !== undefined))) continue;
    lists.set(entry, { ...place, readable: list !== undefined });
    const group = groupOf(place.tag);
    for (const descriptor of list?.kind === "index" ? list.manifests : []) {
      const item = { list: entry.digest, descriptor };
      if (!manifests.has(descriptor.digest)) {
        unread.push(item);
        group.unread.set(descriptor.digest, descriptor);
        const subject = subjectOf(place);
        if (subject !== undefined && !group.bySubject.has(subject)) group.bySubject.set(subject, new Map());
      } else if (!isIn(group, place, descriptor.digest)) stale.push(item);
    }
  }
  return { groups, referrers, lists, stale, unread };
}

interface Read {
  readonly descriptor: Descriptor;
  readonly manifest: Manifest;
}

async function readManifests(
  source: Source,
  index: LayoutIndex,
  options: Abortable,
): Promise<ReadonlyMap<Digest, Read>> {
  const read = new Map<Digest, Read>();
  // What a list says of a referrer's size may be wrong, so the entries themselves are read first.
  const roots = [
    ...index.manifests.filter((entry) => !isListEntry(entry)),
    ...index.manifests.filter((entry) => isListEntry(entry)),
  ].filter((entry) => isManifestType(entry.mediaType));
  for await (const { descriptor, manifest } of walk(source, roots, { signal: options.signal, referrers: false })) {
    if (manifest !== undefined) read.set(descriptor.digest, { descriptor, manifest });
  }
  return read;
}

/** The place of the list that an entry keeps, undefined for an entry that keeps none. */
function placeOf(entry: Descriptor): ListPlace | undefined {
  if (entry.mediaType !== mediaTypes.index) return undefined;
  const name = refName(entry);
  const tag = name?.slice(name.lastIndexOf(":") + 1);
  if (tag !== undefined && isListTag(tag))
    // A registry may have tagged the subject itself so.
    return referrersTag(entry.digest) === tag ? undefined : { form: "list", tag };
  for (const { subject: key } of responseKeys) {
    const subject = entry.annotations?.[key] as Digest | undefined;
    if (
      subject !== undefined &&
      name === undefined &&
      subject !== entry.digest &&
      isReferrersTag(referrersTag(subject))
    )
      return { form: "response", tag: referrersTag(subject), key, subject };
  }
  return undefined;
}

/** A list under the whole of a sha512 digest is read as any other index, and not kept: only oras writes such a tag. */
function isListTag(tag: string): boolean {
  return isReferrersTag(tag) && tag.length <= "sha512-".length + 64;
}

/** Whose list it is, where that can be told: the tag of a sha512 digest is too short for it. */
function subjectOf(place: ListPlace): Digest | undefined {
  if (place.form === "response") return place.subject;
  const digest = place.tag.replace(/^sha256-/, "sha256:");
  return isDigest(digest) ? digest : undefined;
}

function isIn(group: ReferrerGroup, place: ListPlace, digest: Digest): boolean {
  if (place.form === "response") return group.bySubject.get(place.subject)?.has(digest) === true;
  return [...group.bySubject.values()].some((those) => those.has(digest));
}
