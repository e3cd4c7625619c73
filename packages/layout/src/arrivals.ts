import type { Presence } from "./content.js";
import type { Descriptor } from "./model/descriptor.js";
import { visitKey } from "./walk.js";

/** What several copies into one target share, so that content they have in common moves once. */
export class Arrivals {
  /** True where it arrived. */
  readonly #brought = new Map<string, Promise<boolean>>();

  /** Runs `push` for whoever brings the content first. The others wait for it, and find the content present; where it failed, the next one tries. */
  async bring(descriptor: Descriptor, push: () => Promise<Presence>): Promise<Presence> {
    const key = visitKey(descriptor);
    for (let other = this.#brought.get(key); other !== undefined; other = this.#brought.get(key)) {
      if (await other) return "present";
      if (this.#brought.get(key) === other) this.#brought.delete(key);
    }
    const work = push();
    this.#brought.set(
      key,
      work.then(
        () => true,
        () => false,
      ),
    );
    return work;
  }
}
