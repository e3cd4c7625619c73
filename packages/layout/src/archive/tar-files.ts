import type { FileHandle } from "node:fs/promises";
import { posix } from "node:path";
import { isOciError, OciError } from "../model/errors.js";
import { collect } from "../model/verified.js";
import { readRange } from "../store/files.js";
import type { ArchiveFiles } from "./archive-files.js";
import { readTarEntries, type TarEntry } from "./tar-reader.js";

/** How many links may be followed from one name to another inside an archive. */
const MAXIMUM_LINKS = 16;

/**
 * The files in a tar that is open. Where a name stands twice, the last one counts, as it does when a tar is unpacked; what
 * readers could take differently because of that, {@link sameInAll} tells.
 */
export class TarFiles implements ArchiveFiles {
  readonly #handle: FileHandle;
  readonly #entries = new Map<string, TarEntry>();
  /** What stood under a name before, for names that stand more than once. */
  readonly #earlier = new Map<string, TarEntry[]>();

  private constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  /**
   * As {@link open}, for a tar that may be damaged: what stands before the damage is there, and `problem` says what follows. The
   * handle is closed with the files.
   */
  static async openDamaged(handle: FileHandle, where: string): Promise<{ files: TarFiles; problem?: OciError }> {
    const files = new TarFiles(handle);
    try {
      await files.#read(where);
    } catch (error) {
      if (!isOciError(error)) throw error;
      return { files, problem: error };
    }
    return { files };
  }

  /**
   * Reads the headers of the tar. Fails with `INVALID` where it is none, with `DENIED` where a name leads out of it, and as
   * {@link readTarEntries} does; the handle is the caller's then.
   */
  static async open(handle: FileHandle, where: string): Promise<TarFiles> {
    const files = new TarFiles(handle);
    await files.#read(where);
    return files;
  }

  size(name: string): number | undefined {
    return this.#find(name)?.size;
  }

  async *read(name: string, from = 0, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    const entry = this.#find(name);
    if (entry === undefined) throw new TypeError(`no file ${name}`);
    yield* this.#bytes(entry, from, signal);
  }

  async sameInAll(name: string, bytes: Uint8Array): Promise<boolean> {
    for (const entry of this.#earlier.get(normalizeName(name)) ?? []) {
      const other = this.#follow(entry, name);
      if (other?.size !== bytes.byteLength) return false;
      const content = await collect(this.#bytes(other), bytes.byteLength);
      if (Buffer.compare(content, bytes) !== 0) return false;
    }
    return true;
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  async #read(where: string): Promise<void> {
    for await (const entry of readTarEntries(this.#handle, where)) {
      const name = normalizeName(entry.name);
      if (leadsOut(name))
        throw new OciError(
          "DENIED",
          `${where} has an entry that leads out of it: ${JSON.stringify(entry.name.slice(0, 200))}`,
        );
      const before = this.#entries.get(name);
      if (before !== undefined) this.#earlier.set(name, [...(this.#earlier.get(name) ?? []), before]);
      this.#entries.set(name, entry);
    }
  }

  #bytes(entry: TarEntry, from = 0, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    return readRange(this.#handle, entry.offset + from, signal, entry.offset + entry.size);
  }

  #find(name: string): TarEntry | undefined {
    return this.#follow(this.#entries.get(name), name);
  }

  /** Some writers store a layer once and link to it. Only names inside the archive are looked up, so a link leads nowhere else. */
  #follow(start: TarEntry | undefined, name: string): TarEntry | undefined {
    let entry = start;
    for (let links = 0; entry?.link !== undefined; links++) {
      if (links === MAXIMUM_LINKS) throw new OciError("LIMIT", `the links from ${name} do not end`);
      const { target, symbolic } = entry.link;
      const next = normalizeName(symbolic ? posix.join(posix.dirname(entry.name), target) : target);
      if (leadsOut(next) || target.startsWith("/"))
        throw new OciError(
          "DENIED",
          `${name} is a link that leads out of the archive, to ${JSON.stringify(target.slice(0, 200))}`,
        );
      entry = this.#entries.get(next);
    }
    return entry;
  }
}

function leadsOut(name: string): boolean {
  return name.startsWith("/") || name === ".." || name.startsWith("../");
}

/** The name without `./`, `a/../` and the like. */
export function normalizeName(name: string): string {
  return posix.normalize(name).replace(/^\.\//, "");
}
