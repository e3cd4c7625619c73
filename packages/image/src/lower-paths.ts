import { type Abortable, type Descriptor, OciError, type Source } from "@stowage/layout";
import { openLayer } from "./open-layer.js";
import { readTar } from "./tar-reader.js";

/** What is known of an entry of a layer below. */
export interface LowerEntry {
  readonly name: string;
  readonly type: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly linkname?: string;
}

/** A directory or a symbolic link of the layers below. */
export type LowerPath =
  | { readonly type: "directory"; readonly mode: number; readonly uid: number; readonly gid: number }
  | { readonly type: "symlink"; readonly target: string };

/** How many directories and links are kept. Debian with a desktop has 100 000. */
const MAXIMUM_PATHS = 2_000_000;
/** As many links as Linux follows in one path. */
const MAXIMUM_LINKS = 40;
/** The type of a directory that only shows in the names of what is in it. */
const IMPLIED = "implied";
const WHITEOUT = ".wh.";
const OPAQUE = ".wh..wh..opq";

/**
 * The directories and symbolic links that the layers below have. A layer that names a directory replaces its mode and
 * owner, and one that names it where a link is replaces the link (image-spec v1.1.1, layer.md "Applying Changesets"): a
 * layer with `bin/tool` in it would take `/bin -> usr/bin` away from the base, and all programs with it.
 */
export class LowerPaths {
  readonly #paths = new Map<string, LowerPath>();

  /**
   * Reads image layers, the bottom one first. Fails with `UNSUPPORTED` where one is compressed in a way that cannot be read
   * here, and with `INVALID` where one is no tar.
   */
  static async read(
    source: Pick<Source, "fetch">,
    layers: readonly Descriptor[],
    options: Abortable = {},
  ): Promise<LowerPaths> {
    const below = new LowerPaths();
    for (const layer of layers) below.apply(await below.#readLayer(source, layer, options));
    return below;
  }

  /** Puts a layer on top. Whiteouts act on the layers before it only, wherever they stand in it. */
  apply(entries: readonly LowerEntry[]): void {
    const named = entries.map((entry) => ({ entry, name: normalize(entry.name) }));
    for (const { name } of named) {
      if (name === undefined) continue;
      const slash = name.lastIndexOf("/") + 1;
      const base = name.slice(slash);
      if (base === OPAQUE) this.#removeBelow(name.slice(0, Math.max(slash - 1, 0)));
      else if (base.startsWith(WHITEOUT)) this.#remove(name.slice(0, slash) + base.slice(WHITEOUT.length));
    }
    for (const { entry, name } of named) {
      if (name === undefined || name === "" || name.slice(name.lastIndexOf("/") + 1).startsWith(WHITEOUT)) continue;
      this.#addParents(name);
      if (entry.type === IMPLIED) {
        this.#addParents(`${name}/`);
      } else if (entry.type === "directory") {
        this.#paths.set(name, { type: "directory", mode: entry.mode & 0o7777, uid: entry.uid, gid: entry.gid });
      } else {
        this.#remove(name);
        if (entry.type === "symlink") this.#paths.set(name, { type: "symlink", target: entry.linkname ?? "" });
      }
    }
    if (this.#paths.size > MAXIMUM_PATHS)
      throw new OciError("LIMIT", `the layers below have more than ${MAXIMUM_PATHS} directories and links`);
  }

  /** The directory or link of this name (without slashes at the ends), or undefined where there is neither. */
  get(name: string): LowerPath | undefined {
    return this.#paths.get(name);
  }

  /** The directory that a name means when all links in it are followed, never out of the root; undefined where it means none. */
  followToDirectory(name: string): string | undefined {
    let found: string[] = [];
    const pending = name.split("/").reverse();
    let links = 0;
    for (let part = pending.pop(); part !== undefined; part = pending.pop()) {
      if (part === "" || part === ".") continue;
      if (part === "..") {
        found.pop();
        continue;
      }
      found.push(part);
      const path = this.#paths.get(found.join("/"));
      if (path?.type !== "symlink") continue;
      if (++links > MAXIMUM_LINKS) return undefined;
      found.pop();
      if (path.target.startsWith("/")) found = [];
      pending.push(...path.target.split("/").reverse());
    }
    const result = found.join("/");
    return result === "" || this.#paths.get(result)?.type === "directory" ? result : undefined;
  }

  /**
   * Of all entries of a layer those that matter here: directories, links, whiteouts, whatever takes the place of a directory or
   * link below, and the directories that only show in the names of files.
   */
  async #readLayer(
    source: Pick<Source, "fetch">,
    layer: Descriptor,
    options: Abortable,
  ): Promise<readonly LowerEntry[]> {
    const what = `the layer ${layer.digest}`;
    const entries: LowerEntry[] = [];
    const parents = new Set<string>();
    // Names are all that is kept of it, so however much it unpacks to takes nothing but time.
    const tar = openLayer(source, layer, what, { ...options, ratio: Number.MAX_SAFE_INTEGER });
    for await (const { header } of readTar(tar, what, options)) {
      const name = normalize(header.name);
      if (name === undefined) continue;
      const slash = name.lastIndexOf("/") + 1;
      const matters =
        header.type === "directory" ||
        header.type === "symlink" ||
        this.#paths.has(name) ||
        name.startsWith(WHITEOUT, slash);
      const parent = name.slice(0, slash);
      if (matters) entries.push(header);
      else if (!parents.has(parent)) entries.push({ name: parent, type: IMPLIED, mode: 0o755, uid: 0, gid: 0 });
      parents.add(parent);
      if (entries.length > MAXIMUM_PATHS)
        throw new OciError("LIMIT", `${what} has more than ${MAXIMUM_PATHS} directories and links`);
    }
    return entries;
  }

  #addParents(name: string): void {
    for (let slash = name.indexOf("/"); slash >= 0; slash = name.indexOf("/", slash + 1)) {
      const parent = name.slice(0, slash);
      if (!this.#paths.has(parent)) this.#paths.set(parent, { type: "directory", mode: 0o755, uid: 0, gid: 0 });
    }
  }

  #remove(name: string): void {
    if (this.#paths.get(name)?.type === "directory") this.#removeBelow(name);
    this.#paths.delete(name);
  }

  #removeBelow(name: string): void {
    const prefix = name === "" ? "" : `${name}/`;
    for (const path of this.#paths.keys()) if (path.startsWith(prefix)) this.#paths.delete(path);
  }
}

/** A name without `./` in front and slashes at the ends; undefined where it leads out. */
function normalize(name: string): string | undefined {
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  return parts.includes("..") ? undefined : parts.join("/");
}
