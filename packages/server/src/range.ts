import { Refusal } from "./errors.js";

/** A part of some content: the first and the last byte of it, counted from zero. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/**
 * The part of `size` bytes that a Range header asks for. Undefined means all of it: no header, another unit, or more than one
 * range, which a server may ignore (RFC 9110, section 14.2). Refuses with 416 what lies outside, and a range whose end comes before its start.
 */
export function parseRange(header: string | undefined, size: number): ByteRange | undefined {
  const match = /^bytes=\s*([0-9]*)-([0-9]*)\s*$/.exec(header ?? "");
  if (match === null) return undefined;
  const [, first = "", last = ""] = match;
  if (first === "" && last === "") return undefined;
  const start = first === "" ? Math.max(size - Number(last), 0) : Number(first);
  const end = first === "" || last === "" ? size - 1 : Math.min(Number(last), size - 1);
  if (start > end || start >= size) {
    throw new Refusal(416, "SIZE_INVALID", `the range ${first}-${last} is not within the ${size} bytes there are`, {
      "Content-Range": `bytes */${size}`,
    });
  }
  return { start, end };
}

/**
 * The Content-Range of a chunk: `start-end`, without unit and total. Refuses with 400 what does not read so.
 * distribution-spec v1.1.1, "Pushing a blob in chunks".
 */
export function parseChunkRange(header: string | undefined): ByteRange | undefined {
  if (header === undefined) return undefined;
  const match = /^(?:bytes[ =])?([0-9]{1,15})-([0-9]{1,15})(?:\/(?:\*|[0-9]+))?$/.exec(header);
  const range = match === null ? undefined : { start: Number(match[1]), end: Number(match[2]) };
  if (range === undefined || range.end < range.start) {
    throw new Refusal(400, "BLOB_UPLOAD_INVALID", "the Content-Range is not of the form <start>-<end>");
  }
  return range;
}
