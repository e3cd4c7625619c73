import { checkDocumentType } from "../delta/receipt.js";
import { parseByteCount, parseList, parseSizedDigest, type SizedDigest } from "../delta/sized-digest.js";
import { type Digest, digestOf, parseDigest } from "../model/digest.js";
import { OciError } from "../model/errors.js";
import { isJsonObject, parseJsonObject } from "../model/json.js";
import { encodeJson } from "../model/manifest.js";

/** The media type of a {@link PartList}. */
export const PART_LIST_TYPE = "application/vnd.stowage.parts.v1+json";

/** The media type of what a part says of itself. */
export const PART_TYPE = "application/vnd.stowage.part.v1+json";

/** The name of the file that says which part of which set an archive is. */
export const PART_FILE = "stowage-part.json";

/** The name of the file of every part that lists what each of them holds. */
export const PART_LIST_FILE = "stowage-parts.json";

/** The largest list of parts that is read, in bytes. */
export const MAXIMUM_PART_LIST_SIZE = 64 * 1024 * 1024;

/** How many parts an archive may be cut into. */
export const MAXIMUM_PARTS = 999;

/** A blob in a part, or a piece of one that is larger than a part. */
export interface PartContent extends SizedDigest {
  /** The piece: where it begins in the blob, and how many bytes it has. Absent where the part holds the blob whole. */
  readonly piece?: { readonly from: number; readonly length: number };
}

/** A file that every part repeats. */
export interface RepeatedFile extends SizedDigest {
  readonly name: string;
}

/** What the parts of an archive hold. Every part has it, so that any of them tells what is in those that are lost. */
export interface PartList {
  /** The files that stand in each part: the index, the manifests, and what else is no blob. */
  readonly files: readonly RepeatedFile[];
  readonly parts: readonly (readonly PartContent[])[];
}

/** The bytes of a list; their digest is what tells one set of parts from another. */
export function encodePartList({ files, parts }: PartList): Uint8Array {
  return encodeJson({
    mediaType: PART_LIST_TYPE,
    schemaVersion: 1,
    files: files.map(({ name, digest, size }) => ({ name, digest, size })),
    parts: parts.map((content) => ({
      content: content.map(({ digest, size, piece }) => ({ digest, size, ...piece })),
    })),
  });
}

/** Reads the bytes of a list. Fails with `INVALID` where a part of it is wrong: the pieces of a blob have to follow each other without a gap. */
export function parsePartList(bytes: Uint8Array, where: string): PartList {
  const value = parseJsonObject(bytes, where);
  checkDocumentType(value, PART_LIST_TYPE, where);
  const files = parseList(value.files, `files of ${where}`, (file, place) => {
    if (!isJsonObject(file) || typeof file.name !== "string") throw new OciError("INVALID", `${place} has no name`);
    return { name: file.name, ...parseSizedDigest(file, place) };
  });
  const parts = parseList(value.parts, `parts of ${where}`, (part, place) =>
    parseList(isJsonObject(part) ? part.content : undefined, `content of ${place}`, parseContent),
  );
  if (parts.length === 0 || parts.length > MAXIMUM_PARTS)
    throw new OciError("INVALID", `${where} lists ${parts.length} parts; there may be 1 to ${MAXIMUM_PARTS}`);
  checkPieces(parts.flat(), where);
  return { files, parts };
}

function parseContent(value: unknown, where: string): PartContent {
  const whole = parseSizedDigest(value, where);
  const { from, length } = value as Readonly<Record<string, unknown>>;
  if (from === undefined && length === undefined) return whole;
  return { ...whole, piece: { from: parseByteCount(from, where), length: parseByteCount(length, where) } };
}

/** Fails with `INVALID` where a blob stands in a list twice, or in pieces that are not all of it. */
function checkPieces(content: readonly PartContent[], where: string): void {
  const reached = new Map<Digest, { readonly size: number; readonly end: number }>();
  for (const { digest, size, piece = { from: 0, length: size } } of content) {
    const before = reached.get(digest) ?? { size, end: 0 };
    const end = piece.from + piece.length;
    const isNext = piece.from === before.end && size === before.size && end <= size;
    if (!isNext || (reached.has(digest) && piece.length === 0))
      throw new OciError("INVALID", `the pieces of ${digest} in ${where} do not fit each other`);
    reached.set(digest, { size, end });
  }
  for (const [digest, { size, end }] of reached)
    if (end !== size) throw new OciError("INVALID", `${where} lists ${end} of the ${size} bytes of ${digest}`);
}

/** What a part says of itself. */
export interface Part {
  /** The digest of the {@link PartList}. */
  readonly set: Digest;
  /** From 1 on. */
  readonly number: number;
}

/** The bytes of what a part says of itself. */
export function encodePart({ set, number }: Part): Uint8Array {
  return encodeJson({ mediaType: PART_TYPE, schemaVersion: 1, set, number });
}

/** Reads what a part says of itself. Fails with `INVALID`. */
export function parsePart(bytes: Uint8Array, where: string): Part {
  const value = parseJsonObject(bytes, where);
  checkDocumentType(value, PART_TYPE, where);
  const number = parseByteCount(value.number, `the number in ${where}`);
  if (number < 1 || number > MAXIMUM_PARTS) throw new OciError("INVALID", `${where} has the number ${number}`);
  return { set: parseDigest(value.set), number };
}

/** The digest by which the parts of one set know each other. */
export function setOf(list: Uint8Array): Digest {
  return digestOf(list);
}
