import { createHash } from "node:crypto";
import type { Descriptor } from "../model/descriptor.js";
import { type Digest, digestEncoded, isDigest } from "../model/digest.js";
import { isJsonObject, parseJson } from "../model/json.js";
import { referrersTag } from "../model/reference.js";
import { checkEntry, type LayoutIndex, refName } from "./index-json.js";
import { PLACE } from "./index-places.js";
import { firstRow } from "./rows.js";

/** Reads `length` bytes of index.json, from an offset in bytes. */
export type ReadRange = (offset: number, length: number) => Promise<Buffer>;

/** The first part of a derived index: what it comes from, and how many rows the other parts have. */
export interface Head {
  /** The SHA-256 of the index.json it was derived from, in hexadecimal. */
  readonly origin: string;
  /** The byte order of the numbers. */
  readonly endianness: "LE" | "BE";
  readonly entries: number;
  readonly postings: number;
  readonly subjects: number;
  /** True where the entries are in the order in which Stowage writes them. */
  readonly sorted: boolean;
  /** All of index.json but its entries. */
  readonly index: LayoutIndex;
}

/** What was derived from an index.json, in numbers of 32 bits. */
export interface Derived {
  readonly head: Head;
  /** The offset and the length of each entry in index.json, in bytes. */
  readonly places: Uint32Array;
  /** A key, and the number of an entry: sorted. */
  readonly postings: Uint32Array;
  /** The key of a manifest, and the key of something that it or a manifest below it refers to: sorted. */
  readonly subjects: Uint32Array;
}

/** What something is found by: the first 64 bits of its hash. Two texts with one key cost a look at an entry too many, and nothing else. */
export type Key = readonly [high: number, low: number];

/** The number of words in a posting. */
export const POSTING = 3;
/** The key of every entry that has a name. */
export const NAMED: Key = [0, 0];
/** The key of every entry that leads to a manifest which could not be read: what it refers to may show later. */
export const UNREAD: Key = [0xffffffff, 0xffffffff];
/** The key of every entry that leads to a manifest which nobody has looked at yet. */
export const UNSEEN: Key = [0xffffffff, 0xfffffffe];

/** A part of an index, with the number that each entry has in the whole. */
export interface IndexPart {
  readonly index: LayoutIndex;
  readonly numbers: ReadonlyMap<Descriptor, number>;
}

/**
 * What can be found in an index without reading all of it. It answers with a part of the index: every entry that can
 * matter to a question, and perhaps some that do not. Whoever asks applies the same rules to the part as to the whole, so
 * the answer is the same.
 */
export class DerivedIndex {
  readonly derived: Derived;
  readonly #read: ReadRange;

  constructor(derived: Derived, read: ReadRange) {
    this.derived = derived;
    this.#read = read;
  }

  /** True where every manifest has been looked at, so that referrers can be told from it. */
  get isSearched(): boolean {
    return this.#numbersOf([UNSEEN]).length === 0;
  }

  /** The entries of that name or digest, those whose annotations mention it, and those that lead to a manifest that refers to it. */
  async about(reference: string): Promise<LayoutIndex> {
    const referring = isDigest(reference) ? [referringKey(digestKey(reference)), UNREAD] : [];
    return (await this.#part([...keysAbout(reference), ...referring])).index;
  }

  /**
   * The entries that a change of these names and digests can depend on: those of the names and digests themselves, those
   * that mention one of the digests, and all others of the digests that one of the names stands for. Referrers are not among
   * them for the sake of their subject.
   */
  async touching(references: readonly string[]): Promise<IndexPart> {
    const keys = references.flatMap(keysAbout);
    const first = await this.#part(keys);
    const digests = first.index.manifests.filter((entry) => refName(entry) !== undefined).map(({ digest }) => digest);
    return digests.length === 0 ? first : this.#part([...keys, ...[...new Set(digests)].map(digestKey)]);
  }

  /** The entries that have a name. */
  async named(): Promise<LayoutIndex> {
    return (await this.#part([NAMED])).index;
  }

  /** The entries from one number up to another one. */
  async entries(from: number, to: number): Promise<Descriptor[]> {
    const found: Descriptor[] = [];
    for await (const [entry] of this.#entries(Array.from({ length: to - from }, (_, at) => from + at)))
      found.push(entry);
    return found;
  }

  async #part(keys: readonly Key[]): Promise<IndexPart> {
    const numbers = new Map<Descriptor, number>();
    for await (const [entry, number] of this.#entries(this.#numbersOf(keys))) numbers.set(entry, number);
    return { index: { ...this.derived.head.index, schemaVersion: 2, manifests: [...numbers.keys()] }, numbers };
  }

  #numbersOf(keys: readonly Key[]): number[] {
    const { postings } = this.derived;
    const numbers = new Set<number>();
    for (const key of keys) {
      for (let at = firstRow(postings, POSTING, key) * POSTING; at < postings.length; at += POSTING) {
        if (postings[at] !== key[0] || postings[at + 1] !== key[1]) break;
        numbers.add(postings[at + 2] as number);
      }
    }
    return [...numbers].sort((a, b) => a - b);
  }

  async *#entries(numbers: readonly number[]): AsyncGenerator<readonly [Descriptor, number]> {
    const { places } = this.derived;
    const offset = (number: number): number => places[number * PLACE] as number;
    const length = (number: number): number => places[number * PLACE + 1] as number;
    for (const run of runsOf(numbers, offset, length)) {
      const [first, last] = [run[0] as number, run.at(-1) as number];
      const start = offset(first);
      const bytes = await this.#read(start, offset(last) + length(last) - start);
      for (const number of run) {
        const from = offset(number) - start;
        // The bytes were checked as a whole when something was derived from them.
        const value: unknown = JSON.parse(bytes.toString("utf8", from, from + length(number)));
        yield [checkEntry(value, "index.json", number), number];
      }
    }
  }
}

/** Entries that stand close together are read at once, up to this many bytes. */
const RUN = 256 * 1024;
const GAP = 4096;

function* runsOf(
  numbers: readonly number[],
  offset: (number: number) => number,
  length: (number: number) => number,
): Generator<readonly number[]> {
  let run: number[] = [];
  for (const number of numbers) {
    const [first, last] = [run[0], run.at(-1)];
    if (first !== undefined && last !== undefined) {
      const end = offset(number) + length(number);
      if (offset(number) - offset(last) - length(last) > GAP || end - offset(first) > RUN) {
        yield run;
        run = [];
      }
    }
    run.push(number);
  }
  if (run.length > 0) yield run;
}

/** Reads a {@link Head}, or returns undefined where it is none. */
export function parseHead(bytes: Uint8Array): Head | undefined {
  const value = parseJson(bytes, "the head of a derived index");
  if (!isJsonObject(value) || typeof value.origin !== "string" || !isJsonObject(value.index)) return undefined;
  const counts = [value.entries, value.postings, value.subjects];
  return counts.every((count) => Number.isSafeInteger(count) && (count as number) >= 0)
    ? (value as unknown as Head)
    : undefined;
}

function keysAbout(reference: string): Key[] {
  if (!isDigest(reference)) return [nameKey(reference)];
  return [nameKey(reference), digestKey(reference), nameKey(referrersTag(reference))];
}

/** The key of a name. */
export function nameKey(name: string): Key {
  const hash = createHash("sha256").update(name).digest();
  return [hash.readUInt32BE(0), hash.readUInt32BE(4)];
}

/** The key of a digest, whichever way its encoded part is mentioned: as a digest, in a tag, alone. */
export function digestKey(digest: Digest): Key {
  const encoded = digestEncoded(digest);
  return /^[0-9a-f]{64,}$/.test(encoded) ? hexKey(encoded) : nameKey(digest);
}

/** The key of the entries that lead to a manifest which refers to what has this key: there may be very many, and a change of the index does not depend on them. */
export function referringKey([high, low]: Key): Key {
  return [high, ~low >>> 0];
}

/** The keys of the digests that a text mentions. */
export function mentionedKeys(text: string): Key[] {
  const keys = text.length < 64 ? [] : (text.match(/[0-9a-f]{64,}/g) ?? []).map(hexKey);
  return keys.length === 0 && isDigest(text) ? [nameKey(text)] : keys;
}

function hexKey(hex: string): Key {
  return [Number.parseInt(hex.slice(0, 8), 16), Number.parseInt(hex.slice(8, 16), 16)];
}
