import type { TarReadHeader } from "@stowage/layout";
import { formatLayer, type LayerName, type Report } from "./violation.js";

/** A directory that declared paths are below, as a layer has it. */
export interface Ancestor {
  /** Absolute. */
  readonly path: string;
  readonly header: TarReadHeader;
}

/** What some layers say of a directory. */
interface Variant {
  readonly ancestor: Ancestor;
  readonly layers: LayerName[];
  lowest: LayerName;
}

/** The directories above declared paths: every layer must describe them in the same way. */
export class Ancestors {
  /** By path, then by what has to be the same. */
  readonly #found = new Map<string, Map<string, Variant>>();
  readonly #report: Report;

  constructor(report: Report) {
    this.#report = report;
  }

  /** Takes what a layer that declares paths says of a directory. */
  add(ancestor: Ancestor, layer: LayerName): void {
    const variants = this.#found.get(ancestor.path) ?? new Map<string, Variant>();
    this.#found.set(ancestor.path, variants);
    const key = attributesOf(ancestor.header);
    const variant = variants.get(key);
    if (variant === undefined) variants.set(key, { ancestor, layers: [layer], lowest: layer });
    else {
      variant.layers.push(layer);
      if (layer.number < variant.lowest.number) variant.lowest = layer;
    }
  }

  /** Reports where layers differ (V2), in whatever order they came: each that does not say what the lowest says. */
  settle(): void {
    for (const variants of this.#found.values()) {
      if (variants.size === 1) continue;
      const [lowest, ...others] = byLayer(variants);
      for (const { ancestor, layers } of others)
        for (const layer of layers) this.#differ("V2", ancestor, layer, lowest as Variant);
    }
  }

  /** Reports what an ordinary layer says of a directory where that differs (V7). */
  compare(ancestor: Ancestor, layer: LayerName): void {
    const variants = this.#found.get(ancestor.path);
    if (variants === undefined || variants.has(attributesOf(ancestor.header))) return;
    this.#differ("V7", ancestor, layer, byLayer(variants)[0] as Variant);
  }

  /** Each directory once, those above before those in them. */
  all(): Ancestor[] {
    const depth = ({ path }: Ancestor): number => (path === "/" ? 0 : path.split("/").length);
    return [...this.#found.values()]
      .map((variants) => (byLayer(variants)[0] as Variant).ancestor)
      .sort((one, other) => depth(one) - depth(other) || (one.path < other.path ? -1 : 1));
  }

  #differ(rule: "V2" | "V7", { path, header }: Ancestor, layer: LayerName, found: Variant): void {
    const other = found.lowest;
    this.#report({
      rule,
      layer,
      entry: path,
      other,
      problem: `is a directory above declared paths with ${difference(header, found.ancestor.header)} in ${formatLayer(other)}`,
    });
  }
}

/** What has to be the same. */
export function attributesOf({ mode, uid, gid, mtime, xattrs }: TarReadHeader): string {
  const attributes = [...xattrs].map(([name, value]) => [name, Buffer.from(value).toString("base64")]);
  return JSON.stringify([mode, uid, gid, mtime, attributes.sort()]);
}

/** What differs between two entries for one directory. */
export function difference(one: TarReadHeader, other: TarReadHeader): string {
  const octal = (mode: number): string => `0${mode.toString(8)}`;
  if (one.mode !== other.mode) return `the mode ${octal(one.mode)}, which is ${octal(other.mode)}`;
  if (one.uid !== other.uid || one.gid !== other.gid)
    return `the owner ${one.uid}:${one.gid}, which is ${other.uid}:${other.gid}`;
  if (one.mtime !== other.mtime) return `the time ${one.mtime}, which is ${other.mtime}`;
  return "extended attributes that are others";
}

function byLayer(variants: ReadonlyMap<string, Variant>): Variant[] {
  return [...variants.values()].sort((one, other) => one.lowest.number - other.lowest.number);
}
