import { crc32 } from "node:zlib";
import type { Bytes } from "../content.js";
import { OciError } from "../model/errors.js";
import type { ArchiveWriter } from "./archive-writer.js";
import { OutputFile } from "./output-file.js";

/** What no longer fits into 32 bits is written in the zip64 form. */
const LARGE = 0xffffffff;
/** The most entries without the zip64 form. */
const MANY = 0xffff;
/** The checksum comes after the content: where that goes to a pipe, nobody can go back. */
const CHECKSUM_FOLLOWS = 0x0008;
/** 1980-01-01, the first day there is. */
const DATE = 0x21;
/** A regular file that its owner writes and all read. */
const ATTRIBUTES = 0o100644 * 0x10000;
/** Made on Unix, by the rules of version 4.5, which has zip64. */
const MADE_BY = 0x32d;

interface Written {
  readonly name: Buffer;
  readonly size: number;
  readonly offset: number;
  readonly flags: number;
  readonly crc: number;
}

/**
 * A zip of regular files with fixed attributes, stored as they are: blobs are compressed already. The same files make the
 * same bytes. PKWARE APPNOTE 6.3.9.
 */
export class ZipFile implements ArchiveWriter {
  readonly #output: OutputFile;
  readonly #entries: Written[] = [];
  #failure: unknown;

  private constructor(output: OutputFile) {
    this.#output = output;
  }

  /** Starts one at `path`; `-` is stdout. Fails as {@link OutputFile.create} does. */
  static async create(path: string): Promise<ZipFile> {
    return new ZipFile(await OutputFile.create(path));
  }

  async add(name: string, bytes: Uint8Array): Promise<void> {
    const crc = crc32(bytes);
    await this.#entry(name, bytes.byteLength, 0, crc, async () => {
      await this.#output.write(bytes);
      return crc;
    });
  }

  async addStream(name: string, size: number, bytes: Bytes): Promise<void> {
    await this.#entry(name, size, CHECKSUM_FOLLOWS, 0, async () => {
      let crc = 0;
      for await (const chunk of bytes) {
        crc = crc32(chunk, crc);
        await this.#output.write(chunk);
      }
      await this.#output.write(descriptorOf(crc, size));
      return crc;
    });
  }

  async finish(): Promise<void> {
    this.#check();
    const start = this.#output.size;
    for (const entry of this.#entries) await this.#output.write(centralHeader(entry));
    await this.#output.write(endOf(this.#entries.length, start, this.#output.size - start));
    await this.#output.finish();
  }

  async discard(): Promise<void> {
    this.#failure ??= new OciError("INVALID", `${this.#output.path} was given up`);
    await this.#output.discard();
  }

  async #entry(name: string, size: number, flags: number, crc: number, write: () => Promise<number>): Promise<void> {
    this.#check();
    const entry = { name: Buffer.from(name), size, offset: this.#output.size, flags };
    try {
      await this.#output.write(localHeader({ ...entry, crc }));
      this.#entries.push({ ...entry, crc: await write() });
    } catch (error) {
      this.#failure ??= error;
      throw error;
    }
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}

/** Numbers in the order of bytes that a zip has, of 2, 4 or 8 bytes each. */
function fields(...values: readonly (readonly [size: 2 | 4 | 8, value: number])[]): Buffer {
  const buffer = Buffer.alloc(values.reduce((sum, [size]) => sum + size, 0));
  let at = 0;
  for (const [size, value] of values) {
    if (size === 2) buffer.writeUInt16LE(value, at);
    else if (size === 4) buffer.writeUInt32LE(value, at);
    else buffer.writeBigUInt64LE(BigInt(value), at);
    at += size;
  }
  return buffer;
}

function extra(values: readonly number[]): Buffer {
  if (values.length === 0) return Buffer.alloc(0);
  return fields([2, 1], [2, values.length * 8], ...values.map((value): [8, number] => [8, value]));
}

function localHeader({ name, size, flags, crc }: Written): Buffer {
  const large = size >= LARGE;
  const more = extra(large ? [size, size] : []);
  const shown = large ? LARGE : size;
  const head = fields(
    [4, 0x04034b50],
    [2, large ? 45 : 20],
    [2, flags],
    [2, 0],
    [2, 0],
    [2, DATE],
    [4, crc],
    [4, shown],
    [4, shown],
    [2, name.length],
    [2, more.length],
  );
  return Buffer.concat([head, name, more]);
}

function descriptorOf(crc: number, size: number): Buffer {
  const width = size >= LARGE ? 8 : 4;
  return fields([4, 0x08074b50], [4, crc], [width, size], [width, size]);
}

function centralHeader({ name, size, offset, flags, crc }: Written): Buffer {
  const largeSize = size >= LARGE;
  const largeOffset = offset >= LARGE;
  const more = extra([...(largeSize ? [size, size] : []), ...(largeOffset ? [offset] : [])]);
  const shown = largeSize ? LARGE : size;
  const head = fields(
    [4, 0x02014b50],
    [2, MADE_BY],
    [2, more.length > 0 ? 45 : 20],
    [2, flags],
    [2, 0],
    [2, 0],
    [2, DATE],
    [4, crc],
    [4, shown],
    [4, shown],
    [2, name.length],
    [2, more.length],
    [2, 0],
    [2, 0],
    [2, 0],
    [4, ATTRIBUTES],
    [4, largeOffset ? LARGE : offset],
  );
  return Buffer.concat([head, name, more]);
}

function endOf(count: number, start: number, size: number): Buffer {
  const large = count >= MANY || start >= LARGE || size >= LARGE;
  const end = fields(
    [4, 0x06054b50],
    [2, 0],
    [2, 0],
    [2, Math.min(count, MANY)],
    [2, Math.min(count, MANY)],
    [4, Math.min(size, LARGE)],
    [4, Math.min(start, LARGE)],
    [2, 0],
  );
  if (!large) return end;
  const record = fields(
    [4, 0x06064b50],
    [8, 44],
    [2, MADE_BY],
    [2, 45],
    [4, 0],
    [4, 0],
    [8, count],
    [8, count],
    [8, size],
    [8, start],
  );
  const locator = fields([4, 0x07064b50], [4, 0], [8, start + size], [4, 1]);
  return Buffer.concat([record, locator, end]);
}
