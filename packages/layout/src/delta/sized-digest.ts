import { type Digest, parseDigest } from "../model/digest.js";
import { OciError } from "../model/errors.js";
import { isJsonObject } from "../model/json.js";
import { compareText } from "../store/index-json.js";

/** Content by its digest and its size in bytes: all that has to be known to tell whether somebody has it. */
export interface SizedDigest {
  readonly digest: Digest;
  readonly size: number;
}

/** How many pieces of content a receipt, a delta or a set of parts may list. */
const MAXIMUM_ITEMS = 1_000_000;

/** Returns `value`, from a foreign document, as content by digest and size. Fails with `INVALID`; `where` names the place in the message. */
export function parseSizedDigest(value: unknown, where: string): SizedDigest {
  if (!isJsonObject(value)) throw new OciError("INVALID", `${where} is no object`);
  return { digest: parseDigest(value.digest), size: parseByteCount(value.size, `the size in ${where}`) };
}

/** Returns `value` as a number of bytes, or fails with `INVALID`. */
export function parseByteCount(value: unknown, where: string): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw new OciError("INVALID", `${where} is no number of bytes`);
}

/** Returns `value` as a list of which `parse` reads each item. Fails with `INVALID`, and with `LIMIT` where it has more than a million. */
export function parseList<T>(value: unknown, where: string, parse: (item: unknown, where: string) => T): readonly T[] {
  if (!Array.isArray(value)) throw new OciError("INVALID", `${where} is no list`);
  if (value.length > MAXIMUM_ITEMS)
    throw new OciError("LIMIT", `${where} has ${value.length} items; ${MAXIMUM_ITEMS} are allowed`);
  return value.map((item, at) => parse(item, `${where}[${at}]`));
}

/** The items with nothing but digest and size, each digest once, in bytewise order. */
export function sortedDigests(items: Iterable<SizedDigest>): readonly SizedDigest[] {
  const found = new Map<Digest, SizedDigest>();
  for (const { digest, size } of items) found.set(digest, { digest, size });
  return [...found.values()].sort((a, b) => compareText(a.digest, b.digest));
}

/** How many bytes the items have together. */
export function totalSize(items: Iterable<SizedDigest>): number {
  let total = 0;
  for (const { size } of items) total += size;
  return total;
}

/** A line of a list in a message. */
export function formatSizedDigest({ digest, size }: SizedDigest): string {
  return `  ${digest} (${size} bytes)`;
}
