/**
 * A number of slots; work waits, in turn, until as many as it takes are free. A parent gives its slot up while it waits for its
 * children, so none can starve.
 */
export class Slots {
  readonly #count: number;
  #free: number;
  readonly #waiting: { readonly taken: number; readonly begin: () => void }[] = [];

  constructor(count: number) {
    if (!Number.isSafeInteger(count) || count < 1)
      throw new TypeError(`concurrency must be a positive integer, not ${count}`);
    this.#count = count;
    this.#free = count;
  }

  /** Runs work that takes so many slots, or all of them where there are fewer. */
  async run<T>(work: () => Promise<T>, slots = 1): Promise<T> {
    const taken = Math.min(slots, this.#count);
    if (this.#waiting.length === 0 && this.#free >= taken) this.#free -= taken;
    else await new Promise<void>((begin) => this.#waiting.push({ taken, begin }));
    try {
      return await work();
    } finally {
      this.#free += taken;
      this.#admit();
    }
  }

  #admit(): void {
    for (let next = this.#waiting[0]; next !== undefined && next.taken <= this.#free; next = this.#waiting[0]) {
      this.#waiting.shift();
      this.#free -= next.taken;
      next.begin();
    }
  }
}

/** Waits for all, so that nothing is still being written when the first failure is reported. */
export async function allSettledOrThrow<T>(work: readonly Promise<T>[]): Promise<T[]> {
  return (await Promise.allSettled(work)).map((result) => {
    if (result.status === "rejected") throw result.reason;
    return result.value;
  });
}
