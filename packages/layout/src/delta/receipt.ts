import { OutputFile } from "../archive/output-file.js";
import type { Abortable } from "../content.js";
import { readGraph } from "../graph.js";
import { type Descriptor, parseDescriptor } from "../model/descriptor.js";
import { OciError } from "../model/errors.js";
import { isJsonObject, parseJsonObject } from "../model/json.js";
import { encodeJson } from "../model/manifest.js";
import { readSmallFile } from "../store/files.js";
import { isNamed, refName } from "../store/index-json.js";
import type { IndexedSource } from "../store/indexed-source.js";
import { parseList, parseSizedDigest, type SizedDigest, sortedDigests } from "./sized-digest.js";

/** The media type of a {@link Receipt}. */
export const RECEIPT_TYPE = "application/vnd.stowage.receipt.v1+json";

/** The largest receipt that is read, in bytes: room for half a million digests. */
export const MAXIMUM_RECEIPT_SIZE = 64 * 1024 * 1024;

/** What was delivered under a name, or without one. */
export interface ReceiptRoot {
  readonly name?: string;
  readonly mediaType: string;
  readonly digest: Descriptor["digest"];
  readonly size: number;
}

/**
 * What an export delivered: the images by name, and every manifest and blob that whoever takes it in has then. Small, and the
 * same bytes for the same images, wherever and by whom it is written.
 */
export interface Receipt {
  readonly mediaType: typeof RECEIPT_TYPE;
  readonly schemaVersion: 1;
  /** In the order of the index. */
  readonly roots: readonly ReceiptRoot[];
  /** Each digest once, in bytewise order. */
  readonly content: readonly SizedDigest[];
}

/**
 * The receipt of all that a layout or an archive leads to and has. What an archive leaves to its base counts as well: it is
 * there once the archive is taken in. Content that is missing for another reason is left out.
 */
export async function receiptOf(source: IndexedSource, options: Abortable = {}): Promise<Receipt> {
  const index = await source.index(options);
  const graph = await readGraph(source, index, options);
  const needed = new Map(source.needs.map(({ digest, size }) => [digest, size]));
  const content = new Map<string, SizedDigest>();
  const add = async ({ digest }: Pick<SizedDigest, "digest">): Promise<void> => {
    if (content.has(digest)) return;
    const size = (await source.size(digest)) ?? needed.get(digest);
    if (size !== undefined) content.set(digest, { digest, size });
  };
  for (const [digest, { links }] of graph) {
    await add({ digest });
    for (const link of links) await add(link);
  }
  return {
    mediaType: RECEIPT_TYPE,
    schemaVersion: 1,
    roots: rootsOf(index.manifests),
    content: sortedDigests(content.values()),
  };
}

/** The entries with a name that somebody gave; where there are none, all that are there. */
export function rootsOf(entries: readonly Descriptor[]): readonly ReceiptRoot[] {
  const named = entries.filter(isNamed);
  return (named.length > 0 ? named : entries).map((entry) => rootOf(entry, refName(entry)));
}

/** What identifies a root. */
export function rootOf({ mediaType, digest, size }: Descriptor, name?: string): ReceiptRoot {
  return { ...(name === undefined ? {} : { name }), mediaType, digest, size };
}

/** The bytes of a receipt, with a line break at the end. */
export function encodeReceipt({ mediaType, schemaVersion, roots, content }: Receipt): Uint8Array {
  return Buffer.concat([encodeJson({ mediaType, schemaVersion, roots, content }), Buffer.from("\n")]);
}

/**
 * Reads the bytes of a receipt. Fails with `INVALID` where they are none, or a part of it is wrong; with `UNSUPPORTED` where it is of a
 * later version. Names in it are only names, whatever they look like.
 */
export function parseReceipt(bytes: Uint8Array, where: string): Receipt {
  const value = parseJsonObject(bytes, where);
  checkDocumentType(value, RECEIPT_TYPE, where);
  return {
    mediaType: RECEIPT_TYPE,
    schemaVersion: 1,
    roots: parseList(value.roots, `roots of ${where}`, parseRoot),
    content: parseList(value.content, `content of ${where}`, parseSizedDigest),
  };
}

/** Reads the receipt in a file. Fails as {@link parseReceipt} does, with `NOT_FOUND`, and with `LIMIT` where it is larger than {@link MAXIMUM_RECEIPT_SIZE}. */
export async function readReceipt(path: string): Promise<Receipt> {
  return parseReceipt(await readSmallFile(path, MAXIMUM_RECEIPT_SIZE), `the receipt ${path}`);
}

/** Writes a receipt to a file, which gets its name when it is complete. Fails with `NOT_FOUND` or `DENIED` where it cannot be written. */
export async function writeReceipt(path: string, receipt: Receipt): Promise<void> {
  const file = await OutputFile.create(path);
  try {
    await file.write(encodeReceipt(receipt));
    await file.finish();
  } catch (error) {
    await file.discard();
    throw error;
  }
}

/** Fails with `INVALID` where a document says it is something else, and with `UNSUPPORTED` where it is of another version. */
export function checkDocumentType(value: Readonly<Record<string, unknown>>, mediaType: string, where: string): void {
  if (value.mediaType !== mediaType)
    throw new OciError("INVALID", `${where} is no ${mediaType}: its mediaType is ${shown(value.mediaType)}`);
  if (value.schemaVersion !== 1)
    throw new OciError("UNSUPPORTED", `${where} has schemaVersion ${shown(value.schemaVersion)}; 1 is known here`);
}

/** Reads a root of a receipt or a delta. */
export function parseRoot(value: unknown, where: string): ReceiptRoot {
  const name = isJsonObject(value) ? value.name : undefined;
  if (name !== undefined && typeof name !== "string") throw new OciError("INVALID", `the name in ${where} is no text`);
  return rootOf(parseDescriptor(value, where), name);
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? "missing").slice(0, 100);
}
