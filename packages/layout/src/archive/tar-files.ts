import type { FileHandle } from "node:fs/promises";
import { posix } from "node:path";
import { isOciError, OciError } from "../model/errors.js";
import { readRange } from "../store/files.js";
import type { ArchiveFiles } from "./archive-files.js";
import { readTarEntries, type TarEntry } from "./tar-reader.js";

/** How many links may be followed from one name to another inside an archive. */
const MAXIMUM_LINKS = 16;

/** The files in a tar that is open. Where a name stands twice, the last one counts, as it does when a tar is unpacked. */
export class TarFiles implements ArchiveFiles {
  readonly #handle: FileHandle;
  readonly #entries: ReadonlyMap<string, TarEntry>;

  private constructor(handle: FileHandle, entries: ReadonlyMap<string, TarEntry>) {
    this.#handle = handle;
    this.#entries = entries;
  }

  /**
   * As {@link open}, for a tar that may be damaged: what stands before the damage is there, and `problem` says what follows. The
   * handle is closed with the files.
   */
  static async openDamaged(handle: FileHandle, where: string): Promise<{ files: TarFiles; problem?: OciError }> {
    const entries = new Map<string, TarEntry>();
    const files = new TarFiles(handle, entries);
    try {
      for await (const entry of readTarEntries(handle, where)) entries.set(normalizeName(entry.name), entry);
    } catch (error) {
      if (!isOciError(error)) throw error;
      return { files, problem: error };
    }
    return { files };
  }

  /** Reads the headers of the tar. Fails with `INVALID` where it is none, and as {@link readTarEntries} does; the handle is the caller's then. */
  static async open(handle: FileHandle, where: string): Promise<TarFiles> {
    const entries = new Map<string, TarEntry>();
    for await (const entry of readTarEntries(handle, where)) entries.set(normalizeName(entry.name), entry);
    return new TarFiles(handle, entries);
  }

  size(name: string): number | undefined {
    return this.#find(name)?.size;
  }

  async *read(name: string, from = 0, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    const entry = this.#find(name);
    if (entry === undefined) throw new TypeError(`no file ${name}`);
    yield* readRange(this.#handle, entry.offset + from, signal, entry.offset + entry.size);
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  /** Some writers store a layer once and link to it. Only names inside the archive are looked up, so a link leads nowhere else. */
  #find(name: string): TarEntry | undefined {
    let entry = this.#entries.get(name);
    for (let links = 0; entry?.link !== undefined; links++) {
      if (links === MAXIMUM_LINKS) throw new OciError("LIMIT", `the links from ${name} do not end`);
      const { target, symbolic } = entry.link;
      entry = this.#entries.get(normalizeName(symbolic ? posix.join(posix.dirname(entry.name), target) : target));
    }
    return entry;
  }
}

/** The name without `./`, `a/../` and the like. */
export function normalizeName(name: string): string {
  return posix.normalize(name).replace(/^\.\//, "");
}
