import { once } from "node:events";
import { type Pack, pack } from "tar-stream";
import type { Bytes } from "../content.js";
import { OciError } from "../model/errors.js";
import type { ArchiveWriter, Compressor } from "./archive-writer.js";
import { OutputFile } from "./output-file.js";

/** A tar of regular files with fixed attributes. */
export class TarFile implements ArchiveWriter {
  readonly #output: OutputFile;
  readonly #pack: Pack = pack();
  readonly #draining: Promise<void>;
  #failure: unknown;

  private constructor(output: OutputFile, compress: Compressor | undefined) {
    this.#output = output;
    this.#draining = this.#drain(compress);
    this.#draining.catch((error: unknown) => this.#fail(error));
  }

  /** Starts one at `path`; `-` is stdout. Fails as {@link OutputFile.create} does. */
  static async create(path: string, compress?: Compressor): Promise<TarFile> {
    return new TarFile(await OutputFile.create(path), compress);
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

  async finish(): Promise<void> {
    this.#check();
    this.#pack.finalize();
    await this.#draining;
    await this.#output.finish();
  }

  async discard(): Promise<void> {
    this.#fail(new OciError("INVALID", `${this.#output.path} was given up`));
    await this.#draining.catch(() => {});
    await this.#output.discard();
  }

  async #drain(compress: Compressor | undefined): Promise<void> {
    const bytes = this.#pack as AsyncIterable<Uint8Array>;
    for await (const chunk of compress === undefined ? bytes : compress(bytes)) await this.#output.write(chunk);
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
