import { isOciError, type TarReadHeader } from "@stowage/layout";
import { entryParts, entryPath, MAXIMUM_LINKS, quoted } from "../entry-path.js";
import type { ImageContext } from "./layer-check.js";
import { formatLayer, type LayerName } from "./violation.js";

/**
 * Holds the ordinary layers of an image, the lowest first, against what the others own (V7): a layer that owns paths may then
 * be put anywhere between them. Where a path leads through links that ordinary layers have, it is followed.
 */
export class OrdinaryCheck {
  readonly #image: ImageContext;
  /** The symbolic links of the layers so far, by absolute path. One that is gone meanwhile does no harm. */
  readonly #links = new Map<string, string>();

  constructor(image: ImageContext) {
    this.#image = image;
  }

  /** Takes the next entry of a layer. */
  entry(header: TarReadHeader, layer: LayerName): void {
    const report = (path: string, problem: string, other?: LayerName): void =>
      this.#image.report({ rule: "V7", layer, entry: path, ...(other === undefined ? {} : { other }), problem });
    try {
      const name = entryPath(header.name, "it");
      if (name.kind === "metadata") return;
      const parts = name.kind === "opaque" ? [...name.parts, ""] : name.parts;
      const path = this.#follow(parts);
      const owner = this.#image.owned.find(path)?.owner.layer;
      if (name.kind === "whiteout" || name.kind === "opaque") {
        if (owner !== undefined || this.#image.owned.isAncestor(path))
          report(path, `is taken away by ${quoted(header.name)}, ${whose(owner)}`, owner);
        return;
      }
      if (owner !== undefined) report(path, `is put where ${formatLayer(owner)} owns everything`, owner);
      else if (this.#image.owned.isAncestor(path)) {
        if (header.type === "directory") this.#image.ancestors.compare({ path, header }, layer);
        else report(path, `is a ${header.type}, and declared paths are below it`);
      }
      if (header.type === "hardlink") this.#checkTarget(path, header, report);
      if (header.type === "symlink") this.#links.set(path, header.linkname ?? "");
      else this.#links.delete(path);
    } catch (error) {
      // A name that means nothing.
      if (!isOciError(error)) throw error;
      this.#image.report({ rule: "V7", layer, problem: error.message });
    }
  }

  #checkTarget(
    path: string,
    { linkname = "" }: TarReadHeader,
    report: (path: string, problem: string, other?: LayerName) => void,
  ): void {
    const owner = this.#image.owned.find(this.#follow(entryParts(linkname, "it")))?.owner.layer;
    if (owner !== undefined)
      report(path, `is a hard link to ${quoted(linkname)}, which ${formatLayer(owner)} owns`, owner);
  }

  /** Where a name leads when the links on the way are followed, but not one at its end. Ends early at what is owned. */
  #follow(parts: readonly string[]): string {
    let found = "";
    let links = 0;
    const pending = parts.map((part, at) => ({ part, isLast: at === parts.length - 1 })).reverse();
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const { part, isLast } = next;
      if (part === "" || part === ".") continue;
      if (part === "..") {
        found = found.slice(0, Math.max(found.lastIndexOf("/"), 0));
        continue;
      }
      found += `/${part}`;
      const target = isLast ? undefined : this.#links.get(found);
      if (target === undefined) {
        // What is above it may be a link as well; nobody may go on from there.
        if (links > 0 && this.#image.owned.find(found) !== undefined) return found;
        continue;
      }
      if (++links > MAXIMUM_LINKS) return found;
      found = target.startsWith("/") ? "" : found.slice(0, found.lastIndexOf("/"));
      pending.push(
        ...target
          .split("/")
          .map((each) => ({ part: each, isLast: false }))
          .reverse(),
      );
    }
    return found === "" ? "/" : found;
  }
}

function whose(owner: LayerName | undefined): string {
  return owner === undefined ? "and declared paths are below it" : `and ${formatLayer(owner)} owns it`;
}
