import type { TarReadHeader } from "@stowage/layout";
import { quoted } from "../entry-path.js";
import type { Ancestor, Ancestors } from "./ancestors.js";
import { OwnedPaths } from "./owned-paths.js";
import { type DisjointRule, formatLayer, type LayerName, quotedPath, type Report } from "./violation.js";

/** What the image around a layer says. */
export interface ImageContext {
  /** Who owns what in all layers. */
  readonly owned: OwnedPaths;
  readonly ancestors: Ancestors;
  readonly report: Report;
}

/** As long as any path of Linux can be, and as deep as directories are held open. */
const MAXIMUM_NAME = 4096;
const MAXIMUM_DEPTH = 500;
const WHITEOUT = ".wh.";

/**
 * Holds the entries of one layer, in order, against what it declares (V2 to V5). What is true of a layer that passes is true
 * of its tar and its declared paths, whatever image it is in; only {@link Ancestors} compares it with others.
 */
export class LayerCheck {
  readonly #layer: LayerName;
  readonly #paths: readonly string[];
  readonly #own: OwnedPaths;
  readonly #image: ImageContext;
  /** The directories above the declared paths, as this layer has them. */
  readonly ancestors: Ancestor[] = [];
  /** The type of all that was seen, by absolute path. */
  readonly #seen = new Map<string, TarReadHeader["type"]>();

  constructor(layer: LayerName, paths: readonly string[], image: ImageContext) {
    this.#layer = layer;
    this.#paths = paths;
    this.#own = new OwnedPaths([{ layer, paths }]);
    this.#image = image;
  }

  /** Takes the next entry. */
  entry(header: TarReadHeader): void {
    const path = pathOf(header.name);
    if (typeof path !== "string") {
      this.#report("V3", undefined, `has an entry ${quoted(header.name)}, ${path.problem}`);
      return;
    }
    this.#checkPlain(path, header);
    this.#checkParent(path);
    const own = this.#own.find(path);
    if (own === undefined) this.#checkAncestor(path, header);
    if (header.type === "hardlink") this.#checkTarget(path, header, own?.root);
    if (!this.#seen.has(path)) this.#seen.set(path, header.type);
  }

  /** Looks for what should have come. */
  end(): void {
    for (const path of this.#paths)
      if (!this.#seen.has(path)) this.#report("V5", path, "is declared, but the layer has no entry for it");
  }

  #checkPlain(path: string, { type, name }: TarReadHeader): void {
    if (type === "character-device" || type === "block-device" || type === "fifo" || type === "unknown")
      this.#report("V3", path, type === "unknown" ? "is of a kind that is not known" : `is a ${type}`);
    // Readers differ in what they take it for.
    if (type !== "directory" && name.endsWith("/"))
      this.#report("V3", path, `is a ${type} with a slash behind its name`);
    if (this.#seen.has(path)) this.#report("V3", path, "stands in the layer twice");
  }

  #checkParent(path: string): void {
    const slash = path.lastIndexOf("/");
    if (slash === 0) return;
    const parent = path.slice(0, slash);
    const type = this.#seen.get(parent);
    if (type === "directory") return;
    const problem =
      type === undefined ? "of which the layer has no entry before it" : `which is a ${type} and no directory`;
    this.#report("V4", path, `is in ${quotedPath(parent)}, ${problem}`);
  }

  #checkAncestor(path: string, header: TarReadHeader): void {
    if (!this.#own.isAncestor(path)) {
      const other = this.#image.owned.find(path);
      const whose = other === undefined ? "" : `, but of ${formatLayer(other.owner.layer)}`;
      this.#report("V2", path, `is at none of the paths that the layer declares${whose}`, other?.owner.layer);
    } else if (header.type !== "directory") {
      this.#report("V2", path, `is a ${header.type}, and declared paths are below it`);
    } else if (header.uid !== 0 || header.gid !== 0) {
      this.#report("V2", path, `is above declared paths and belongs to ${header.uid}:${header.gid}, not to 0:0`);
    } else {
      this.ancestors.push({ path, header });
      this.#image.ancestors.add({ path, header }, this.#layer);
    }
  }

  #checkTarget(path: string, { linkname = "" }: TarReadHeader, root: string | undefined): void {
    const target = pathOf(linkname);
    const to = quoted(linkname);
    if (typeof target !== "string") {
      this.#report("V3", path, `is a hard link to ${to}, ${target.problem}`);
      return;
    }
    const targetRoot = this.#own.find(target)?.root;
    if (targetRoot === undefined || targetRoot !== root)
      this.#report("V4", path, `is a hard link to ${to}, which is not below the same declared path`);
    else if (target === path || !["file", "symlink", "hardlink"].includes(this.#seen.get(target) ?? ""))
      this.#report("V4", path, `is a hard link to ${to}, of which the layer has no file before it`);
  }

  #report(rule: DisjointRule, entry: string | undefined, problem: string, other?: LayerName): void {
    this.#image.report({
      rule,
      layer: this.#layer,
      ...(entry === undefined ? {} : { entry }),
      ...(other === undefined ? {} : { other }),
      problem,
    });
  }
}

/** The absolute path that a name means, `/a` for `a`, `/a` and `./a`, or why it means none. */
export function pathOf(name: string): string | { readonly problem: string } {
  if (name === "/" || name === "./" || name === ".") return "/";
  if (name.length > MAXIMUM_NAME) return { problem: `whose name is longer than ${MAXIMUM_NAME}` };
  if (name.includes("\0")) return { problem: "whose name holds a NUL" };
  const from = name.startsWith("/") ? 1 : name.startsWith("./") ? 2 : 0;
  const path = name.slice(from, name.endsWith("/") ? -1 : undefined);
  const parts = path.split("/");
  if (parts.length > MAXIMUM_DEPTH) return { problem: `whose name has more than ${MAXIMUM_DEPTH} parts` };
  if (parts.some((part) => part === "" || part === "." || part === ".."))
    return { problem: "whose name is not in its shortest form" };
  if (parts.some((part) => part.startsWith(WHITEOUT))) return { problem: "which is a whiteout" };
  return `/${path}`;
}
