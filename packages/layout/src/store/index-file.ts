import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Abortable } from "../content.js";
import { isOciError, OciError, systemError } from "../model/errors.js";
import type { BlobDirectory } from "./blobs.js";
import type { IndexBytes, ReadManifestOf } from "./derive.js";
import { type DerivedFile, WORTHWHILE } from "./derived-file.js";
import { fileStamp } from "./file-stamp.js";
import { readSmallFile, removeFile, replaceFile, syncDirectory, writeNewFile } from "./files.js";
import { type Edited, IndexEdit, WholeNeeded } from "./index-edit.js";
import { checkIndex, type LayoutIndex, MAXIMUM_INDEX_SIZE } from "./index-json.js";
import type { IndexChange } from "./indexed-target.js";
import { LayoutLock } from "./layout-lock.js";
import { DEFAULT_TIMEOUT, type Lock } from "./lock.js";
import { processMark } from "./process.js";
import { readIndex } from "./read-index.js";

/** How many manifests a change reads for the sake of later searches. */
const FEW_READS = 64;

/** The options of {@link IndexFile.update}. */
export interface UpdateOptions extends Abortable {
  /** How long the change waits for another process that changes the layout, in ms. Default: ten minutes. */
  readonly timeout?: number | undefined;
  /** The names and digests whose entries the change depends on. Default: it is told the whole index. */
  readonly references?: readonly string[] | undefined;
}

interface Waiting extends UpdateOptions {
  readonly change: IndexChange;
  /** Told the whole index, or undefined where it was changed in part. */
  readonly resolve: (index: LayoutIndex | undefined) => void;
  readonly reject: (reason: unknown) => void;
  /** By `Date.now`. */
  readonly deadline: number;
}

/**
 * The file `index.json`. It is only ever replaced whole, by a process that holds the lock, with a file that has reached
 * the disk. Changes that arrive in one process while another holds the lock go in together, as one replacement.
 */
export class IndexFile {
  readonly lock: LayoutLock;
  readonly #root: string;
  readonly #blobs: BlobDirectory;
  readonly #derived: DerivedFile;
  readonly #manifest: ReadManifestOf;
  /** What was read or written last. The stamp is there where it proves that the file is still the same. */
  #cached: { readonly stamp: string | undefined; readonly bytes: Uint8Array; readonly index: LayoutIndex } | undefined;
  #waiting: Waiting[] = [];
  /** Ends the wait for the lock where nobody is left who wants it. */
  #abandon = new AbortController();
  #draining = false;

  /** `blobs` tells the type of what an entry names without one, and `manifest` what a new entry leads to. */
  constructor(root: string, blobs: BlobDirectory, derived: DerivedFile, manifest: ReadManifestOf) {
    this.lock = new LayoutLock(blobs);
    this.#root = root;
    this.#blobs = blobs;
    this.#derived = derived;
    this.#manifest = manifest;
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
        const index = same
          ? cached.index
          : await readIndex(bytes, this.path, { fetch: (one) => this.#blobs.read(one) });
        this.#cached = { stamp, bytes, index };
        return this.#cached;
      } catch (error) {
        if (attempt >= 5 || !isOciError(error, "INVALID")) throw error;
        await sleep(attempt * 10);
      }
    }
  }

  /**
   * Applies `change` under the lock, to the whole index, or to the entries that it depends on where they can be told. Where
   * it fails, the file stays as it is. Returns the index as it is then, or undefined where the change was told a part of it.
   */
  update(change: IndexChange, options: UpdateOptions): Promise<LayoutIndex | undefined> {
    const { signal } = options;
    this.lock.checkNotHeld();
    let giveUp = (): void => {};
    const changed = new Promise<LayoutIndex | undefined>((resolve, reject) => {
      const deadline = Date.now() + (options.timeout ?? DEFAULT_TIMEOUT);
      const one = { ...options, change, resolve, reject, deadline };
      giveUp = () => this.#giveUp(one, signal?.reason);
      this.#waiting.push(one);
      signal?.addEventListener("abort", giveUp);
      if (!this.#draining) void this.#drain();
    });
    return changed.finally(() => signal?.removeEventListener("abort", giveUp));
  }

  /** Only as long as it waits: a change that is being made is made to its end. */
  #giveUp(one: Waiting, reason: unknown): void {
    if (!this.#waiting.includes(one)) return;
    this.#waiting = this.#waiting.filter((other) => other !== one);
    one.reject(reason);
    if (this.#waiting.length === 0) this.#abandon.abort();
  }

  async #drain(): Promise<void> {
    this.#draining = true;
    while (this.#waiting.length > 0) {
      let group: Waiting[] = [];
      this.#abandon = new AbortController();
      try {
        const answer = await this.lock.run(
          async (lock) => {
            group = this.#waiting;
            this.#waiting = [];
            return this.#apply(group, lock);
          },
          {
            signal: this.#abandon.signal,
            timeout: Number.POSITIVE_INFINITY,
            onWait: (conflict) => {
              for (const one of this.#waiting) if (Date.now() > one.deadline) this.#giveUp(one, conflict());
            },
          },
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
    return (await this.#applyInPart(group, lock)) ?? this.#applyToWhole(group, lock);
  }

  async #applyToWhole(group: readonly Waiting[], lock: Lock): Promise<() => void> {
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

  /** As {@link #applyToWhole}, for changes that depend on few entries; undefined, and nothing done, where the whole index is needed. */
  async #applyInPart(group: readonly Waiting[], lock: Lock): Promise<(() => void) | undefined> {
    if (!group.every(({ references }) => references !== undefined)) return undefined;
    const whole = await this.#derived.whole().catch(() => undefined);
    if (whole === undefined) return undefined;
    const edit = new IndexEdit(whole.index, whole.bytes);
    const answers: (() => void)[] = [];
    try {
      for (const { change, references = [], resolve, reject, signal } of group) {
        try {
          signal?.throwIfAborted();
          await edit.apply(references, change);
          answers.push(() => resolve(undefined));
        } catch (error) {
          if (error instanceof WholeNeeded) throw error;
          answers.push(() => reject(error));
        }
      }
      const edited = edit.isEmpty ? undefined : await edit.edited(this.#manifest);
      if (edited !== undefined) await this.#replaceEdited(edited, lock);
    } catch (error) {
      if (error instanceof WholeNeeded) return undefined;
      return () => {
        for (const { reject } of group) reject(error);
      };
    }
    return () => {
      for (const answer of answers) answer();
    };
  }

  async #replaceEdited(edited: Edited, lock: Lock): Promise<void> {
    const hash = createHash("sha256");
    await this.#replaceBy(lock, async (handle) => {
      for (const bytes of edited.bytes) await handle.writeFile(bytes);
      const synced = handle.sync();
      synced.catch(() => {});
      for (const bytes of edited.bytes) hash.update(bytes);
      await synced;
    });
    this.#cached = undefined;
    const derived = await edited.derive(hash.digest("hex"));
    if (derived !== undefined) await this.#derived.save(derived);
  }

  /** Writes the file anew. The caller holds the lock. */
  async #replace(index: LayoutIndex, lock: Lock): Promise<void> {
    const bytes = Buffer.from(JSON.stringify(index));
    await this.#replaceBy(lock, async (handle) => {
      await handle.writeFile(bytes);
      await handle.sync();
    });
    this.#cached = { stamp: undefined, bytes, index };
    // So that the next change need not read all of it.
    if (index.manifests.length >= WORTHWHILE) await this.#derived.derive(this.#cached, { maximumReads: FEW_READS });
  }

  async #replaceBy(lock: Lock, write: (handle: FileHandle) => Promise<void>): Promise<void> {
    const temporary = join(this.#blobs.ingest, `index.json.${processMark}-${Date.now()}`);
    try {
      await writeNewFile(temporary, write);
      if (!(await lock.held())) {
        throw new OciError(
          "CONFLICT",
          `cannot replace ${this.path}: another process took over the lock of this one, which had been silent too long`,
        );
      }
      await replaceFile(temporary, this.path);
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
