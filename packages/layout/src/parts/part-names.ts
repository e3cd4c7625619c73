import { basename, dirname, extname, join } from "node:path";
import { type Digest, digestAlgorithm, digestEncoded } from "../model/digest.js";

const PART_NAME = /^(.*)\.part-([0-9]{1,3})-of-([0-9]{1,3})(\.[^.]*)?$/s;

/** The path of a part: `images.tar` becomes `images.part-02-of-12.tar`. Sorted by name the parts are in order. */
export function partPath(path: string, number: number, count: number): string {
  const extension = extname(path);
  const stem = basename(path, extension);
  return join(dirname(path), partName(stem, number, count, extension));
}

function partName(stem: string, number: number, count: number, extension: string): string {
  const digits = String(count).length;
  return `${stem}.part-${String(number).padStart(digits, "0")}-of-${count}${extension}`;
}

/** What the name of a file says of the part it is, where it is named as {@link partPath} names parts. */
export interface PartName {
  readonly number: number;
  readonly count: number;
  /** The name of another part of the same archive. */
  other(number: number): string;
}

/** Reads the name of a part; undefined where it is none. */
export function parsePartName(path: string): PartName | undefined {
  const [, stem = "", number, count, extension = ""] = PART_NAME.exec(basename(path)) ?? [];
  if (number === undefined || count === undefined) return undefined;
  const all = Number(count);
  if (Number(number) < 1 || Number(number) > all) return undefined;
  return {
    number: Number(number),
    count: all,
    other: (one) => join(dirname(path), partName(stem, one, all, extension)),
  };
}

/** The name of a piece of a blob inside a part. It does not stand among the blobs, since it is none. */
export function piecePath(digest: Digest, from: number): string {
  return `pieces/${digestAlgorithm(digest)}/${digestEncoded(digest)}/${from}`;
}

/** The name of the file behind a piece that holds the digest of the piece. */
export function pieceDigestPath(digest: Digest, from: number): string {
  return `${piecePath(digest, from)}.digest`;
}
