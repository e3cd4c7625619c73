import type { FileHandle } from "node:fs/promises";
import { OciError } from "../model/errors.js";

/** A regular file, or a link to one, inside a tar. */
export interface TarEntry {
  readonly name: string;
  /** Where its bytes start in the tar, and how many there are. */
  readonly offset: number;
  readonly size: number;
  /** For a link: the name it points at, as it stands there. */
  readonly link?: { readonly target: string; readonly symbolic: boolean };
}

const BLOCK = 512;
/** Hard and symbolic links, devices, directories and FIFOs: some writers repeat a size in their headers. */
const HEADER_ONLY = "123456";
/** The largest extended header that is read, in bytes; GNU tar's own limit for a path is 4 KiB. */
const MAXIMUM_EXTENDED_HEADER = 1024 * 1024;
/** How many entries an archive may have. */
const MAXIMUM_ENTRIES = 1_000_000;

/**
 * The entries of a tar in a file, read header by header: contents are skipped, so a large archive costs no more than its
 * headers. Knows ustar, PAX (path, linkpath, size) and GNU long names. A damaged header fails with `INVALID`, sparse entries
 * with `UNSUPPORTED`; directories and special files are passed over. POSIX.1-2017, pax "ustar Interchange Format".
 */
export async function* readTarEntries(handle: FileHandle, where: string): AsyncGenerator<TarEntry, void, undefined> {
  const { size: end } = await handle.stat();
  let extended: Extended = {};
  let count = 0;
  for (let position = 0; position < end; ) {
    const header = await readAt(handle, position, BLOCK, where);
    if (header.every((byte) => byte === 0)) return;
    checkHeader(header, position, where);
    if (++count > MAXIMUM_ENTRIES) throw new OciError("LIMIT", `${where} has more than ${MAXIMUM_ENTRIES} entries`);
    const type = String.fromCharCode(header[156] as number);
    const isExtension = "xLKg".includes(type);
    const stated = number(header, 124, 12, where);
    // A PAX size is that of the entry it belongs to, whatever headers stand between. Nothing follows a link or a directory.
    const size = isExtension ? stated : HEADER_ONLY.includes(type) ? 0 : (extended.size ?? stated);
    const offset = position + BLOCK;
    if (offset + size > end) throw new OciError("INVALID", `${where} ends in the middle of an entry`);
    position = offset + Math.ceil(size / BLOCK) * BLOCK;
    if (isExtension) {
      if (size > MAXIMUM_EXTENDED_HEADER)
        throw new OciError("LIMIT", `${where} has an extended header of ${size} bytes`);
      if (type !== "g")
        extended = { ...extended, ...parseExtended(type, await readAt(handle, offset, size, where), where) };
      continue;
    }
    const name = extended.path ?? fullName(header);
    const target = extended.linkpath ?? text(header, 157, 100);
    extended = {};
    if (type === "S") throw new OciError("UNSUPPORTED", `${where} has a sparse entry, ${name}`);
    if (type === "0" || type === "\0" || type === "7") yield { name, offset, size };
    else if (type === "1" || type === "2") yield { name, offset, size: 0, link: { target, symbolic: type === "2" } };
  }
}

interface Extended {
  readonly path?: string;
  readonly linkpath?: string;
  readonly size?: number;
}

function parseExtended(type: string, bytes: Buffer, where: string): Extended {
  if (type === "L") return { path: text(bytes, 0, bytes.length) };
  if (type === "K") return { linkpath: text(bytes, 0, bytes.length) };
  const found: { path?: string; linkpath?: string; size?: number } = {};
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at);
    const length = Number(bytes.toString("latin1", at, space < 0 ? at : space));
    if (space < 0 || !Number.isSafeInteger(length) || length < 5 || at + length > bytes.length) {
      throw new OciError("INVALID", `${where} has a damaged PAX header`);
    }
    const record = bytes.toString("utf8", space + 1, at + length - 1);
    const equals = record.indexOf("=");
    const [key, value] = [record.slice(0, equals), record.slice(equals + 1)];
    if (key.startsWith("GNU.sparse.")) throw new OciError("UNSUPPORTED", `${where} has a sparse entry`);
    if (key === "path" || key === "linkpath") found[key] = value;
    if (key === "size") {
      found.size = Number(value);
      if (!/^[0-9]+$/.test(value) || !Number.isSafeInteger(found.size))
        throw new OciError("INVALID", `${where} has a PAX header with the size ${value}`);
    }
    at += length;
  }
  return found;
}

function checkHeader(header: Buffer, position: number, where: string): void {
  let sum = 8 * 0x20;
  for (let at = 0; at < BLOCK; at++) if (at < 148 || at >= 156) sum += header[at] as number;
  if (sum !== number(header, 148, 8, where))
    throw new OciError("INVALID", `${where} is no tar, or a damaged one: wrong header checksum at byte ${position}`);
}

function fullName(header: Buffer): string {
  const name = text(header, 0, 100);
  const prefix = text(header, 257, 6) === "ustar" ? text(header, 345, 155) : "";
  return prefix === "" ? name : `${prefix}/${name}`;
}

function text(bytes: Buffer, start: number, length: number): string {
  const zero = bytes.indexOf(0, start);
  return bytes.toString("utf8", start, zero < 0 || zero > start + length ? start + length : zero);
}

/** Octal text, or for large values a set high bit and the number in base 256. */
function number(bytes: Buffer, start: number, length: number, where: string): number {
  let value = 0;
  if (((bytes[start] as number) & 0x80) !== 0) {
    for (let at = start; at < start + length; at++)
      value = value * 256 + (at === start ? (bytes[at] as number) & 0x7f : (bytes[at] as number));
  } else {
    const digits = text(bytes, start, length).trim();
    value = digits === "" ? 0 : Number.parseInt(digits, 8);
    if (!/^[0-7]*$/.test(digits)) value = Number.NaN;
  }
  if (!Number.isSafeInteger(value))
    throw new OciError("INVALID", `${where} is no tar, or a damaged one: a number in a header cannot be read`);
  return value;
}

async function readAt(handle: FileHandle, position: number, length: number, where: string): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  for (let filled = 0; filled < length; ) {
    const { bytesRead } = await handle.read(buffer, filled, length - filled, position + filled);
    if (bytesRead === 0) throw new OciError("INVALID", `${where} ends in the middle of a header`);
    filled += bytesRead;
  }
  return buffer;
}
