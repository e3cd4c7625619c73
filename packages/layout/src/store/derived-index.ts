import { createHash } from "node:crypto";
import { type Descriptor, parseDescriptor } from "../model/descriptor.js";
import { type Digest, digestEncoded, isDigest } from "../model/digest.js";
import { isJsonObject, parseJson } from "../model/json.js";
import { referrersTag } from "../model/reference.js";
import type { LayoutIndex } from "./index-json.js";

/** Reads `length` bytes of the entries, from an offset in bytes. */
export type ReadRange = (offset: number, length: number) => Promise<Buffer>;

/** The first part of a derived index: what it comes from, and how long the other parts are, in bytes. */
export interface Head {
  /** The SHA-256 of the index.json it was derived from, in hexadecimal. */
  readonly origin: string;
  readonly postings: number;
  readonly subjects: number;
  readonly entries: number;
  /** All of index.json but its entries. */
  readonly index: LayoutIndex;
}

/** The length of a key, in bytes. Two texts with one key cost a look at an entry too many, and nothing else. */
export const KEY = 8;
/** A posting: a key, and the offset and the length of an entry. */
export const POSTING = KEY + 8;
/** The key of every entry that has a name. */
export const NAMED: Buffer = Buffer.alloc(KEY);
/** The key of every entry that leads to a manifest which could not be read: what it refers to may show later. */
export const UNREAD: Buffer = Buffer.alloc(KEY, 0xff);

/**
 * What can be found in an index without reading all of it. It answers with a part of the index: every entry that can
 * matter to a question, and perhaps some that do not. Whoever asks applies the same rules to the part as to the whole, so
 * the answer is the same.
 */
export class DerivedIndex {
  readonly #head: Head;
  readonly #postings: Buffer;
  readonly #read: ReadRange;

  constructor(head: Head, postings: Buffer, read: ReadRange) {
    this.#head = head;
    this.#postings = postings;
    this.#read = read;
  }

  /** The SHA-256 of the index.json it was derived from, in hexadecimal. */
  get origin(): string {
    return this.#head.origin;
  }

  /** The entries of that name or digest, those whose annotations mention it, and those that lead to a manifest that refers to it. */
  about(reference: string): Promise<LayoutIndex> {
    if (!isDigest(reference)) return this.#part([nameKey(reference)]);
    return this.#part([nameKey(reference), digestKey(reference), nameKey(referrersTag(reference)), UNREAD]);
  }

  /** The entries that have a name. */
  named(): Promise<LayoutIndex> {
    return this.#part([NAMED]);
  }

  async #part(keys: readonly Buffer[]): Promise<LayoutIndex> {
    const lengths = new Map<number, number>();
    for (const key of keys) {
      for (let at = this.#first(key); at < this.#postings.length; at += POSTING) {
        if (this.#postings.compare(key, 0, KEY, at, at + KEY) !== 0) break;
        lengths.set(this.#postings.readUInt32BE(at + KEY), this.#postings.readUInt32BE(at + KEY + 4));
      }
    }
    const manifests: Descriptor[] = [];
    for (const run of runsOf([...lengths].sort(([a], [b]) => a - b))) {
      const [start, end] = [run[0]?.[0] ?? 0, run.at(-1)?.[0] ?? 0];
      const bytes = await this.#read(start, end - start + (run.at(-1)?.[1] ?? 0));
      for (const [offset, length] of run) {
        const entry = bytes.subarray(offset - start, offset - start + length);
        manifests.push(parseDescriptor(parseJson(entry, "a derived entry"), "a derived entry"));
      }
    }
    return { ...this.#head.index, schemaVersion: 2, manifests };
  }

  /** The place of the first posting whose key is not smaller. */
  #first(key: Buffer): number {
    let [low, high] = [0, this.#postings.length / POSTING];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#postings.compare(key, 0, KEY, middle * POSTING, middle * POSTING + KEY) < 0) low = middle + 1;
      else high = middle;
    }
    return low * POSTING;
  }
}

/** Entries that stand close together are read at once, up to this many bytes. */
const RUN = 256 * 1024;
const GAP = 4096;

function* runsOf(ranges: readonly (readonly [number, number])[]): Generator<(readonly [number, number])[]> {
  let run: (readonly [number, number])[] = [];
  for (const range of ranges) {
    const [first, last] = [run[0], run.at(-1)];
    if (first !== undefined && last !== undefined) {
      if (range[0] - (last[0] + last[1]) > GAP || range[0] + range[1] - first[0] > RUN) {
        yield run;
        run = [];
      }
    }
    run.push(range);
  }
  if (run.length > 0) yield run;
}

/** Reads a {@link Head}, or returns undefined where it is none. */
export function parseHead(bytes: Uint8Array): Head | undefined {
  const value = parseJson(bytes, "the head of a derived index");
  if (!isJsonObject(value) || typeof value.origin !== "string" || !isJsonObject(value.index)) return undefined;
  const lengths = [value.postings, value.subjects, value.entries];
  if (!lengths.every((length) => Number.isSafeInteger(length) && (length as number) >= 0)) return undefined;
  return (value.postings as number) % POSTING === 0 ? (value as unknown as Head) : undefined;
}

/** The key of a name. */
export function nameKey(name: string): Buffer {
  return createHash("sha256").update(name).digest().subarray(0, KEY);
}

/** The key of a digest, whichever way its encoded part is mentioned: as a digest, in a tag, alone. */
export function digestKey(digest: Digest): Buffer {
  return hexKey(digestEncoded(digest)) ?? nameKey(digest);
}

/** The keys of the digests that a text mentions. */
export function mentionedKeys(text: string): Buffer[] {
  const keys = (text.match(/[0-9a-f]{64,}/g) ?? []).map((hex) => Buffer.from(hex.slice(0, 2 * KEY), "hex"));
  return keys.length === 0 && isDigest(text) ? [nameKey(text)] : keys;
}

function hexKey(encoded: string): Buffer | undefined {
  return /^[0-9a-f]{64,}$/.test(encoded) ? Buffer.from(encoded.slice(0, 2 * KEY), "hex") : undefined;
}
