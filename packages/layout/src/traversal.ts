/**
 * The one way through a graph of content: each node once, whatever leads to it, so that a loop ends and a diamond is nothing
 * special. Where the links come from is for the caller to say: from a graph that was read before, or from manifests as they
 * are read. A referrer is reached from its subject, and never the other way round. `R` is what comes of a visit out of turn.
 */
export class Traversal<N, R = unknown> {
  readonly #keyOf: (node: N) => string;
  readonly #visited = new Map<string, R | undefined>();
  /** The last one is the nearest. */
  readonly #pending: Iterator<N>[] = [];

  /** Nodes with the same key are the same. */
  constructor(roots: Iterable<N>, keyOf: (node: N) => string) {
    this.#keyOf = keyOf;
    this.add(roots);
  }

  /** What a node leads to, in its order, and before all that was added earlier. */
  add(nodes: Iterable<N>): void {
    this.#pending.push(nodes[Symbol.iterator]());
  }

  /** The next node, depth first; undefined at the end. */
  next(): N | undefined {
    for (let nearest = this.#pending.at(-1); nearest !== undefined; nearest = this.#pending.at(-1)) {
      const next = nearest.next();
      if (next.done === true) this.#pending.pop();
      else if (this.#isNew(this.#keyOf(next.value))) return next.value;
    }
    return undefined;
  }

  /** The next nodes, for whoever visits them side by side: all that were added, or at most `limit`. None at the end. */
  batch(limit = Number.POSITIVE_INFINITY): readonly N[] {
    const nodes: N[] = [];
    for (let node = this.next(); node !== undefined; node = nodes.length < limit ? this.next() : undefined)
      nodes.push(node);
    return nodes;
  }

  /** Visits a node out of turn, for whoever has to know when all below it is done; asked again, gives what came of it. */
  once(node: N, visit: () => R): R {
    const key = this.#keyOf(node);
    if (this.#isNew(key)) this.#visited.set(key, visit());
    return this.#visited.get(key) as R;
  }

  /** True where the node has been visited. */
  has(node: N): boolean {
    return this.#visited.has(this.#keyOf(node));
  }

  #isNew(key: string): boolean {
    if (this.#visited.has(key)) return false;
    this.#visited.set(key, undefined);
    return true;
  }
}
