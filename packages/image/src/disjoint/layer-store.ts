import { createHash, randomBytes } from "node:crypto";
import { utimesSync } from "node:fs";
import { mkdir, readdir, readFile, rename, stat, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type Abortable,
  acquireLock,
  type Digest,
  digestAlgorithm,
  digestEncoded,
  isRunningByMark,
  OciError,
  processMark,
  systemError,
  systemErrorCode,
} from "@stowage/layout";
import type { FileWriterOptions } from "../unpack/file-writer.js";
import { removeTree } from "./remove-tree.js";
import { descriptionOf, readEntry, type StoreEntry } from "./store-entry.js";

/** What makes extracted files what they are: the layer, what it was held against, and who they are to belong to. */
export interface StoreKey {
  readonly diffId: Digest;
  readonly paths: readonly string[];
  readonly options: Pick<FileWriterOptions, "owners" | "xattrs">;
}

/** What {@link collectStore} removed. */
export interface StoreReport {
  /** The diff_ids of layers that are gone. */
  readonly removed: readonly Digest[];
  /** How many layers stay. */
  readonly kept: number;
  /** What processes left that died. */
  readonly leftovers: number;
  readonly dryRun: boolean;
}

/** The options of {@link collectStore}. */
export interface CollectStoreOptions extends Abortable {
  /** Remove what no image used for this long, in ms. Default: 30 days. */
  readonly unusedFor?: number | undefined;
  /** Only say what would be removed. Default: false. */
  readonly dryRun?: boolean | undefined;
}

const MARKER = "stowage-layers.json";
const DAY = 24 * 60 * 60_000;
/** A lease is renewed this often, in ms; one from elsewhere that is older than {@link SILENCE} counts for nothing. */
const RENEWAL = 60_000;
const SILENCE = 60 * 60_000;

/**
 * A directory of extracted layers, each by its diff_id, that images share. What is in it was verified when it was extracted and
 * came there by a rename: a process that dies leaves nothing that another would take for a layer. Any number of processes
 * may use it at once, also while it is collected: a lease says since when somebody does, and what was used since stays.
 */
export class LayerStore {
  readonly directory: string;
  #lease: { readonly path: string; readonly timer: NodeJS.Timeout } | undefined;

  private constructor(directory: string) {
    this.directory = directory;
  }

  /** Opens a store, which comes to be where there is nothing. Fails with `CONFLICT` where something else is there. */
  static async open(directory: string, options: { readonly create: boolean }): Promise<LayerStore> {
    try {
      // Programs of other users that gain rights by who owns them are not for everybody to start.
      if (options.create) await mkdir(directory, { recursive: true, mode: 0o700 });
      const marker = join(directory, MARKER);
      if (!(await exists(marker))) {
        const names = await readdir(directory);
        if (!options.create || names.some((name) => !name.startsWith(`${MARKER}.`)))
          throw new OciError("CONFLICT", `${directory} is no store of layers`, {
            hint: "Name a directory that is empty or does not exist for a new one.",
          });
        const temporary = `${marker}.${processMark}-${randomBytes(6).toString("hex")}`;
        await writeFile(temporary, '{"version":1}\n');
        await rename(temporary, marker);
      }
      const text = await readFile(marker, "utf8");
      if (text.trim() !== '{"version":1}')
        throw new OciError("UNSUPPORTED", `${directory} is a store of layers of another version`);
      for (const name of ["layers", "locks", "tmp", "leases"]) await mkdir(join(directory, name), { recursive: true });
    } catch (error) {
      throw systemError(error, `cannot open the store ${directory}`);
    }
    return new LayerStore(directory);
  }

  /** Says that these layers are in use from now until {@link release}, and finds those that are there. */
  async use(keys: readonly StoreKey[], options: Abortable): Promise<(StoreEntry | undefined)[]> {
    const lock = await acquireLock(join(this.directory, "lock"), options);
    try {
      const path = join(this.directory, "leases", `${processMark}-${randomBytes(6).toString("hex")}`);
      await writeFile(path, String(Date.now()));
      const timer = setInterval(() => touch(path), RENEWAL);
      timer.unref();
      this.#lease = { path, timer };
      await this.#removeLeftovers(false);
      const found: (StoreEntry | undefined)[] = [];
      // Under the lock: a collection sees that they were used, or they are gone.
      for (const key of keys) found.push(this.#find(key));
      return found;
    } finally {
      await lock.release();
    }
  }

  /** The layer, which `extract` puts into a directory where it is not there yet. Processes that want the same wait for one another. */
  async obtain(
    key: StoreKey,
    extract: (directory: string) => Promise<void>,
    options: Abortable,
  ): Promise<{ entry: StoreEntry; reused: boolean }> {
    const directory = this.#directoryOf(key);
    const lock = await acquireLock(join(this.directory, "locks", this.#nameOf(key)), options);
    try {
      if (readEntry(directory) !== undefined) {
        const found = await this.#findLocked(key, options);
        if (found !== undefined) return { entry: found, reused: true };
      }
      const temporary = this.#temporary();
      await mkdir(temporary);
      try {
        await extract(temporary);
        // What cannot be read any more is in the way.
        await this.#discard(directory);
        await rename(temporary, directory);
      } catch (error) {
        await removeTree(temporary);
        throw error;
      }
      return { entry: readEntry(directory) as StoreEntry, reused: false };
    } finally {
      await lock.release();
    }
  }

  /** Takes a layer out, since its files are not what they were. */
  async discard(key: StoreKey): Promise<void> {
    await this.#discard(this.#directoryOf(key));
  }

  /** Nothing is in use by this process any more. */
  async release(): Promise<void> {
    const lease = this.#lease;
    if (lease === undefined) return;
    this.#lease = undefined;
    clearInterval(lease.timer);
    await unlink(lease.path).catch(() => {});
  }

  /** Removes layers that were not used, and what dead processes left. */
  async collect(options: CollectStoreOptions): Promise<StoreReport> {
    const dryRun = options.dryRun ?? false;
    const removed: Digest[] = [];
    const trash: string[] = [];
    let kept = 0;
    const lock = await acquireLock(join(this.directory, "lock"), options);
    let leftovers: number;
    try {
      const oldest = await this.#oldestLease();
      const limit = Math.min(Date.now() - (options.unusedFor ?? 30 * DAY), oldest);
      leftovers = await this.#removeLeftovers(dryRun);
      for (const { directory, diffId } of await this.#all()) {
        const used = await stat(descriptionOf(directory)).catch(() => undefined);
        if (used !== undefined && used.mtimeMs >= limit) {
          kept++;
          continue;
        }
        removed.push(diffId);
        if (dryRun) continue;
        const temporary = this.#temporary();
        await rename(directory, temporary);
        trash.push(temporary);
      }
    } finally {
      await lock.release();
    }
    // Nobody has to wait for this.
    for (const directory of trash) await removeTree(directory);
    if (!dryRun) await this.#removeLocks(options);
    return { removed: [...new Set(removed)].sort(), kept, leftovers, dryRun };
  }

  #find(key: StoreKey): StoreEntry | undefined {
    const entry = readEntry(this.#directoryOf(key));
    if (entry !== undefined) touch(descriptionOf(entry.directory));
    return entry;
  }

  /** Somebody else has just put it there, and a collection may not know that it is in use. */
  async #findLocked(key: StoreKey, options: Abortable): Promise<StoreEntry | undefined> {
    const lock = await acquireLock(join(this.directory, "lock"), options);
    try {
      return this.#find(key);
    } finally {
      await lock.release();
    }
  }

  async #discard(directory: string): Promise<void> {
    const temporary = this.#temporary();
    try {
      await rename(directory, temporary);
    } catch (error) {
      if (systemErrorCode(error) === "ENOENT") return;
      throw error;
    }
    await removeTree(temporary);
  }

  #temporary(): string {
    return join(this.directory, "tmp", `${processMark}-${randomBytes(8).toString("hex")}`);
  }

  /** The same layer can be there for several owners, and held against several declarations. */
  #nameOf({ diffId, paths, options }: StoreKey): string {
    const { owners = process.getuid?.() === 0 ? "image" : "mine", xattrs = "skip" } = options;
    const who = owners === "mine" ? [process.getuid?.(), process.getgid?.()] : owners;
    const variant = createHash("sha256").update(JSON.stringify([1, paths, who, xattrs]));
    return `${digestAlgorithm(diffId)}-${digestEncoded(diffId)}-${variant.digest("hex").slice(0, 16)}`;
  }

  #directoryOf(key: StoreKey): string {
    return join(this.directory, "layers", this.#nameOf(key));
  }

  async #all(): Promise<{ directory: string; diffId: Digest }[]> {
    const layers = join(this.directory, "layers");
    return (await readdir(layers)).flatMap((name) => {
      const [algorithm, encoded, variant] = name.split("-");
      if (variant === undefined) return [];
      return [{ directory: join(layers, name), diffId: `${algorithm}:${encoded}` as Digest }];
    });
  }

  /** A lock whose owner died is taken over, and then given back. */
  async #removeLocks(options: Abortable): Promise<void> {
    for (const name of await readdir(join(this.directory, "locks"))) {
      const path = join(this.directory, "locks", name);
      const [, prepared] = name.split(".");
      if (prepared !== undefined) {
        if (isRunningByMark(prepared) === false) await removeTree(path);
      } else {
        const lock = await acquireLock(path, { ...options, timeout: 0 }).catch(() => undefined);
        await lock?.release();
      }
    }
  }

  /** Since when somebody uses the store, in ms since 1970. */
  async #oldestLease(): Promise<number> {
    let oldest = Number.POSITIVE_INFINITY;
    for (const name of await readdir(join(this.directory, "leases"))) {
      const path = join(this.directory, "leases", name);
      const status = await stat(path).catch(() => undefined);
      if (status === undefined || isDead(name, status.mtimeMs, SILENCE)) continue;
      oldest = Math.min(oldest, Number.parseInt(await readFile(path, "utf8"), 10) || 0);
    }
    return oldest;
  }

  async #removeLeftovers(dryRun: boolean): Promise<number> {
    let count = 0;
    for (const [kind, silence] of [
      ["tmp", DAY],
      ["leases", SILENCE],
    ] as const) {
      for (const name of await readdir(join(this.directory, kind))) {
        const path = join(this.directory, kind, name);
        const status = await stat(path).catch(() => undefined);
        if (status === undefined || !isDead(name, status.mtimeMs, silence)) continue;
        count++;
        if (!dryRun) await removeTree(path);
      }
    }
    return count;
  }
}

/** Removes what no image has used for a while from a store of layers. Fails with `CONFLICT` where the directory is none. */
export async function collectStore(directory: string, options: CollectStoreOptions = {}): Promise<StoreReport> {
  const store = await LayerStore.open(directory, { create: false });
  return store.collect(options);
}

/** A process that cannot be seen from here is judged by its silence. */
function isDead(name: string, time: number, silence: number): boolean {
  const running = isRunningByMark(name);
  return running === undefined ? Date.now() - time > silence : !running;
}

function touch(path: string): void {
  const now = new Date();
  try {
    utimesSync(path, now, now);
  } catch {
    // It is gone, or somebody else's.
  }
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
