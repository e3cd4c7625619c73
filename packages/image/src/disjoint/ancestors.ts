import type { TarReadHeader } from "@stowage/layout";
import { formatLayer, type LayerName, type Report } from "./violation.js";

/** A directory that declared paths are below, as a layer has it. */
export interface Ancestor {
  /** Absolute. */
  readonly path: string;
  readonly header: TarReadHeader;
}

/** The directories above declared paths: every layer must describe them in the same way. */
export class Ancestors {
  readonly #found = new Map<string, { readonly ancestor: Ancestor; readonly layer: LayerName; readonly key: string }>();
  readonly #report: Report;

  constructor(report: Report) {
    this.#report = report;
  }

  /** Takes what a layer that declares paths says of a directory. Reports it where it differs from what another says (V2). */
  add(ancestor: Ancestor, layer: LayerName): void {
    const key = attributesOf(ancestor.header);
    const found = this.#found.get(ancestor.path);
    if (found === undefined) this.#found.set(ancestor.path, { ancestor, layer, key });
    else if (found.key !== key) this.#differ("V2", ancestor, layer, found);
  }

  /** Reports what an ordinary layer says of a directory where that differs (V7). */
  compare(ancestor: Ancestor, layer: LayerName): void {
    const found = this.#found.get(ancestor.path);
    if (found !== undefined && found.key !== attributesOf(ancestor.header)) this.#differ("V7", ancestor, layer, found);
  }

  /** Each directory once, those above before those in them. */
  all(): Ancestor[] {
    const depth = ({ path }: Ancestor): number => (path === "/" ? 0 : path.split("/").length);
    return [...this.#found.values()]
      .map(({ ancestor }) => ancestor)
      .sort((one, other) => depth(one) - depth(other) || (one.path < other.path ? -1 : 1));
  }

  #differ(
    rule: "V2" | "V7",
    { path, header }: Ancestor,
    layer: LayerName,
    found: { readonly ancestor: Ancestor; readonly layer: LayerName },
  ): void {
    this.#report({
      rule,
      layer,
      entry: path,
      other: found.layer,
      problem: `is a directory above declared paths with ${difference(header, found.ancestor.header)} in ${formatLayer(found.layer)}`,
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
