import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type FileHandle, open } from "node:fs/promises";
import { dirname } from "node:path";
import { systemError } from "../model/errors.js";
import { CHUNK_SIZE, removeFile, replaceFile, syncDirectory, writeFully } from "../store/files.js";

/** Chunks below this many bytes are written together. */
const SMALL = CHUNK_SIZE / 2;

/** A file that gets its name when it is complete, or stdout (`-`). What was there under that name stays until then. */
export class OutputFile {
  readonly path: string;
  readonly #temporary: string | undefined;
  readonly #handle: FileHandle | undefined;
  #gathered: Uint8Array[] = [];
  #waiting = 0;
  #size = 0;
  #position = 0;

  private constructor(path: string, temporary?: string, handle?: FileHandle) {
    this.path = path;
    this.#temporary = temporary;
    this.#handle = handle;
  }

  /** Fails with `NOT_FOUND` or `DENIED` where its directory cannot be written to. */
  static async create(path: string): Promise<OutputFile> {
    if (path === "-") return new OutputFile(path);
    const temporary = `${path}.${process.pid}-${randomBytes(4).toString("hex")}.partial`;
    try {
      return new OutputFile(path, temporary, await open(temporary, "wx"));
    } catch (error) {
      throw systemError(error, `cannot write ${path}`);
    }
  }

  /** The bytes written so far. */
  get size(): number {
    return this.#size;
  }

  /** Small chunks are gathered. */
  async write(chunk: Uint8Array): Promise<void> {
    this.#size += chunk.byteLength;
    if (chunk.byteLength >= SMALL) {
      await this.#flush();
      await this.#store(chunk);
      return;
    }
    this.#gathered.push(chunk);
    this.#waiting += chunk.byteLength;
    if (this.#waiting >= CHUNK_SIZE) await this.#flush();
  }

  /** Waits until it is on the disk and gives it its name. */
  async finish(): Promise<void> {
    await this.#flush();
    if (this.#handle === undefined || this.#temporary === undefined) return;
    try {
      await this.#handle.sync();
      await this.#handle.close();
      await replaceFile(this.#temporary, this.path);
      await syncDirectory(dirname(this.path));
    } catch (error) {
      throw systemError(error, `cannot write ${this.path}`);
    }
  }

  /** Closes and removes it. */
  async discard(): Promise<void> {
    await this.#handle?.close().catch(() => {});
    if (this.#temporary !== undefined) await removeFile(this.#temporary).catch(() => {});
  }

  async #flush(): Promise<void> {
    if (this.#waiting === 0) return;
    const bytes = Buffer.concat(this.#gathered, this.#waiting);
    this.#gathered = [];
    this.#waiting = 0;
    await this.#store(bytes);
  }

  async #store(bytes: Uint8Array): Promise<void> {
    try {
      if (this.#handle !== undefined) await writeFully(this.#handle, bytes, this.#position);
      else if (!process.stdout.write(bytes)) await once(process.stdout, "drain");
    } catch (error) {
      throw systemError(error, `cannot write ${this.path}`);
    }
    this.#position += bytes.byteLength;
  }
}
