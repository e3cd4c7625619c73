import type { Descriptor } from "../model/descriptor.js";
import { type Digest, digestEncoded, isVerifiable } from "../model/digest.js";
import type { Manifest } from "../model/manifest.js";
import { isManifestType } from "../model/media-types.js";
import { digestKey, type Head, KEY, mentionedKeys, NAMED, nameKey, POSTING, UNREAD } from "./derived-index.js";
import { type LayoutIndex, refName } from "./index-json.js";
import { isListEntry } from "./referrer-forms.js";

/** Reads a manifest; undefined where it is absent or damaged. */
export type ReadManifestOf = (descriptor: Descriptor) => Promise<Manifest | undefined>;

/** What is known of a manifest from its bytes alone: the keys of what it and the manifests below it refer to. */
export type KnownSubjects = ReadonlyMap<string, readonly Buffer[]>;

/** The parts of a derived index as bytes. */
export interface Derived {
  readonly head: Head;
  readonly postings: Buffer;
  readonly subjects: Buffer;
  readonly entries: Buffer;
}

/** The length of the key that tells one manifest from another, in bytes; what is remembered of a manifest hangs on it. */
const MANIFEST_KEY = 16;
/** A row of what is known: the key of a manifest, and a key of what it refers to, or zeros. */
export const SUBJECT = MANIFEST_KEY + KEY;
/** Nobody names a thing with more colons, or mentions more digests at one entry; an index where somebody does is read whole. */
const MAXIMUM_KEYS = 64;
/** The most postings: a number of 32 bits and one of these fit into what a number holds exactly. */
const PLACES = 2 ** 21;
/** The largest head, in bytes. */
export const MAXIMUM_HEAD = 64 * 1024;
/** How many manifests are read at once. */
const CONCURRENCY = 16;

/**
 * Derives what can be found in `index`, whose bytes have the SHA-256 `origin`. Only manifests that `known` does not know
 * are read. Returns undefined for an index that is too odd to be worth it.
 */
export async function derive(
  index: LayoutIndex,
  origin: string,
  known: KnownSubjects,
  read: ReadManifestOf,
): Promise<Derived | undefined> {
  const found = await subjectsOf(index.manifests, known, read);
  const entries = new GrowingBuffer();
  const postings = new GrowingBuffer();
  for (const entry of index.manifests) {
    const keys = keysOf(entry);
    if (keys === undefined) return undefined;
    if (isSearched(entry)) keys.push(...(found.get(manifestKey(entry.digest)) ?? [UNREAD]));
    const offset = entries.length;
    const length = entries.text(JSON.stringify(entry));
    entries.text(",");
    for (const key of distinct(keys)) {
      postings.bytes(key);
      postings.number(offset);
      postings.number(length);
    }
  }
  const subjects = new GrowingBuffer();
  for (const [key, refersTo] of found) {
    for (const one of refersTo.length === 0 ? [NAMED] : refersTo) {
      subjects.bytes(Buffer.from(key, "latin1"));
      subjects.bytes(one);
    }
  }
  const head: Head = {
    origin,
    postings: postings.length,
    subjects: subjects.length,
    entries: entries.length,
    index: { ...index, manifests: [] },
  };
  // A head too large or too many postings: index.json is read whole.
  if (JSON.stringify(head).length > MAXIMUM_HEAD / 4 || postings.length / POSTING > PLACES) return undefined;
  return { head, postings: sorted(postings.take()), subjects: subjects.take(), entries: entries.take() };
}

/** Reads back what an earlier derivation knew of manifests. Content never changes under its digest, so it holds for ever. */
export function parseSubjects(bytes: Buffer): KnownSubjects {
  const known = new Map<string, Buffer[]>();
  for (let at = 0; at + SUBJECT <= bytes.length; at += SUBJECT) {
    const manifest = bytes.toString("latin1", at, at + MANIFEST_KEY);
    const key = bytes.subarray(at + MANIFEST_KEY, at + SUBJECT);
    const keys = known.get(manifest) ?? [];
    if (!key.equals(NAMED)) keys.push(key);
    known.set(manifest, keys);
  }
  return known;
}

function manifestKey(digest: Digest): string {
  return Buffer.from(digestEncoded(digest).slice(0, 2 * MANIFEST_KEY), "hex").toString("latin1");
}

/** What can be told from the entry alone; undefined where it is too much. */
function keysOf(entry: Descriptor): Buffer[] | undefined {
  const keys = [digestKey(entry.digest)];
  for (const text of Object.values(entry.annotations ?? {})) keys.push(...mentionedKeys(text));
  const name = refName(entry);
  if (name !== undefined) {
    keys.push(NAMED, nameKey(name));
    // A reference may be what stands behind any colon of a name.
    for (let at = name.indexOf(":"); at >= 0 && keys.length <= MAXIMUM_KEYS; at = name.indexOf(":", at + 1))
      keys.push(nameKey(name.slice(at + 1)));
  }
  return keys.length > MAXIMUM_KEYS ? undefined : keys;
}

/** For each entry that can be read to its last manifest: the keys of what is referred to there. */
async function subjectsOf(
  entries: readonly Descriptor[],
  known: KnownSubjects,
  read: ReadManifestOf,
): Promise<Map<string, readonly Buffer[]>> {
  const found = new Map<string, readonly Buffer[]>();
  const unknown = new Map<string, Descriptor>();
  for (const entry of entries) {
    if (!isSearched(entry)) continue;
    const key = manifestKey(entry.digest);
    const keys = known.get(key);
    if (keys !== undefined) found.set(key, keys);
    else unknown.set(key, entry);
  }
  const pending = [...unknown].values();
  const worker = async (): Promise<void> => {
    for (const [key, entry] of pending) {
      // A store that answers at once would keep everything else waiting.
      await new Promise((resolve) => setImmediate(resolve));
      const keys = await refersTo(entry, read);
      if (keys !== undefined) found.set(key, keys);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  return found;
}

/** The most manifests below one entry that are looked at for it. An entry with more of them is looked at in every search. */
const MAXIMUM_BELOW = 1_000;

/** The keys of what a manifest and those below it refer to; undefined where one of them cannot be read. */
async function refersTo(root: Descriptor, read: ReadManifestOf): Promise<Buffer[] | undefined> {
  const keys: Buffer[] = [];
  const seen = new Set<string>();
  const pending = [root];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    if (seen.has(next.digest)) continue;
    seen.add(next.digest);
    const manifest = seen.size > MAXIMUM_BELOW ? undefined : await read(next);
    if (manifest === undefined) return undefined;
    if (manifest.subject !== undefined) keys.push(digestKey(manifest.subject.digest));
    if (manifest.kind !== "index") continue;
    for (const child of manifest.manifests) {
      for (const text of Object.values(child.annotations ?? {})) keys.push(...mentionedKeys(text));
      if (isReadable(child)) pending.push(child);
    }
  }
  return distinct(keys);
}

/** True for an entry below which referrers of any subject are looked for. */
function isSearched(entry: Descriptor): boolean {
  return isReadable(entry) && !isListEntry(entry);
}

function isReadable(descriptor: Descriptor): boolean {
  return isManifestType(descriptor.mediaType) && isVerifiable(descriptor.digest);
}

function distinct(keys: readonly Buffer[]): Buffer[] {
  if (keys.length < 2) return [...keys];
  return [...new Map(keys.map((key) => [key.toString("latin1"), key])).values()];
}

/** The postings by key, then by offset, as they have to stand. */
function sorted(postings: Buffer): Buffer {
  const count = postings.length / POSTING;
  // The first half of a key and the number of the posting, which stands for its offset, as one number: sorting numbers
  // takes a tenth of the time that sorting by a function takes.
  const order = new Float64Array(count);
  for (let at = 0; at < count; at++) order[at] = postings.readUInt32BE(at * POSTING) * PLACES + at;
  order.sort();
  const result = Buffer.allocUnsafeSlow(postings.length);
  const place = (at: number): number => (order[at] as number) % PLACES;
  const second = (from: number): number => postings.readUInt32BE(from * POSTING + 4);
  for (let start = 0, end = 0; start < count; start = end) {
    const half = Math.floor((order[start] as number) / PLACES);
    let same = true;
    for (end = start; end < count && Math.floor((order[end] as number) / PLACES) === half; end++)
      same &&= second(place(end)) === second(place(start));
    const places = Array.from({ length: end - start }, (_, at) => place(start + at));
    if (!same) places.sort((a, b) => second(a) - second(b) || a - b);
    for (const [at, from] of places.entries())
      postings.copy(result, (start + at) * POSTING, from * POSTING, (from + 1) * POSTING);
  }
  return result;
}

/** Bytes that are put one behind the other. */
class GrowingBuffer {
  #buffer = Buffer.allocUnsafeSlow(64 * 1024);
  length = 0;

  /** Puts a text and returns its length in bytes. */
  text(text: string): number {
    this.#reserve(text.length * 3);
    const length = this.#buffer.write(text, this.length);
    this.length += length;
    return length;
  }

  bytes(bytes: Buffer): void {
    this.#reserve(bytes.length);
    this.length += bytes.copy(this.#buffer, this.length);
  }

  number(value: number): void {
    this.#reserve(4);
    this.length = this.#buffer.writeUInt32BE(value, this.length);
  }

  take(): Buffer {
    return this.#buffer.subarray(0, this.length);
  }

  #reserve(count: number): void {
    if (this.length + count <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(this.#buffer.length * 2, this.length + count));
    this.#buffer.copy(larger, 0, 0, this.length);
    this.#buffer = larger;
  }
}
