import { OciError } from "@stowage/layout";

/** What stands in front of an entry of a tar archive. */
export interface TarHeader {
  /** The path inside the archive, with `/` between its parts and behind a directory; never absolute, never with `..`. */
  readonly name: string;
  readonly type: "file" | "directory" | "symlink" | "hardlink";
  /** The permission bits, with setuid, setgid and sticky: 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970, a whole number. */
  readonly mtime: number;
  /** Bytes of the body; 0 for everything but a file. */
  readonly size: number;
  /** The target of a symbolic link as it stands there, or the entry name a hard link shares its content with. */
  readonly linkname?: string;
  /** Extended attributes by name. */
  readonly xattrs?: ReadonlyMap<string, Uint8Array>;
}

const BLOCK = 512;
const TYPE_FLAGS = { file: "0", hardlink: "1", symlink: "2", directory: "5" } as const;
/** The largest uid or gid: 2^32 - 1 means "no id" to chown(2). */
export const MAXIMUM_ID = 2 ** 32 - 2;

/**
 * The header blocks of an entry: POSIX ustar, and a PAX extended header in front where a value does not fit the ustar
 * fields (a name or link target that is long or not ASCII, a size of 8 GiB or more, an id above 2097151, a time after
 * the year 2242, extended attributes). The same header gives the same bytes. Fails with `INVALID` where a value has no place in a tar.
 *
 * Written here and not with tar-stream, whose writer cuts times off at 32 bits and ids at 18, takes a mode of 0 for "not
 * given", leaves the name field empty for some long directory names, and names every entry that has a PAX header
 * `PaxHeader` for readers without PAX.
 */
export function encodeTarHeader(header: TarHeader): Uint8Array {
  checkTarHeader(header);
  const name = splitName(header.name);
  const records = paxRecords(header, name !== undefined);
  const own = ustar(
    header,
    name ?? { prefix: "", name: shorten(header.name) },
    shorten(header.linkname ?? ""),
    TYPE_FLAGS[header.type],
  );
  return records.length === 0 ? own : Buffer.concat([paxHeader(header.name, records), own]);
}

/** The bytes of {@link encodeTarHeader}. */
export function tarHeaderSize(header: TarHeader): number {
  const records = paxRecords(header, splitName(header.name) !== undefined);
  if (records.length === 0) return BLOCK;
  const body = records.reduce((size, record) => size + record.byteLength, 0);
  return 2 * BLOCK + Math.ceil(body / BLOCK) * BLOCK;
}

/** The first that does not fit its field. */
const NUMBERS = [
  ["uid", 8 ** 7],
  ["gid", 8 ** 7],
  ["size", 8 ** 11],
  ["mtime", 8 ** 11],
] as const;

/** What does not fit the fields of ustar. */
function paxRecords(header: TarHeader, nameFits: boolean): Uint8Array[] {
  const records: Uint8Array[] = [];
  if (!nameFits) records.push(paxRecord("path", header.name));
  const linkname = header.linkname ?? "";
  if (!fits(linkname, 100)) records.push(paxRecord("linkpath", linkname));
  for (const [key, end] of NUMBERS) if (header[key] >= end) records.push(paxRecord(key, String(header[key])));
  if (header.xattrs === undefined) return records;
  for (const [key, value] of [...header.xattrs].sort(([one], [other]) => (one < other ? -1 : 1)))
    records.push(paxRecord(`SCHILY.xattr.${key}`, value));
  return records;
}

/** Fails with `INVALID` where `name` could lead out of the directory an archive is unpacked into. */
export function checkEntryName(name: string): void {
  const problem =
    name === ""
      ? "it is empty"
      : name.includes("\0")
        ? "it holds a NUL"
        : name.startsWith("/")
          ? "it is absolute"
          : name.split("/").includes("..")
            ? "it holds .."
            : undefined;
  if (problem !== undefined)
    throw new OciError("INVALID", `not an entry name for a tar: ${JSON.stringify(name)}: ${problem}`);
}

/** The largest that a header takes. */
const MAXIMA = [
  ["mode", 0o7777],
  ["uid", MAXIMUM_ID],
  ["gid", MAXIMUM_ID],
  ["size", Number.MAX_SAFE_INTEGER],
  ["mtime", Number.MAX_SAFE_INTEGER],
] as const;

function checkTarHeader(header: TarHeader): void {
  checkEntryName(header.name);
  for (const [key, maximum] of MAXIMA) {
    const value = header[key];
    if (!Number.isSafeInteger(value) || value < 0 || value > maximum) {
      throw new OciError(
        "INVALID",
        `cannot write ${JSON.stringify(header.name)} to a tar: its ${key} is ${value}, not a whole number from 0 to ${maximum}`,
      );
    }
  }
  for (const key of header.xattrs?.keys() ?? [])
    if (key === "" || /[=\n\0]/.test(key))
      throw new OciError(
        "INVALID",
        `cannot write ${JSON.stringify(header.name)} to a tar: its extended attribute ${JSON.stringify(key)}`,
      );
  if (header.type !== "file" && header.size !== 0)
    throw new TypeError(`only a file has a body, ${header.name} is a ${header.type}`);
}

/** The name over the two fields ustar has for it, or undefined where it does not fit. */
export function splitName(name: string): { prefix: string; name: string } | undefined {
  if (!isAscii(name)) return undefined;
  if (name.length <= 100) return { prefix: "", name };
  // The last character may be the slash of a directory, and the name field must not be empty.
  const slash = name.slice(0, Math.min(156, name.length - 1)).lastIndexOf("/");
  return slash > 0 && name.length - slash - 1 <= 100
    ? { prefix: name.slice(0, slash), name: name.slice(slash + 1) }
    : undefined;
}

function isAscii(text: string): boolean {
  return !/[^\x01-\x7f]/.test(text);
}

/** True for what a field of this many bytes can hold. */
export function fits(text: string, length: number): boolean {
  return text.length <= length && isAscii(text);
}

/** What a reader without PAX sees in a field of 100 bytes. */
export function shorten(text: string): string {
  return fits(text, 100) ? text : text.replace(/[^\x01-\x7f]/gu, "_").slice(0, 100);
}

/** The block itself, with a checksum. Text is cut off where its field ends. */
export function ustar(
  header: Omit<TarHeader, "name" | "type" | "linkname"> & {
    readonly device?: { readonly major: number; readonly minor: number };
  },
  name: { prefix: string; name: string },
  linkname: string,
  flag: string,
): Uint8Array {
  // From the pool: there is one of these for every file, and memory of its own for each keeps the garbage collector busy.
  const block = Buffer.allocUnsafe(BLOCK).fill(0);
  block.write(name.name, 0, 100, "latin1");
  writeNumber(block, header.mode, 100, 8);
  writeNumber(block, header.uid, 108, 8);
  writeNumber(block, header.gid, 116, 8);
  writeNumber(block, header.size, 124, 12);
  writeNumber(block, header.mtime, 136, 12);
  block.write("        ", 148, "latin1");
  block.write(flag, 156, "latin1");
  if (linkname !== "") block.write(linkname, 157, 100, "latin1");
  block.write("ustar\x0000", 257, "latin1");
  writeNumber(block, header.device?.major ?? 0, 329, 8);
  writeNumber(block, header.device?.minor ?? 0, 337, 8);
  if (name.prefix !== "") block.write(name.prefix, 345, 155, "latin1");
  let sum = 0;
  // By index: the iterator takes five times as long, and there is one of these for every file.
  for (let at = 0; at < BLOCK; at++) sum += block[at] as number;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

/** Octal with a NUL behind it, or base 256 where that is too short: a reader without PAX still gets it right. */
function writeNumber(block: Buffer, value: number, offset: number, width: number): void {
  if (value < 8 ** (width - 1)) {
    // Digit by digit, into zeros: there are six of these for every file, and a text for each takes longer.
    for (let at = offset + width - 2, rest = value; at >= offset; at--, rest = Math.floor(rest / 8))
      block[at] = 0x30 + (rest % 8);
    return;
  }
  block[offset] = 0x80;
  let rest = value;
  for (let at = offset + width - 1; at > offset; at--) {
    block[at] = rest % 256;
    rest = Math.floor(rest / 256);
  }
}

/** A PAX extended header for the entry of this name. */
export function paxHeader(name: string, records: readonly Uint8Array[]): Uint8Array {
  const body = Buffer.concat(records);
  const padded = Buffer.alloc(Math.ceil(body.byteLength / BLOCK) * BLOCK);
  padded.set(body);
  const fields = { mode: 0o644, uid: 0, gid: 0, mtime: 0, size: body.byteLength };
  return Buffer.concat([ustar(fields, { prefix: "", name: shorten(`PaxHeaders.0/${name}`) }, "", "x"), padded]);
}

/** One PAX record: its own length in decimal, a space, `key=value`, a newline. */
export function paxRecord(key: string, value: string | Uint8Array): Uint8Array {
  const body = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value as Uint8Array), Buffer.from("\n")]);
  let length = body.byteLength;
  while (length !== body.byteLength + String(length).length) length = body.byteLength + String(length).length;
  return Buffer.concat([Buffer.from(String(length)), body]);
}
