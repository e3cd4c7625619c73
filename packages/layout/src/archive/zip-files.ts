import type { FileHandle } from "node:fs/promises";
import { Readable } from "node:stream";
import * as yauzl from "yauzl";
import { OciError } from "../model/errors.js";
import { inLargeChunks, readRange } from "../store/files.js";
import type { ArchiveFiles } from "./archive-files.js";
import { normalizeName } from "./tar-files.js";

/** How many entries an archive may have. */
const MAXIMUM_ENTRIES = 1_000_000;

/** How many bytes of the directory are read at once. */
const WINDOW = 64 * 1024;

/** The files in a zip that is open: what a job of a pipeline uploads, and another one downloads. */
export class ZipFiles implements ArchiveFiles {
  readonly #handle: FileHandle;
  readonly #zip: yauzl.ZipFile;
  readonly #where: string;
  readonly #entries: ReadonlyMap<string, yauzl.Entry>;

  private constructor(
    handle: FileHandle,
    zip: yauzl.ZipFile,
    where: string,
    entries: ReadonlyMap<string, yauzl.Entry>,
  ) {
    this.#handle = handle;
    this.#zip = zip;
    this.#where = where;
    this.#entries = entries;
  }

  /**
   * Reads the directory of the zip. Fails with `INVALID` where it is damaged, with `UNSUPPORTED` where an entry is encrypted or
   * compressed in an unusual way; the handle is the caller's then.
   */
  static async open(handle: FileHandle, where: string): Promise<ZipFiles> {
    const { size } = await handle.stat();
    try {
      const zip = await yauzl.fromRandomAccessReaderPromise(new HandleReader(handle), size, {
        autoClose: false,
        strictFileNames: true,
      });
      if (zip.entryCount > MAXIMUM_ENTRIES)
        throw new OciError("LIMIT", `${where} has more than ${MAXIMUM_ENTRIES} entries`);
      const entries = new Map<string, yauzl.Entry>();
      for await (const entry of zip.eachEntry()) {
        if (entry.fileName.endsWith("/")) continue;
        if (!entry.canDecodeFileData())
          throw new OciError(
            "UNSUPPORTED",
            `${entry.fileName} in ${where} is encrypted, or compressed in an unknown way`,
          );
        const name = normalizeName(entry.fileName);
        // No tool makes such a zip, and readers take different ones of the two.
        if (entries.has(name)) throw new OciError("INVALID", `${where} has two files called ${name}`);
        entries.set(name, entry);
      }
      return new ZipFiles(handle, zip, where, entries);
    } catch (error) {
      throw asOciError(error, where);
    }
  }

  size(name: string): number | undefined {
    return this.#entries.get(name)?.uncompressedSize;
  }

  async *read(name: string, from = 0, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    const entry = this.#entries.get(name);
    if (entry === undefined) throw new TypeError(`no file ${name}`);
    let skip = from;
    let stream: Readable | undefined;
    try {
      stream = await this.#zip.openReadStreamPromise(entry);
      for await (const chunk of inLargeChunks(stream as AsyncIterable<Uint8Array>)) {
        signal?.throwIfAborted();
        // Compressed bytes can only be read from the beginning.
        if (skip < chunk.byteLength) yield skip === 0 ? chunk : chunk.subarray(skip);
        skip = Math.max(0, skip - chunk.byteLength);
      }
    } catch (error) {
      signal?.throwIfAborted();
      throw asOciError(error, `${name} in ${this.#where}`);
    } finally {
      stream?.destroy();
    }
  }

  async sameInAll(): Promise<boolean> {
    return true;
  }

  async close(): Promise<void> {
    this.#zip.close();
    await this.#handle.close();
  }
}

/** The zip library wants plain errors for what is wrong with the bytes, and names nothing. */
function asOciError(error: unknown, where: string): unknown {
  if (!(error instanceof Error) || error.name !== "Error") return error;
  return new OciError("INVALID", `${where} is not a readable zip: ${error.message}`, { cause: error });
}

/** Lets the zip library read where it wants to in a file that is open. */
class HandleReader extends yauzl.RandomAccessReader {
  readonly #handle: FileHandle;
  /** What was read last, and where it stands: the directory is read in pieces of a few bytes. */
  #window = Buffer.alloc(0);
  #start = 0;

  constructor(handle: FileHandle) {
    super();
    this.#handle = handle;
  }

  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null) => void,
  ): void {
    this.#read(length, position).then((bytes) => {
      bytes.copy(buffer, offset);
      callback(null);
    }, callback);
  }

  async #read(length: number, position: number): Promise<Buffer> {
    if (position < this.#start || position + length > this.#start + this.#window.length) {
      const window = Buffer.alloc(Math.max(length, WINDOW));
      const { bytesRead } = await this.#handle.read(window, 0, window.length, position);
      this.#window = window.subarray(0, bytesRead);
      this.#start = position;
    }
    const bytes = this.#window.subarray(position - this.#start, position - this.#start + length);
    if (bytes.length < length) throw new Error("unexpected end of the file");
    return bytes;
  }

  override _readStreamForRange(start: number, end: number): Readable {
    return Readable.from(readRange(this.#handle, start, undefined, end), { objectMode: false });
  }

  override close(callback: (error: Error | null) => void): void {
    callback(null);
  }
}
