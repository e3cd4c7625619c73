import { AsyncLocalStorage } from "node:async_hooks";
import type { BlobDirectory } from "./blobs.js";
import { acquireLock, type Lock, type LockOptions } from "./lock.js";
import { restoreTaken } from "./sweep.js";

interface Held {
  readonly lock: LayoutLock;
  /** What this runs within. */
  readonly outer: Held | undefined;
  ended: boolean;
}

/** What runs under the lock of a layout in this process, as seen from within. */
const holding = new AsyncLocalStorage<Held>();
/** How many run. */
let running = 0;

/** The lock under which the index.json of a layout is replaced, and its content removed. */
export class LayoutLock {
  readonly #blobs: BlobDirectory;

  constructor(blobs: BlobDirectory) {
    this.#blobs = blobs;
  }

  /** Runs `action` while no other process, and nothing else in this one, changes the layout. Fails as {@link acquireLock} and {@link checkNotHeld} do. */
  async run<T>(action: (lock: Lock) => Promise<T>, options: LockOptions = {}): Promise<T> {
    this.checkNotHeld();
    const lock = await acquireLock(this.#blobs.lock, options);
    const held: Held = { lock: this, outer: holding.getStore(), ended: false };
    running++;
    try {
      if (lock.inherited) await restoreTaken(this.#blobs);
      return await holding.run(held, () => action(lock));
    } finally {
      held.ended = true;
      // Otherwise Node would follow every promise of a server for good, which costs each request some microseconds.
      if (--running === 0) holding.disable();
      await lock.release();
    }
  }

  /** Fails with a `TypeError` within what runs under the lock: it would wait for what waits for it. */
  checkNotHeld(): void {
    for (let held = holding.getStore(); held !== undefined; held = held.outer) {
      if (held.lock === this && !held.ended)
        throw new TypeError(
          `the layout ${this.#blobs.root} was to be changed within a change of it, which has to end first`,
        );
    }
  }
}
