import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type FileHandle, open } from "node:fs/promises";
import { dirname } from "node:path";
import { type Pack, pack } from "tar-stream";
import type { Bytes } from "../content.js";
import { OciError, systemError } from "../model/errors.js";
import { inLargeChunks, removeFile, replaceFile, syncDirectory, writeFully } from "../store/files.js";

/**
 * A tar of regular files with fixed attributes, written to a file that gets its name when it is complete, or to stdout
 * (`-`). A failure while an entry is written leaves a tar that cannot be mended: then only `discard` makes sense, and
 * everything else fails with the first error.
 */
export class TarFile {
  readonly #path: string;
  readonly #temporary: string | undefined;
  readonly #handle: FileHandle | undefined;
  readonly #pack: Pack = pack();
  readonly #draining: Promise<void>;
  #failure: unknown;

  private constructor(path: string, temporary: string | undefined, handle: FileHandle | undefined) {
    this.#path = path;
    this.#temporary = temporary;
    this.#handle = handle;
    this.#draining = this.#drain();
    this.#draining.catch((error: unknown) => this.#fail(error));
  }

  static async create(path: string): Promise<TarFile> {
    if (path === "-") return new TarFile(path, undefined, undefined);
    const temporary = `${path}.${process.pid}-${randomBytes(4).toString("hex")}.partial`;
    try {
      return new TarFile(path, temporary, await open(temporary, "wx"));
    } catch (error) {
      throw systemError(error, `cannot write ${path}`);
    }
  }

  add(name: string, bytes: Uint8Array): Promise<void> {
    return this.addStream(name, bytes.byteLength, [bytes]);
  }

  async addStream(name: string, size: number, bytes: Bytes): Promise<void> {
    this.#check();
    // Every field is given: tar-stream would take the time from the clock.
    const entry = this.#pack.entry({
      name,
      size,
      mode: 0o644,
      mtime: new Date(0),
      uid: 0,
      gid: 0,
      uname: "",
      gname: "",
      type: "file",
    });
    entry.on("error", (error: unknown) => this.#fail(error));
    try {
      for await (const chunk of bytes) {
        if (!entry.write(chunk)) await Promise.race([once(entry, "drain"), this.#draining]);
        this.#check();
      }
      entry.end(undefined);
    } catch (error) {
      this.#fail(error);
      throw error;
    }
  }

  /** Ends the tar, waits until it is on the disk and gives it its name. */
  async finish(): Promise<void> {
    this.#check();
    this.#pack.finalize();
    await this.#draining;
    if (this.#handle === undefined || this.#temporary === undefined) return;
    try {
      await this.#handle.sync();
      await this.#handle.close();
      await replaceFile(this.#temporary, this.#path);
      await syncDirectory(dirname(this.#path));
    } catch (error) {
      throw systemError(error, `cannot write ${this.#path}`);
    }
  }

  async discard(): Promise<void> {
    this.#fail(new OciError("INVALID", `${this.#path} was given up`));
    await this.#draining.catch(() => {});
    await this.#handle?.close().catch(() => {});
    if (this.#temporary !== undefined) await removeFile(this.#temporary).catch(() => {});
  }

  async #drain(): Promise<void> {
    let position = 0;
    try {
      for await (const chunk of inLargeChunks(this.#pack as AsyncIterable<Uint8Array>)) {
        if (this.#handle !== undefined) await writeFully(this.#handle, chunk, position);
        else if (!process.stdout.write(chunk)) await once(process.stdout, "drain");
        position += chunk.byteLength;
      }
    } catch (error) {
      throw systemError(error, `cannot write ${this.#path}`);
    }
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#pack.destroy();
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}
