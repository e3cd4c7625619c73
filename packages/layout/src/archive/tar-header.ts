import { isUtf8 } from "node:buffer";
import { OciError } from "../model/errors.js";

/** The header of an entry that was read, with what its PAX records say. Nothing in it has been judged. */
export interface TarReadHeader {
  /** Where it is not UTF-8, each byte above 0x7f of such a part stands as U+DC00 plus the byte; {@link encodeTarName} turns that back. */
  readonly name: string;
  /** `unknown` for what POSIX does not define. */
  readonly type:
    | "file"
    | "directory"
    | "symlink"
    | "hardlink"
    | "character-device"
    | "block-device"
    | "fifo"
    | "unknown";
  /** The permission bits, with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes. */
  readonly size: number;
  /** Seconds since 1970; may be negative or have a fraction. */
  readonly mtime: number;
  /** As {@link TarReadHeader.name}. */
  readonly linkname?: string;
  /** Of a device. */
  readonly device?: { readonly major: number; readonly minor: number };
  /** The PAX records that are text. */
  readonly pax: Readonly<Record<string, string>>;
  /** The extended attributes, which PAX records named `SCHILY.xattr.NAME` hold. */
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
}

/** The bytes in one block of a tar. */
export const TAR_BLOCK = 512;
/** The largest extended header that is read, in bytes. An extended attribute on Linux has 64 KiB at most, a path 4 KiB. */
const MAXIMUM_EXTENDED_HEADER = 1024 * 1024;
const XATTR = "SCHILY.xattr.";
/** What readers disagree on where a header for all entries holds it. */
const NOT_GLOBAL = ["path", "linkpath", "size"];
const EMPTY: ReadonlyMap<string, Buffer> = new Map();
const TYPES: Readonly<Record<string, TarReadHeader["type"]>> = {
  "0": "file",
  "\0": "file",
  "7": "file",
  "1": "hardlink",
  "2": "symlink",
  "3": "character-device",
  "4": "block-device",
  "5": "directory",
  "6": "fifo",
};

/** What a block turned out to be: an entry, the header of more to read before one, or the end. */
export type TarBlock =
  | { readonly kind: "entry"; readonly header: TarReadHeader }
  /** The next `size` bytes, and what fills their last block, are for {@link TarHeaderReader.extend}. */
  | { readonly kind: "extension"; readonly size: number }
  | { readonly kind: "end" };

/**
 * Reads the header blocks of a tar, whoever brings them: ustar, PAX and GNU long names. Where readers are known to take an
 * archive differently, so that each would see other files in it, it fails with `INVALID`; a sparse entry fails with
 * `UNSUPPORTED`, an extended header above 1 MiB with `LIMIT`. POSIX.1-2017, pax "ustar Interchange Format".
 */
export class TarHeaderReader {
  readonly #what: string;
  #pax = EMPTY;
  #gnu: { name?: Buffer; linkname?: Buffer } = {};
  #extension = "";

  /** `what` names the archive in messages. */
  constructor(what: string) {
    this.#what = what;
  }

  /** Takes a block of 512 bytes; `position` is where it stands in the archive. */
  read(block: Buffer, position: number): TarBlock {
    if (block[0] === 0 && block.every((byte) => byte === 0)) return { kind: "end" };
    this.#checkSum(block, position);
    const flag = String.fromCharCode(block[156] as number);
    if ("xLKg".includes(flag)) return this.#startExtension(flag, block);
    const header = this.#header(block, flag);
    this.#pax = EMPTY;
    this.#gnu = {};
    return { kind: "entry", header };
  }

  /** Takes the bytes that {@link TarBlock} asked for. */
  extend(bytes: Buffer): void {
    const kind = this.#extension;
    if (kind === "L" || kind === "K") {
      const key = kind === "L" ? "name" : "linkname";
      if (this.#gnu[key] !== undefined) throw this.#invalid("two long names stand before one entry");
      // The bytes may be part of a chunk that goes on to be used.
      this.#gnu[key] = Buffer.from(untilNul(bytes));
      return;
    }
    const records = this.#records(bytes);
    if (kind === "g") {
      const found = NOT_GLOBAL.find((key) => records.has(key));
      if (found !== undefined) throw this.#invalid(`a header for all entries gives them a ${found}`);
    } else {
      if (this.#pax.size > 0) throw this.#invalid("two PAX headers stand before one entry");
      this.#pax = records;
    }
  }

  #startExtension(flag: string, block: Buffer): TarBlock {
    const size = this.#number(block, 124, 12);
    if (size < 0) throw this.#invalid(`an extended header has the size ${size}`);
    if (size > MAXIMUM_EXTENDED_HEADER)
      throw new OciError("LIMIT", `${this.#what} has an extended header of ${size} bytes`);
    this.#extension = flag;
    return { kind: "extension", size };
  }

  #header(block: Buffer, flag: string): TarReadHeader {
    const name = this.#text("path", this.#gnu.name) ?? decodeTarName(ustarName(block));
    const linkname = this.#text("linkpath", this.#gnu.linkname) ?? decodeTarName(untilNul(block.subarray(157, 257)));
    if (flag === "S") throw new OciError("UNSUPPORTED", `${this.#what} has a sparse entry, ${JSON.stringify(name)}`);
    const size = this.#whole("size", name, this.#number(block, 124, 12));
    const known = TYPES[flag] ?? "unknown";
    // Before POSIX, only the slash told a directory.
    const type = known === "file" && name.endsWith("/") ? "directory" : known;
    const isDevice = type === "character-device" || type === "block-device";
    return {
      name,
      type,
      mode: this.#number(block, 100, 8) & 0o7777,
      uid: this.#whole("uid", name, this.#number(block, 108, 8)),
      gid: this.#whole("gid", name, this.#number(block, 116, 8)),
      size,
      mtime: this.#mtime(name, block),
      ...(linkname === "" ? {} : { linkname }),
      ...(isDevice ? { device: { major: this.#number(block, 329, 8), minor: this.#number(block, 337, 8) } } : {}),
      ...this.#extras(),
    };
  }

  /** A name from a PAX record or a GNU header. Which of the two wins is not the same in all readers. */
  #text(key: "path" | "linkpath", gnu: Buffer | undefined): string | undefined {
    const pax = this.#pax.get(key);
    if (pax !== undefined && gnu !== undefined && !pax.equals(gnu))
      throw this.#invalid(
        `an entry has two names: ${JSON.stringify(decodeTarName(pax))} and ${JSON.stringify(decodeTarName(gnu))}`,
      );
    const bytes = pax ?? gnu;
    return bytes === undefined ? undefined : decodeTarName(bytes);
  }

  #whole(key: "size" | "uid" | "gid", name: string, own: number): number {
    const text = this.#pax.get(key)?.toString("latin1");
    const value = text === undefined ? own : /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
    if (Number.isSafeInteger(value) && value >= 0) return value;
    throw this.#invalid(`${JSON.stringify(name)} has the ${key} ${text === undefined ? own : JSON.stringify(text)}`);
  }

  #mtime(name: string, block: Buffer): number {
    const text = this.#pax.get("mtime")?.toString("latin1");
    if (text === undefined) return this.#number(block, 136, 12);
    if (/^-?[0-9]{1,12}(?:\.[0-9]*)?$/.test(text)) return Number(text);
    throw this.#invalid(`${JSON.stringify(name)} has the mtime ${JSON.stringify(text)}`);
  }

  #extras(): Pick<TarReadHeader, "pax" | "xattrs"> {
    if (this.#pax.size === 0) return { pax: {}, xattrs: EMPTY };
    const pax: [string, string][] = [];
    const xattrs = new Map<string, Uint8Array>();
    for (const [key, value] of this.#pax) {
      if (key.startsWith(XATTR)) xattrs.set(key.slice(XATTR.length), value);
      else pax.push([key, value.toString()]);
    }
    // Not an assignment: a record may be called __proto__.
    return { pax: Object.fromEntries(pax), xattrs };
  }

  #records(bytes: Buffer): Map<string, Buffer> {
    const found = new Map<string, Buffer>();
    for (let at = 0; at < bytes.length; ) {
      const space = bytes.indexOf(0x20, at);
      const digits = space < 0 || space - at > 8 ? "" : bytes.toString("latin1", at, space);
      const end = at + Number(digits);
      const equals = bytes.indexOf(0x3d, space + 1);
      if (!/^[0-9]+$/.test(digits) || end > bytes.length || equals < 0 || equals >= end - 1 || bytes[end - 1] !== 0x0a)
        throw this.#invalid("a PAX header is damaged");
      const key = bytes.toString("utf8", space + 1, equals);
      if (key.startsWith("GNU.sparse.")) throw new OciError("UNSUPPORTED", `${this.#what} has a sparse entry`);
      found.set(key, Buffer.from(bytes.subarray(equals + 1, end - 1)));
      at = end;
    }
    return found;
  }

  #checkSum(block: Buffer, position: number): void {
    let sum = 8 * 0x20;
    for (let at = 0; at < TAR_BLOCK; at++) if (at < 148 || at >= 156) sum += block[at] as number;
    if (sum !== this.#number(block, 148, 8))
      throw new OciError(
        "INVALID",
        `${this.#what} is no tar, or a damaged one: wrong header checksum at byte ${position}`,
      );
  }

  /** Octal text, or for large and negative values a set high bit and the number in base 256. */
  #number(block: Buffer, start: number, length: number): number {
    let value: number;
    if (((block[start] as number) & 0x80) !== 0) {
      const bits = BigInt(`0x${block.toString("hex", start, start + length)}`);
      value = Number(BigInt.asIntN(length * 8 - 1, bits));
    } else {
      const digits = untilNul(block.subarray(start, start + length))
        .toString("latin1")
        .trim();
      value = /^[0-7]*$/.test(digits) ? Number.parseInt(digits || "0", 8) : Number.NaN;
    }
    if (!Number.isSafeInteger(value))
      throw new OciError("INVALID", `${this.#what} is no tar, or a damaged one: a number in a header cannot be read`);
    return value;
  }

  #invalid(problem: string): OciError {
    return new OciError("INVALID", `${this.#what} cannot be read as a tar in one way: ${problem}`);
  }
}

/** The bytes of a name that {@link TarReadHeader} has, as text where they are UTF-8. */
export function encodeTarName(name: string): string | Buffer {
  if (!ESCAPED.test(name)) return name;
  const parts = name.split("/").map((part) => {
    if (!ESCAPED.test(part)) return Buffer.from(part);
    return Buffer.from(Array.from(part, (character) => character.charCodeAt(0) & 0xff));
  });
  return Buffer.concat(parts.flatMap((part, at) => (at === 0 ? [part] : [Buffer.from("/"), part])));
}

/** The name in the form of {@link TarReadHeader.name}. */
export function decodeTarName(bytes: Uint8Array): string {
  const name = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (isUtf8(name)) return name.toString();
  // Part by part, so that a directory has one name, whatever is called what in it.
  const parts: string[] = [];
  for (let from = 0; from <= name.length; ) {
    const slash = name.indexOf(0x2f, from);
    const part = name.subarray(from, slash < 0 ? name.length : slash);
    parts.push(
      isUtf8(part)
        ? part.toString()
        : Array.from(part, (byte) => String.fromCharCode(byte < 0x80 ? byte : 0xdc00 + byte)).join(""),
    );
    from = slash < 0 ? name.length + 1 : slash + 1;
  }
  return parts.join("/");
}

/** With `u`, half a pair only matches where it stands alone, which no text from UTF-8 has. */
const ESCAPED = /[\udc80-\udcff]/u;

function ustarName(block: Buffer): Buffer {
  const name = untilNul(block.subarray(0, 100));
  const prefix =
    block.toString("latin1", 257, 263) === "ustar\0" ? untilNul(block.subarray(345, 500)) : Buffer.alloc(0);
  return prefix.length === 0 ? name : Buffer.concat([prefix, Buffer.from("/"), name]);
}

function untilNul(bytes: Buffer): Buffer {
  const end = bytes.indexOf(0);
  return end < 0 ? bytes : bytes.subarray(0, end);
}
