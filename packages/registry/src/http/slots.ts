/**
 * How many requests to one host may be under way at the same time. The number halves when the host says that it gets too many, and
 * grows by one again each time as many as are allowed went well.
 */
export class Slots {
  readonly #maximum: number;
  #allowed: number;
  #taken = 0;
  #good = 0;
  /** Counts the halvings: of the requests that were under way at one, only the first to be refused counts. */
  #round = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(maximum: number) {
    this.#maximum = Math.max(1, maximum);
    this.#allowed = this.#maximum;
  }

  /** How many may be under way now. */
  get allowed(): number {
    return this.#allowed;
  }

  /** Runs `action` when there is room. `isTooMuch` tells from its result whether the host gets too many requests. Fails as `action` does, and with the signal's reason. */
  async run<T>(action: () => Promise<T>, isTooMuch: (result: T) => boolean, signal?: AbortSignal): Promise<T> {
    await this.#take(signal);
    const round = this.#round;
    try {
      const result = await action();
      if (!isTooMuch(result)) this.#grow();
      else if (round === this.#round) this.#halve();
      return result;
    } finally {
      this.#taken--;
      this.#admit();
    }
  }

  async #take(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (this.#taken < this.#allowed && this.#waiting.length === 0) {
      this.#taken++;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const admitted = (): void => {
        signal?.removeEventListener("abort", aborted);
        this.#taken++;
        resolve();
      };
      const aborted = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(admitted), 1);
        reject(signal?.reason);
      };
      this.#waiting.push(admitted);
      signal?.addEventListener("abort", aborted, { once: true });
    });
  }

  #admit(): void {
    while (this.#taken < this.#allowed) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      next();
    }
  }

  #halve(): void {
    this.#allowed = Math.max(1, Math.floor(this.#allowed / 2));
    this.#good = 0;
    this.#round++;
  }

  #grow(): void {
    if (this.#allowed === this.#maximum || ++this.#good < this.#allowed) return;
    this.#good = 0;
    this.#allowed++;
  }
}
