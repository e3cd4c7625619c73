import { open } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Abortable, Source } from "../content.js";
import { isOciError, OciError, systemError } from "../model/errors.js";
import type { IndexBytes } from "./derived-file.js";
import { fileStamp } from "./file-stamp.js";
import { readSmallFile, removeFile, replaceFile, syncDirectory } from "./files.js";
import { checkIndex, type LayoutIndex, MAXIMUM_INDEX_SIZE } from "./index-json.js";
import type { IndexChange } from "./indexed-target.js";
import { acquireLock, type Lock, type LockOptions } from "./lock.js";
import { processMark } from "./process.js";
import { readIndex } from "./read-index.js";

interface Waiting {
  readonly change: IndexChange;
  readonly signal: AbortSignal | undefined;
  readonly resolve: (index: LayoutIndex) => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * The file `index.json`. It is only ever replaced whole, by a process that holds the lock, with a file that has reached
 * the disk. Changes that arrive in one process while another holds the lock go in together, as one replacement.
 */
export class IndexFile {
  readonly #root: string;
  readonly #ingest: string;
  readonly #blobs: Pick<Source, "fetch">;
  readonly #lockTimeout: number | undefined;
  /** What was read or written last. The stamp is there where it proves that the file is still the same. */
  #cached: { readonly stamp: string | undefined; readonly bytes: Uint8Array; readonly index: LayoutIndex } | undefined;
  #waiting: Waiting[] = [];
  /** Ends the wait for the lock where nobody is left who wants it. */
  #abandon = new AbortController();
  #draining = false;

  /** `blobs` tells the type of what an entry names without one. */
  constructor(root: string, ingest: string, blobs: Pick<Source, "fetch">, lockTimeout: number | undefined) {
    this.#root = root;
    this.#ingest = ingest;
    this.#blobs = blobs;
    this.#lockTimeout = lockTimeout;
  }

  get path(): string {
    return join(this.#root, "index.json");
  }

  /** The index as it stands. */
  async read(): Promise<LayoutIndex> {
    return (await this.readBytes()).index;
  }

  /** The index as it stands, with its bytes. Other tools write the file in place, so half a file is read again for a moment before it counts as broken. */
  async readBytes(): Promise<IndexBytes> {
    for (let attempt = 1; ; attempt++) {
      try {
        const stamp = await this.#stamp();
        const cached = this.#cached;
        if (stamp !== undefined && cached?.stamp === stamp) return cached;
        const bytes = await readSmallFile(this.path, MAXIMUM_INDEX_SIZE);
        const same = cached !== undefined && Buffer.compare(cached.bytes, bytes) === 0;
        const index = same ? cached.index : await readIndex(bytes, this.path, this.#blobs);
        this.#cached = { stamp, bytes, index };
        return this.#cached;
      } catch (error) {
        if (attempt >= 5 || !isOciError(error, "INVALID")) throw error;
        await sleep(attempt * 10);
      }
    }
  }

  /** Applies `change` under the lock. Where it fails, the file stays as it is. */
  update(change: IndexChange, options: Abortable): Promise<LayoutIndex> {
    const { signal } = options;
    let giveUp = (): void => {};
    const changed = new Promise<LayoutIndex>((resolve, reject) => {
      const one = { change, signal, resolve, reject };
      giveUp = () => this.#giveUp(one);
      this.#waiting.push(one);
      signal?.addEventListener("abort", giveUp);
      if (!this.#draining) void this.#drain();
    });
    return changed.finally(() => signal?.removeEventListener("abort", giveUp));
  }

  /** Only as long as it waits: a change that is being made is made to its end. */
  #giveUp(one: Waiting): void {
    if (!this.#waiting.includes(one)) return;
    this.#waiting = this.#waiting.filter((other) => other !== one);
    one.reject(one.signal?.reason);
    if (this.#waiting.length === 0) this.#abandon.abort();
  }

  /** Runs `action` while no other process changes the layout. */
  async locked<T>(action: (lock: Lock) => Promise<T>, options: LockOptions = {}): Promise<T> {
    const lock = await acquireLock(join(this.#ingest, "lock"), { timeout: this.#lockTimeout, ...options });
    try {
      return await action(lock);
    } finally {
      await lock.release();
    }
  }

  async #drain(): Promise<void> {
    this.#draining = true;
    while (this.#waiting.length > 0) {
      let group: Waiting[] = [];
      this.#abandon = new AbortController();
      try {
        const answer = await this.locked(
          async (lock) => {
            group = this.#waiting;
            this.#waiting = [];
            return this.#apply(group, lock);
          },
          { signal: this.#abandon.signal },
        );
        // Not before the lock is given back: a process may end as soon as it has its answer.
        answer();
      } catch (error) {
        // Those who come after all the others gave up have not waited yet.
        if (group.length === 0 && this.#abandon.signal.aborted) continue;
        // Without the lock nothing was tried, for nobody.
        if (group.length === 0) [group, this.#waiting] = [this.#waiting, []];
        for (const { reject } of group) reject(error);
      }
    }
    this.#draining = false;
  }

  /** Makes the changes of a group, as one replacement. Returns the function that answers those whose changes went in. */
  async #apply(group: readonly Waiting[], lock: Lock): Promise<() => void> {
    const before = await this.read();
    let after = before;
    const done: Waiting[] = [];
    for (const one of group) {
      try {
        one.signal?.throwIfAborted();
        const changed = await one.change(after);
        if (changed !== after) after = checkIndex(changed, `the new ${this.path}`, after);
        done.push(one);
      } catch (error) {
        one.reject(error);
      }
    }
    try {
      if (after !== before) await this.#replace(after, lock);
    } catch (error) {
      return () => {
        for (const { reject } of done) reject(error);
      };
    }
    return () => {
      for (const { resolve } of done) resolve(after);
    };
  }

  /** Writes the file anew. The caller holds the lock. */
  async #replace(index: LayoutIndex, lock: Lock): Promise<void> {
    const temporary = join(this.#ingest, `index.json.${processMark}-${Date.now()}`);
    try {
      const bytes = Buffer.from(JSON.stringify(index));
      await writeSynced(temporary, bytes);
      if (!(await lock.held())) {
        throw new OciError(
          "CONFLICT",
          `cannot replace ${this.path}: another process took over the lock of this one, which had been silent too long`,
        );
      }
      await replaceFile(temporary, this.path);
      this.#cached = { stamp: undefined, bytes, index };
      await syncDirectory(this.#root);
    } catch (error) {
      await removeFile(temporary).catch(() => {});
      throw systemError(error, `cannot write ${this.path}`);
    }
  }

  /** What changes whenever the file does, or undefined where it changed so lately that another change might not show. */
  async #stamp(): Promise<string | undefined> {
    try {
      return await fileStamp(this.path, true);
    } catch (error) {
      throw systemError(error, `cannot read ${this.path}`);
    }
  }
}

/** Writes a new file and waits until it is on the disk. */
export async function writeSynced(path: string, bytes: Uint8Array): Promise<void> {
  const handle = await open(path, "w");
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
