import { blobPath } from "../archive/docker-manifest.js";
import { TAR_BLOCK } from "../archive/tar-header.js";
import type { SizedDigest } from "../delta/sized-digest.js";
import { OciError } from "../model/errors.js";
import {
  encodePart,
  encodePartList,
  MAXIMUM_PARTS,
  PART_FILE,
  PART_LIST_FILE,
  type PartContent,
  type PartList,
  type RepeatedFile,
  setOf,
} from "./part-list.js";
import { pieceDigestPath, piecePath } from "./part-names.js";

/** What is behind the last entry of a tar. */
const TAR_END = 2 * TAR_BLOCK;
/** The digest of a piece, as text. */
const PIECE_DIGEST_SIZE = 71;
/** A blob is not cut into pieces of fewer bytes than this. */
const SMALLEST_PIECE = 4096;
/**
 * Decides which blob goes into which part, so that none has more than `size` bytes: blobs stay in their order and whole, a
 * part is filled as far as the next one fits. A blob that fits into no part at all is cut into pieces, which fill
 * what is left of a part and then the next ones. Fails with `LIMIT` where what every part repeats leaves no room, or there would be more than {@link MAXIMUM_PARTS}.
 */
export function cut(files: readonly RepeatedFile[], blobs: readonly SizedDigest[], size: number): PartList {
  const list = attempt(files, blobs, size);
  if (typeof list !== "string") return list;
  let enough = Math.max(size, 1024);
  while (typeof attempt(files, blobs, enough) === "string") enough *= 2;
  throw new OciError("LIMIT", `cannot cut the archive into parts of ${size} bytes: ${list}`, {
    hint: `With --max-part ${enough} it can be done.`,
  });
}

/** The parts, or why there are none. */
function attempt(files: readonly RepeatedFile[], blobs: readonly SizedDigest[], size: number): PartList | string {
  const repeated = files.reduce((total, file) => total + room(file.name, file.size), 0);
  const part = room(PART_FILE, encodePart({ set: setOf(new Uint8Array()), number: MAXIMUM_PARTS }).byteLength);
  // The list tells of the cut, and takes of the room for it. Less room makes more parts, so it only ever grows.
  for (let listSize = 0; ; ) {
    const free = size - TAR_END - repeated - part - room(PART_LIST_FILE, listSize);
    if (free < leastFree(blobs)) return "the index and the manifests, which every part repeats, leave no room";
    const list = { files, parts: fill(blobs, free) };
    if (list.parts.length > MAXIMUM_PARTS)
      return `there would be ${list.parts.length} of them, and ${MAXIMUM_PARTS} are possible`;
    const needed = encodePartList(list).byteLength;
    if (needed <= listSize) return list;
    listSize = needed;
  }
}

function fill(blobs: readonly SizedDigest[], free: number): readonly (readonly PartContent[])[] {
  const parts: PartContent[][] = [];
  let current: PartContent[] = [];
  let left = free;
  const begin = (): void => {
    if (current.length > 0) parts.push(current);
    current = [];
    left = free;
  };
  for (const { digest, size } of blobs) {
    const whole = room(blobPath(digest), size);
    if (whole <= free) {
      if (whole > left) begin();
      current.push({ digest, size });
      left -= whole;
      continue;
    }
    for (let from = 0; from < size; ) {
      if (mostOf({ digest, size }, from, left) < SMALLEST_PIECE) begin();
      const length = Math.min(size - from, mostOf({ digest, size }, from, left));
      current.push({ digest, size, piece: { from, length } });
      left -= pieceRoom({ digest, size }, from, length);
      from += length;
    }
  }
  if (current.length > 0 || parts.length === 0) parts.push(current);
  return parts;
}

/** The most bytes of a piece that fit into so much room. */
function mostOf(blob: SizedDigest, from: number, left: number): number {
  return Math.floor((left - pieceRoom(blob, from, 0)) / TAR_BLOCK) * TAR_BLOCK;
}

function pieceRoom({ digest }: SizedDigest, from: number, length: number): number {
  return room(piecePath(digest, from), length) + room(pieceDigestPath(digest, from), PIECE_DIGEST_SIZE);
}

/** Room for the smallest piece, where there is anything to store. */
function leastFree(blobs: readonly SizedDigest[]): number {
  const [longest] = [...blobs].sort((a, b) => b.digest.length - a.digest.length);
  return longest === undefined ? 0 : pieceRoom(longest, Number.MAX_SAFE_INTEGER, SMALLEST_PIECE);
}

/** The most bytes that a file of this name and size takes in a tar. A name of more than 100 bytes may stand in a header of its own. */
function room(name: string, size: number): number {
  return (name.length > 100 ? 4 : 1) * TAR_BLOCK + Math.ceil(size / TAR_BLOCK) * TAR_BLOCK;
}
