import { MemoryStore } from "@stowage/layout";
import type { Repository, Store } from "./store.js";
import { plainNaming, TaggedTarget } from "./tagged-target.js";

/** An empty store in the memory of this process. Each repository keeps its own content. */
export function memoryStore(name = "memory"): Store {
  const repositories = new Map<string, Repository>();
  return {
    name,
    async repository(repository, options = {}) {
      const known = repositories.get(repository);
      if (known !== undefined || options.create !== true) return known;
      const label = `${name}/${repository}`;
      const made = new TaggedTarget(label, new MemoryStore(label), plainNaming);
      repositories.set(repository, made);
      return made;
    },
    uploads: async (name) => repositories.get(name)?.uploads,
    expireUploads: async () => {},
    async *repositories() {
      yield* [...repositories.keys()].sort();
    },
  };
}
