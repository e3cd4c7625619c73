import type { Presence } from "./content.js";
import type { Descriptor } from "./model/descriptor.js";
import { visitKey } from "./walk.js";

/** What several copies into one target share, so that content they have in common moves once. */
export class Arrivals {
  /** True where it arrived. */
  readonly #brought = new Map<string, Promise<boolean>>();
  /** The same for manifests with all below them. */
  readonly #whole = new Map<string, Promise<boolean>>();

  /** Runs `push` for whoever brings the content first. The others wait for it, and find the content present; where it failed, the next one tries. */
  async bring(descriptor: Descriptor, push: () => Promise<Presence>): Promise<Presence> {
    return first(this.#brought, visitKey(descriptor), push, async (): Promise<Presence> => "present");
  }

  /** Runs `copy` for whoever comes first to a manifest, to copy all of it. The others wait for that, and run it knowing that all of it is there. */
  async bringWhole(manifest: Descriptor, copy: (isThere: boolean) => Promise<void>): Promise<void> {
    return first(
      this.#whole,
      visitKey(manifest),
      () => copy(false),
      () => copy(true),
    );
  }
}

/** Runs `work` for the first who comes with the key, and `after` for the others when that has succeeded; where it failed, the next one is the first. */
async function first<T>(
  done: Map<string, Promise<boolean>>,
  key: string,
  work: () => Promise<T>,
  after: () => Promise<T>,
): Promise<T> {
  for (let other = done.get(key); other !== undefined; other = done.get(key)) {
    if (await other) return after();
    if (done.get(key) === other) done.delete(key);
  }
  const result = work();
  done.set(
    key,
    result.then(
      () => true,
      () => false,
    ),
  );
  return result;
}
