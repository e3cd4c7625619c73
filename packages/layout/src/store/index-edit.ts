import type { Descriptor } from "../model/descriptor.js";
import {
  isSearched,
  isWorthwhile,
  keysOf,
  knownSubjects,
  type ReadManifestOf,
  refersTo,
  SUBJECT,
  subjectRows,
} from "./derive.js";
import { type Derived, type DerivedIndex, type Head, POSTING } from "./derived-index.js";
import { checkEntry, compareEntries, type LayoutIndex } from "./index-json.js";
import { PLACE } from "./index-places.js";
import { withRows } from "./rows.js";

/** Thrown where a change cannot be made in a part of the index, so that it has to be made in the whole. Nothing was changed. */
export class WholeNeeded extends Error {}

/** How many entries are looked at at once in the search for a place. */
const BLOCK = 64;

/** Either entries that stay, from one number up to another one, or a new one, as bytes. */
type Piece = { readonly from: number; readonly to: number } | { readonly entry: Descriptor; readonly bytes: Buffer };

/** The bytes of an index.json that was edited, and what can be derived from it once its hash is known. */
export interface Edited {
  readonly bytes: readonly Buffer[];
  /** Undefined where it is not worth it any more. */
  derive(origin: string): Promise<Derived | undefined>;
}

/**
 * Changes of an index.json that touch few of its entries. The bytes of all others stay as they are, so that a change
 * costs little however many there are. A new entry gets the place that it would have got in the whole index.
 */
export class IndexEdit {
  readonly #index: DerivedIndex;
  readonly #bytes: Buffer;
  readonly #removed = new Set<number>();
  #added: readonly Descriptor[] = [];

  /** `index` was derived from `bytes`. */
  constructor(index: DerivedIndex, bytes: Buffer) {
    this.#index = index;
    this.#bytes = bytes;
  }

  get isEmpty(): boolean {
    return this.#removed.size === 0 && this.#added.length === 0;
  }

  /**
   * Makes a change that depends on nothing but the entries of some names and digests. Fails with {@link WholeNeeded} where
   * it changes more than entries, and with the error of `change`; then nothing of it was done.
   */
  async apply(
    references: readonly string[],
    change: (index: LayoutIndex) => LayoutIndex | Promise<LayoutIndex>,
  ): Promise<void> {
    const { index, numbers } = await this.#touching(references);
    const stored = index.manifests.filter((entry) => !this.#removed.has(numbers.get(entry) as number));
    const before = { ...index, manifests: [...stored, ...this.#added] };
    const after = await change(before);
    if (after === before) return;
    if (!sameMembers(before, after)) throw new WholeNeeded();
    const known = new Set(before.manifests);
    const kept = new Set(after.manifests);
    const added = after.manifests
      .filter((entry) => !known.has(entry))
      .map((entry, at) => checkEntry(entry, "the new index.json", at));
    for (const entry of stored) if (!kept.has(entry)) this.#removed.add(numbers.get(entry) as number);
    this.#added = [...this.#added.filter((entry) => kept.has(entry)), ...added];
  }

  async #touching(references: readonly string[]): ReturnType<DerivedIndex["touching"]> {
    try {
      return await this.#index.touching(references);
    } catch (cause) {
      throw new WholeNeeded("the entries cannot be read alone", { cause });
    }
  }

  /** The new bytes. `read` tells what a new entry leads to. Fails with {@link WholeNeeded} where nothing would stay as it is. */
  async edited(read: ReadManifestOf): Promise<Edited> {
    const pieces = await this.#pieces();
    const { places } = this.#index.derived;
    const start = (number: number): number => places[number * PLACE] as number;
    const end = (number: number): number => start(number) + (places[number * PLACE + 1] as number);
    const last = places.length / PLACE - 1;
    const bytes: Buffer[] = [this.#bytes.subarray(0, start(0))];
    for (const [at, piece] of pieces.entries()) {
      if (at > 0) bytes.push(COMMA);
      bytes.push("bytes" in piece ? piece.bytes : this.#bytes.subarray(start(piece.from), end(piece.to - 1)));
    }
    bytes.push(this.#bytes.subarray(end(last)));
    return { bytes, derive: (origin) => derived(this.#index.derived, pieces, origin, read) };
  }

  async #pieces(): Promise<Piece[]> {
    const count = this.#index.derived.places.length / PLACE;
    const added = [...this.#added].sort(compareEntries);
    const at = new Map<number, Descriptor[]>();
    for (const entry of added) {
      const number = await this.#placeOf(entry, count);
      at.set(number, [...(at.get(number) ?? []), entry]);
    }
    const pieces: Piece[] = [];
    let from = 0;
    const stay = (to: number): void => {
      if (from < to) pieces.push({ from, to });
      from = to;
    };
    for (const number of [...new Set([...at.keys(), ...this.#removed])].sort((a, b) => a - b)) {
      stay(number);
      for (const entry of at.get(number) ?? []) pieces.push({ entry, bytes: Buffer.from(JSON.stringify(entry)) });
      if (this.#removed.has(number)) from = number + 1;
    }
    stay(count);
    if (pieces.length === 0) throw new WholeNeeded();
    return pieces;
  }

  /** The number of the entry that the new one stands before: behind the last one that does not sort after it, as in `insert`. */
  async #placeOf(entry: Descriptor, count: number): Promise<number> {
    const sortsAfter = (other: Descriptor): boolean => compareEntries(other, entry) > 0;
    if (this.#index.derived.head.sorted) {
      let [low, high] = [0, count];
      while (low < high) {
        const middle = (low + high) >>> 1;
        const [other] = await this.#index.entries(middle, middle + 1);
        if (sortsAfter(other as Descriptor)) high = middle;
        else low = middle + 1;
      }
      return low;
    }
    for (let to = count; to > 0; to -= BLOCK) {
      const from = Math.max(0, to - BLOCK);
      const block = await this.#index.entries(from, to);
      const at = block.findLastIndex((other, offset) => !this.#removed.has(from + offset) && !sortsAfter(other));
      if (at >= 0) return from + at + 1;
    }
    return 0;
  }
}

const COMMA = Buffer.from(",");

function sameMembers(before: LayoutIndex, after: LayoutIndex): boolean {
  const keys = Object.keys(before);
  return (
    keys.length === Object.keys(after).length && keys.every((key) => key === "manifests" || before[key] === after[key])
  );
}

/** What is derived from the pieces: what was derived before, with other numbers, and what the new entries are found by. */
async function derived(
  before: Derived,
  pieces: readonly Piece[],
  origin: string,
  read: ReadManifestOf,
): Promise<Derived | undefined> {
  const count = pieces.reduce((sum, piece) => sum + ("bytes" in piece ? 1 : piece.to - piece.from), 0);
  const places = new Uint32Array(count * PLACE);
  const numbers = new Int32Array(before.places.length / PLACE).fill(-1);
  const postings: number[][] = [];
  const subjects: number[][] = [];
  let number = 0;
  let offset = before.places[0] as number;
  for (const piece of pieces) {
    if ("bytes" in piece) {
      const { entry, bytes } = piece;
      const known = isSearched(entry)
        ? (knownSubjects(before.subjects, entry.digest) ?? (await refersTo(entry, read)))
        : [];
      const keys = keysOf(entry, known);
      if (keys === undefined) return undefined;
      postings.push(...keys.map((key) => [...key, number]));
      if (isSearched(entry)) subjects.push(...subjectRows(entry.digest, known));
      places.set([offset, bytes.length], number * PLACE);
      offset += bytes.length + 1;
      number++;
      continue;
    }
    const shift = offset - (before.places[piece.from * PLACE] as number);
    for (let at = piece.from; at < piece.to; at++) {
      numbers[at] = number;
      places[number * PLACE] = (before.places[at * PLACE] as number) + shift;
      places[number * PLACE + 1] = before.places[at * PLACE + 1] as number;
      number++;
    }
    offset = (places[number * PLACE - PLACE] as number) + (places[number * PLACE - 1] as number) + 1;
  }
  const allPostings = withRows(renumbered(before.postings, numbers), POSTING, postings);
  const allSubjects = withRows(before.subjects, SUBJECT, subjects);
  const head: Head = {
    ...before.head,
    origin,
    entries: count,
    postings: allPostings.length / POSTING,
    subjects: allSubjects.length / SUBJECT,
  };
  return isWorthwhile(head) ? { head, places, postings: allPostings, subjects: allSubjects } : undefined;
}

/** The postings of the entries that stay, with their new numbers. The order stays, since that of the entries does. */
function renumbered(postings: Uint32Array, numbers: Int32Array): Uint32Array {
  const result = new Uint32Array(postings.length);
  let length = 0;
  for (let at = 0; at < postings.length; at += POSTING) {
    const number = numbers[postings[at + 2] as number] as number;
    if (number < 0) continue;
    result[length] = postings[at] as number;
    result[length + 1] = postings[at + 1] as number;
    result[length + 2] = number;
    length += POSTING;
  }
  return result.subarray(0, length);
}
