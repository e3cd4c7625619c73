import { endianness } from "node:os";
import type { Descriptor } from "../model/descriptor.js";
import { type Digest, digestEncoded, isVerifiable } from "../model/digest.js";
import type { Manifest } from "../model/manifest.js";
import { isManifestType } from "../model/media-types.js";
import { Traversal } from "../traversal.js";
import {
  type Derived,
  digestKey,
  type Head,
  type Key,
  mentionedKeys,
  NAMED,
  nameKey,
  POSTING,
  referringKey,
  UNREAD,
  UNSEEN,
} from "./derived-index.js";
import { compareEntries, type LayoutIndex, refName } from "./index-json.js";
import { entryPlaces } from "./index-places.js";
import { isListEntry } from "./referrer-forms.js";
import { firstRow, GrowingWords, MAXIMUM_ROWS, sortedRows } from "./rows.js";

/** Reads a manifest; undefined where it is absent or damaged. */
export type ReadManifestOf = (descriptor: Descriptor) => Promise<Manifest | undefined>;

/** What index.json holds, and its bytes. */
export interface IndexBytes {
  readonly bytes: Uint8Array;
  readonly index: LayoutIndex;
}

/** The number of words in the key that tells one manifest from another. What is remembered of a manifest hangs on it. */
const MANIFEST_KEY = 4;
/** The number of words in a row of what is known: the key of a manifest, and a key of what it refers to, or zeros. */
export const SUBJECT = MANIFEST_KEY + 2;
/** Nobody names a thing with more colons, or mentions more digests at one entry; an index where somebody does is read whole. */
const MAXIMUM_KEYS = 64;
/** The largest head, in bytes. */
export const MAXIMUM_HEAD = 64 * 1024;
/** How many manifests are read at once. */
const CONCURRENCY = 16;

/** The options of {@link derive}. */
export interface DeriveOptions {
  /** The SHA-256 of the bytes of index.json, in hexadecimal. */
  readonly origin: string;
  /** The subjects of an earlier derivation. Content never changes under its digest, so they hold for ever. Default: none. */
  readonly known?: Uint32Array | undefined;
  /** Where more manifests than these have to be read, none is. Default: all are read. */
  readonly maximumReads?: number | undefined;
}

/**
 * Derives what can be found in an index. Only manifests that are not known yet are read. Returns undefined for an index
 * that is too odd to be worth it.
 */
export async function derive(
  { bytes, index }: IndexBytes,
  options: DeriveOptions,
  read: ReadManifestOf,
): Promise<Derived | undefined> {
  const places = entryPlaces(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), index.manifests.length);
  if (places === undefined) return undefined;
  const found = await subjectsOf(index.manifests, options, read);
  const postings = new GrowingWords();
  for (const [number, entry] of index.manifests.entries()) {
    const keys = keysOf(entry, found.get(entry.digest));
    if (keys === undefined) return undefined;
    for (const key of keys) postings.put(...key, number);
  }
  const subjects = new GrowingWords();
  for (const [digest, keys] of found) for (const row of subjectRows(digest, keys)) subjects.put(...row);
  const head: Head = {
    origin: options.origin,
    endianness: endianness(),
    entries: index.manifests.length,
    postings: postings.length / POSTING,
    subjects: subjects.length / SUBJECT,
    sorted: index.manifests.every(
      (entry, at, all) => at === 0 || compareEntries(all[at - 1] as Descriptor, entry) <= 0,
    ),
    index: { ...index, manifests: [] },
  };
  if (!isWorthwhile(head)) return undefined;
  return {
    head,
    places,
    postings: sortedRows(postings.take(), POSTING),
    subjects: sortedRows(subjects.take(), SUBJECT),
  };
}

/** False for a head that is too large, and for too many rows: then index.json is read whole. */
export function isWorthwhile(head: Head): boolean {
  return JSON.stringify(head).length <= MAXIMUM_HEAD / 4 && Math.max(head.postings, head.subjects) < MAXIMUM_ROWS;
}

/** The rows that remember what the manifest of that digest refers to; none where it was not read. */
export function subjectRows(digest: Digest, keys: readonly Key[]): number[][] {
  if (keys.some(isState)) return [];
  return (keys.length === 0 ? [NAMED] : keys).map((key) => [...manifestKey(digest), ...key]);
}

/** What is remembered of a manifest, undefined where nothing is. */
export function knownSubjects(subjects: Uint32Array, digest: Digest): Key[] | undefined {
  const wanted = manifestKey(digest);
  const keys: Key[] = [];
  let at = firstRow(subjects, SUBJECT, wanted) * SUBJECT;
  const start = at;
  for (; at < subjects.length && wanted.every((word, one) => subjects[at + one] === word); at += SUBJECT) {
    const key: Key = [subjects[at + MANIFEST_KEY] as number, subjects[at + MANIFEST_KEY + 1] as number];
    if (key[0] !== 0 || key[1] !== 0) keys.push(key);
  }
  return at === start ? undefined : keys;
}

function manifestKey(digest: Digest): number[] {
  const encoded = digestEncoded(digest);
  return Array.from({ length: MANIFEST_KEY }, (_, at) => Number.parseInt(encoded.slice(at * 8, at * 8 + 8), 16));
}

/** All that an entry is found by: what it says itself, and what the manifests that it leads to refer to. Undefined where that is too much. */
export function keysOf(entry: Descriptor, refersTo: readonly Key[] = []): Key[] | undefined {
  const keys = [digestKey(entry.digest)];
  for (const text of Object.values(entry.annotations ?? {})) keys.push(...mentionedKeys(text));
  const name = refName(entry);
  if (name !== undefined) {
    keys.push(NAMED, nameKey(name));
    // A reference may be what stands behind any colon of a name.
    for (let at = name.indexOf(":"); at >= 0 && keys.length <= MAXIMUM_KEYS; at = name.indexOf(":", at + 1))
      keys.push(nameKey(name.slice(at + 1)));
  }
  const referring = refersTo.map((key) => (isState(key) ? key : referringKey(key)));
  return keys.length > MAXIMUM_KEYS ? undefined : distinct([...keys, ...referring]);
}

/** True for what stands in the place of a key where it is not known. */
function isState([high, low]: Key): boolean {
  return [UNREAD, UNSEEN].some((state) => state[0] === high && state[1] === low);
}

/** For each entry that leads to manifests: the keys of what is referred to there. */
async function subjectsOf(
  entries: readonly Descriptor[],
  { known, maximumReads }: DeriveOptions,
  read: ReadManifestOf,
): Promise<Map<Digest, readonly Key[]>> {
  const found = new Map<Digest, readonly Key[]>();
  const unknown = new Map<Digest, Descriptor>();
  for (const entry of entries) {
    if (!isSearched(entry)) continue;
    const keys = known === undefined ? undefined : knownSubjects(known, entry.digest);
    if (keys !== undefined) found.set(entry.digest, keys);
    else unknown.set(entry.digest, entry);
  }
  if (unknown.size > (maximumReads ?? Number.POSITIVE_INFINITY)) {
    for (const digest of unknown.keys()) found.set(digest, [UNSEEN]);
    return found;
  }
  const pending = unknown.values();
  const worker = async (): Promise<void> => {
    for (const entry of pending) {
      // A store that answers at once would keep everything else waiting.
      await new Promise((resolve) => setImmediate(resolve));
      found.set(entry.digest, await refersTo(entry, read));
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  return found;
}

/** The most manifests below one entry that are looked at for it. An entry with more of them is looked at in every search. */
const MAXIMUM_BELOW = 1_000;

/** The keys of what a manifest and those below it refer to; {@link UNREAD} where one of them cannot be read. */
export async function refersTo(root: Descriptor, read: ReadManifestOf): Promise<readonly Key[]> {
  const keys: Key[] = [];
  const traversal = new Traversal([root], ({ digest }) => digest);
  let count = 0;
  for (let next = traversal.next(); next !== undefined; next = traversal.next()) {
    const manifest = ++count > MAXIMUM_BELOW ? undefined : await read(next);
    if (manifest === undefined) return [UNREAD];
    if (manifest.subject !== undefined) keys.push(digestKey(manifest.subject.digest));
    if (manifest.kind !== "index") continue;
    for (const child of manifest.manifests)
      for (const text of Object.values(child.annotations ?? {})) keys.push(...mentionedKeys(text));
    traversal.add(manifest.manifests.filter(isReadable));
  }
  return distinct(keys);
}

/** True for an entry below which referrers of any subject are looked for. */
export function isSearched(entry: Descriptor): boolean {
  return isReadable(entry) && !isListEntry(entry);
}

function isReadable(descriptor: Descriptor): boolean {
  return isManifestType(descriptor.mediaType) && isVerifiable(descriptor.digest);
}

function distinct(keys: readonly Key[]): Key[] {
  if (keys.length < 20)
    return keys.filter(([high, low], at) => keys.findIndex((key) => key[0] === high && key[1] === low) === at);
  return [...new Map(keys.map((key) => [key.join(), key])).values()];
}
