import { setTimeout as sleep } from "node:timers/promises";
import { type Abortable, type Descriptor, type Digest, OciError } from "@stowage/layout";
import type { Retry } from "./http/retry.js";
import { aloneOnThisMachine } from "./machine-lock.js";
import type { ListRound } from "./referrers-tag.js";

/** How long a list has to stay as wanted before it is believed, in ms, and at most. */
const SETTLE = 500;
const MAXIMUM_SETTLE = 10_000;
/** The same as a multiple of the longest time that reading and writing the list took: others will need about as long. */
const SETTLE_FACTOR = 4;
/** How often a list that others change meanwhile is written again. */
const MAXIMUM_WRITES = 25;
/** The longest random wait before the second of them, in ms; it grows from one to the next. */
const WAIT = 50;
/** How long this process stands by what it put on a list, in ms. Later on, whoever takes it away means it. */
const MEMORY = 60_000;

/** The list that a {@link ReferrersWriter} writes. */
export interface WritableList {
  /** For messages. */
  readonly name: string;
  /** What is the same for all who write this list. */
  readonly key: string;
  readonly retry: Retry;
  /** Reads the list, and writes it where one of `wanted` or of `also` is missing. `also` counts only where there is a list. */
  round(wanted: readonly Descriptor[], also: readonly Descriptor[], signal: AbortSignal): Promise<ListRound>;
}

interface Waiter {
  readonly digest: Digest;
  readonly done: () => void;
  readonly failed: (error: unknown) => void;
}

/**
 * Puts entries on one list that others write as well, on a registry that replaces a list without asking what it was before.
 *
 * - All entries that are wanted at a time are written together.
 * - Writers on one machine take turns (a lock file in the directory for temporary files); writers in one process always do.
 * - A list is never sent again as it was: each attempt reads it anew, and sends `If-Match` where the registry gave an ETag.
 * - After writing, the list is read again, at random times, for half a second or four times as long as reading and writing it
 *   took, whichever is longer. Where entries are missing by then it was overwritten, and is written again, with all that ever
 *   was seen on it meanwhile: not only with this writer's entries, but also with those whose own writer may have ended. This
 *   goes on until nothing is missing for that time, 25 writes at most.
 * - Whatever this process added in the last minute is looked after each time.
 *
 * So an entry can only be lost to a writer whose single PUT takes more than four times as long as everybody else's reading and
 * writing, or to a program that does not look at what it overwrites, and then only if it comes when all who saw the entry have
 * ended. Pushing the referrer again mends that.
 */
export class ReferrersWriter {
  readonly #list: WritableList;
  /** What this process put on the list, and when that was confirmed last; undefined while it was not. */
  readonly #own = new Map<Digest, { readonly entry: Descriptor; confirmed: number | undefined }>();
  #waiters: Waiter[] = [];
  #running = false;
  #abort = new AbortController();
  /** The registry was seen to refuse a list because of If-Match: then nobody's entries are overwritten. */
  #conditional = false;

  constructor(list: WritableList) {
    this.#list = list;
  }

  /** Resolves when the entry has stayed on the list. Fails with `CONFLICT`, as a round does, and with the signal's reason. */
  add(entry: Descriptor, { signal }: Abortable): Promise<void> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const leave = (): void => waiter.failed(signal?.reason);
      const settle = (end: () => void): void => {
        signal?.removeEventListener("abort", leave);
        this.#waiters = this.#waiters.filter((other) => other !== waiter);
        if (this.#waiters.length === 0) this.#abort.abort();
        end();
      };
      const waiter: Waiter = {
        digest: entry.digest,
        done: () => settle(resolve),
        failed: (error) => {
          if (this.#own.get(entry.digest)?.confirmed === undefined) this.#own.delete(entry.digest);
          settle(() => reject(error));
        },
      };
      signal?.addEventListener("abort", leave, { once: true });
      this.#waiters.push(waiter);
      this.#own.set(entry.digest, { entry, confirmed: undefined });
      if (!this.#running) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#waiters.length > 0) {
      this.#abort = new AbortController();
      const { signal } = this.#abort;
      try {
        await this.#settle(signal);
      } catch (error) {
        // Those who wanted it have gone; whoever came since then starts anew.
        if (!signal.aborted) for (const waiter of [...this.#waiters]) waiter.failed(error);
      }
    }
    this.#running = false;
  }

  /** Writes and reads until all that is wanted has stayed on the list. */
  async #settle(signal: AbortSignal): Promise<void> {
    this.#forget();
    const seen = new Map<Digest, Descriptor>();
    let [writes, slowest, wroteAt] = [0, 0, Number.NEGATIVE_INFINITY];
    for (;;) {
      const wanted = [...this.#own.values()].map(({ entry }) => entry);
      const begin = performance.now();
      const round = await this.#round(wanted, [...seen.values()], signal);
      const now = performance.now();
      for (const entry of round.entries) seen.set(entry.digest, entry);
      for (const digest of round.gone) seen.delete(digest);
      if (round.outcome === "refused") this.#conditional = true;
      if (round.outcome !== "has") {
        if (++writes > MAXIMUM_WRITES) throw this.#conflict();
        slowest = Math.max(slowest, now - begin);
        wroteAt = now;
      }
      const settled = this.#conditional ? 0 : Math.min(MAXIMUM_SETTLE, Math.max(SETTLE, SETTLE_FACTOR * slowest));
      const left = wroteAt + settled - now;
      if (round.outcome === "has" && left <= 0) return this.#confirm(wanted);
      // Not in step with others who wait as well. The first look is early, to see an overwritten list before its writer ends.
      const pause = round.outcome === "has" ? left + Math.random() * WAIT : this.#pause(writes, slowest, settled);
      await sleep(pause, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }

  #pause(writes: number, slowest: number, settled: number): number {
    if (settled === 0) return Math.random() * WAIT;
    return Math.min(settled / 2, (0.5 + Math.random()) * (WAIT + slowest) * writes);
  }

  #round(wanted: readonly Descriptor[], also: readonly Descriptor[], signal: AbortSignal): Promise<ListRound> {
    const { retry, key } = this.#list;
    // Each try reads the list again, and waits for the next one without the lock.
    return retry.run(() => aloneOnThisMachine(key, () => this.#list.round(wanted, also, signal), { signal }), signal);
  }

  #confirm(entries: readonly Descriptor[]): void {
    const digests = new Set(entries.map(({ digest }) => digest));
    for (const [digest, own] of this.#own) if (digests.has(digest)) own.confirmed = performance.now();
    for (const waiter of [...this.#waiters]) if (digests.has(waiter.digest)) waiter.done();
  }

  #forget(): void {
    const before = performance.now() - MEMORY;
    for (const [digest, { confirmed }] of this.#own)
      if (confirmed !== undefined && confirmed < before) this.#own.delete(digest);
  }

  #conflict(): OciError {
    return new OciError("CONFLICT", `cannot keep referrers on the list ${this.#list.name}: others keep changing it`, {
      hint: "The referrers themselves were pushed. Run it again when nobody else pushes referrers of the same subject.",
    });
  }
}
