import type { TarReadHeader } from "@stowage/layout";
import { attributesOf, difference } from "./ancestors.js";
import { problemOfPath } from "./declaration.js";

/** Two layers that cannot be put in any order, because of a path. */
export interface Conflict {
  /** Absolute. */
  readonly path: string;
  /** The numbers of the layers; the lowest is 0. */
  readonly layers: readonly [number, number];
  readonly problem: string;
}

/** What could be declared, as far as names and attributes tell. */
export interface Ownership {
  /** By layer, in no order; absent for a layer that is at odds with another. */
  readonly paths: ReadonlyMap<number, readonly string[]>;
  /** Why a layer cannot declare anything. */
  readonly reasons: ReadonlyMap<number, string>;
  readonly conflicts: readonly Conflict[];
}

interface Node {
  readonly children: Map<string, Node>;
  /** The first layer with something here or below. */
  readonly layer: number;
  /** All of them, where there are several. */
  layers?: Set<number>;
  /** Of the first entry here, and the layer that has it. */
  entry?: { readonly header: TarReadHeader; readonly content: string; readonly layer: number };
  conflict?: Conflict;
}

/** What all layers of an image have, to find out which paths only one of them has. */
export class TouchedPaths {
  readonly #root: Node & { readonly layers: Set<number> } = { children: new Map(), layer: -1, layers: new Set() };

  /** Takes an entry; `content` tells files apart. */
  add(layer: number, path: string, header: TarReadHeader, content = ""): void {
    const node = this.#touch(layer, path);
    const { entry } = node;
    if (entry === undefined) node.entry = { header, content, layer };
    else if (entry.layer !== layer && node.conflict === undefined) {
      const problem = conflictOf(header, content, entry);
      if (problem !== undefined) node.conflict = { path, layers: [entry.layer, layer], problem };
    }
  }

  /** Takes what takes away what is at a path. */
  takeAway(layer: number, path: string): void {
    const node = this.#touch(layer, path);
    node.conflict ??= { path, layers: [layer, layer], problem: "is taken away" };
  }

  /**
   * The topmost paths that one layer alone has. Those that lead to a directory of `below`, and it itself, belong to nobody: what is
   * in it is owned one by one.
   */
  ownership(below: readonly string[]): Ownership {
    const paths = new Map<number, string[]>();
    const reasons = new Map<number, string>();
    const conflicts: Conflict[] = [];
    const divided = new Set(below.flatMap((path) => [path, ...parentsOf(path)]));
    const pending: { readonly node: Node; readonly path: string }[] = [{ node: this.#root, path: "" }];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const { node, path } = next;
      const layers = node.layers ?? new Set([node.layer]);
      if (path !== "" && layers.size === 1 && !divided.has(path) && node.conflict === undefined) {
        own(node, path, paths, reasons);
        continue;
      }
      const conflict = node.conflict ?? this.#notShareable(node, path);
      if (conflict !== undefined) {
        const [one, two] = conflict.layers;
        const other = one === two ? [...layers].find((each) => each !== one) : two;
        if (other !== undefined) conflicts.push({ ...conflict, layers: [Math.min(one, other), Math.max(one, other)] });
        for (const layer of layers) if (!reasons.has(layer)) reasons.set(layer, `${conflict.path} ${conflict.problem}`);
      }
      for (const [name, child] of node.children) pending.push({ node: child, path: `${path}/${name}` });
    }
    return { paths, reasons, conflicts };
  }

  #touch(layer: number, path: string): Node {
    let node: Node = this.#root;
    this.#root.layers.add(layer);
    if (path === "/") return node;
    for (const name of path.slice(1).split("/")) {
      let child = node.children.get(name);
      if (child === undefined) {
        child = { children: new Map(), layer };
        node.children.set(name, child);
      } else if (child.layer !== layer) {
        child.layers ??= new Set([child.layer]);
        child.layers.add(layer);
      }
      node = child;
    }
    return node;
  }

  /** What leads to paths of several layers has to be a directory of the system. */
  #notShareable({ entry, layers, layer }: Node, path: string): Conflict | undefined {
    if (entry === undefined || path === "") return undefined;
    const other = [...(layers ?? [])].find((each) => each !== entry.layer) ?? layer;
    const { header } = entry;
    if (header.type !== "directory")
      return { path, layers: [entry.layer, other], problem: `is a ${header.type} in one of them` };
    if (header.uid === 0 && header.gid === 0) return undefined;
    return { path, layers: [entry.layer, other], problem: `belongs to ${header.uid}:${header.gid}, not to 0:0` };
  }
}

function own(node: Node, path: string, paths: Map<number, string[]>, reasons: Map<number, string>): void {
  const problem =
    node.entry === undefined ? "has no entry of its own in the layer that has something in it" : problemOfPath(path);
  if (problem !== undefined) {
    if (!reasons.has(node.layer)) reasons.set(node.layer, `${path} ${problem}`);
    return;
  }
  const owned = paths.get(node.layer);
  if (owned === undefined) paths.set(node.layer, [path]);
  else owned.push(path);
}

function conflictOf(header: TarReadHeader, content: string, entry: NonNullable<Node["entry"]>): string | undefined {
  const { header: other } = entry;
  if (header.type !== other.type) return `is a ${other.type} in one of them and a ${header.type} in the other`;
  if (header.type !== "directory" && (content !== entry.content || header.linkname !== other.linkname))
    return `is a ${header.type} with other content in each of them`;
  if (attributesOf(header) !== attributesOf(other)) return `has ${difference(header, other)} in the first of them`;
  return header.type === "directory" ? undefined : `is the same ${header.type} in both of them`;
}

function parentsOf(path: string): string[] {
  const parts = path.split("/").slice(1, -1);
  return parts.map((_part, at) => `/${parts.slice(0, at + 1).join("/")}`);
}
