import { formatLayer, type LayerName, quotedPath, type Report } from "./violation.js";

/** A layer and the paths it owns. */
export interface Owner {
  readonly layer: LayerName;
  /** Absolute. */
  readonly paths: readonly string[];
}

/** Who owns what in an image. Looking a path up takes as long as it has parts, however many paths are owned. */
export class OwnedPaths {
  readonly #owners = new Map<string, Owner>();
  readonly #ancestors = new Set<string>();

  /** Reports each path that is at or below one of another layer, or of the same (V1). */
  constructor(owners: Iterable<Owner>, report: Report = () => {}) {
    const all: { readonly key: string; readonly owner: Owner }[] = [];
    for (const owner of owners) {
      for (const path of owner.paths) {
        all.push({ key: `${path}/`, owner });
        if (!this.#owners.has(path)) this.#owners.set(path, owner);
        // Whatever is above one that is known already is known, too.
        for (let at = path.lastIndexOf("/"); at > 0; at = path.lastIndexOf("/", at - 1)) {
          const parent = path.slice(0, at);
          if (this.#ancestors.has(parent)) break;
          this.#ancestors.add(parent);
        }
      }
    }
    // In any order of strings, those that begin with one follow it; with the slash, /xy does not begin with /x.
    all.sort((one, other) => (one.key < other.key ? -1 : one.key > other.key ? 1 : 0));
    let above: (typeof all)[number] | undefined;
    for (const next of all) {
      if (above === undefined || !next.key.startsWith(above.key)) {
        above = next;
        continue;
      }
      const [entry, over] = [next.key.slice(0, -1), above.key.slice(0, -1)];
      report({
        rule: "V1",
        layer: next.owner.layer,
        entry,
        other: above.owner.layer,
        problem: `is declared, and ${formatLayer(above.owner.layer)} declares ${entry === over ? "the same" : quotedPath(over)}`,
      });
    }
  }

  /** The owner of what is at this absolute path, and the path that is declared. */
  find(path: string): { readonly owner: Owner; readonly root: string } | undefined {
    for (let at = path.length; at > 0; at = path.lastIndexOf("/", at - 1)) {
      const root = path.slice(0, at);
      const owner = this.#owners.get(root);
      if (owner !== undefined) return { owner, root };
    }
    return undefined;
  }

  /** True for a directory that a declared path is below. */
  isAncestor(path: string): boolean {
    return path === "/" ? this.#owners.size > 0 : this.#ancestors.has(path);
  }
}
