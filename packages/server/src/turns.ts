/** Lets some work go on together and other work only alone, in the order in which they came. */
export class Turns {
  /** Done when the last one that works alone is. */
  #alone: Promise<void> = Promise.resolve();
  /** Done when all that came since then are. */
  #together: Promise<unknown> = Promise.resolve();

  /** Waits for nobody but who works alone. */
  together<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#alone.then(work);
    this.#together = Promise.allSettled([this.#together, done]);
    return done;
  }

  /** Waits for all that came before; all that come after wait for it. */
  alone<T>(work: () => Promise<T>): Promise<T> {
    const before = Promise.allSettled([this.#alone, this.#together]);
    const done = before.then(work);
    this.#alone = done.then(
      () => {},
      () => {},
    );
    return done;
  }
}
