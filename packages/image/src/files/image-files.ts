import { type Abortable, Hasher, OciError, type Source, type TarReadHeader } from "@stowage/layout";
import { compareBytewise } from "../bytewise-order.js";
import {
  entryParts,
  entryPath,
  isNested,
  leadsOut,
  linkTarget,
  MAXIMUM_LINKS,
  quoted,
  tooManyLinks,
} from "../entry-path.js";
import type { Image } from "../image.js";
import { type ReadLayersOptions, readLayers } from "../read-layers.js";
import { readTar, type TarReadEntry } from "../tar-reader.js";
import { MAXIMUM_ENTRIES } from "../unpack/layer-writer.js";
import { type ImageFile, impliedDirectory } from "./image-file.js";

/** The options of {@link ImageFiles.read}. */
export interface ImageFilesOptions extends Abortable, Omit<ReadLayersOptions, "only"> {
  /** The most entries in all layers together. Default: 4 million. */
  readonly entries?: number | undefined;
  /** Compute the digest of every file. Default: false. */
  readonly digests?: boolean | undefined;
  /** Let the last of several entries of one name in one layer win. Default: fail. */
  readonly allowDuplicates?: boolean | undefined;
}

interface Node {
  file: Omit<ImageFile, "path">;
  /** The layer that named it or, for a directory, put something into it where nothing was. */
  mark: number;
  /** Of a directory. */
  readonly children?: Map<string, Node>;
}

/**
 * The files of an image, in memory, as {@link unpack} would make them, without their contents. The rules are those of
 * image-spec v1.1.1, layer.md "Applying Changesets", and the same entries fail.
 */
export class ImageFiles {
  readonly #root: Node = directory(impliedDirectory, -1);
  #layer = 0;
  #what = "";
  #count = 0;

  /** Reads all layers, or those that `image` has. Fails as {@link readLayers} does. */
  static async read(
    source: Pick<Source, "fetch">,
    image: Pick<Image, "layers" | "config">,
    options: ImageFilesOptions & Pick<ReadLayersOptions, "only"> = {},
  ): Promise<ImageFiles> {
    const files = new ImageFiles();
    for await (const { at, tar, what } of readLayers(source, image, options)) {
      files.#layer = at;
      files.#what = what;
      let entry = 0;
      for await (const { header, body } of readTar(tar, what, options))
        await files.#add(header, body, entry++, options);
    }
    return files;
  }

  /** Every file, a directory before what is in it, the root first, names in bytewise order. */
  *[Symbol.iterator](): Generator<ImageFile, void, undefined> {
    const pending: { path: string; node: Node }[] = [{ path: "", node: this.#root }];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const { path, node } = next;
      yield { ...node.file, path };
      const children = [...(node.children ?? [])].sort(([one], [other]) => compareBytewise(other, one));
      for (const [name, child] of children) pending.push({ path: join(path, name), node: child });
    }
  }

  /**
   * What is at a path, or where the links at and on the way to it lead, as in a container whose root the image is. Fails
   * with `NOT_FOUND`.
   */
  get(path: string): ImageFile {
    const parts = path.split("/");
    const found = this.#walk(parts, { clamp: true, last: true });
    if (found !== undefined) return { ...found.node.file, path: found.path };
    throw new OciError("NOT_FOUND", `the image has no ${JSON.stringify(path)}`);
  }

  async #add(
    header: TarReadHeader,
    body: TarReadEntry["body"],
    entry: number,
    options: ImageFilesOptions,
  ): Promise<void> {
    const most = options.entries ?? MAXIMUM_ENTRIES;
    if (++this.#count > most)
      throw new OciError("LIMIT", `${this.#what}: there are more than ${most} entries up to here`);
    const path = entryPath(header.name, this.#what);
    if (path.kind === "metadata") return;
    if (path.kind !== "path") return this.#takeAway(path.kind, path.parts);
    const name = path.parts.at(-1);
    if (name === undefined && header.type !== "directory")
      throw this.#refused(header, `makes the root of the image a ${header.type}`);
    const digest = options.digests === true && header.type === "file" ? await digestOf(body) : undefined;
    const target = header.type === "hardlink" ? this.#findTarget(header) : undefined;
    const file = target?.node.file ?? this.#fileOf(header, entry, digest);
    if (name === undefined) this.#root.file = file;
    else this.#put(path.parts.slice(0, -1), name, header, file, { ...options, target: target?.path ?? "" });
  }

  #put(
    parents: readonly string[],
    name: string,
    header: TarReadHeader,
    file: Node["file"],
    options: ImageFilesOptions & { readonly target: string },
  ): void {
    const parent = this.#walk(parents, { make: true }) as Found;
    const into = parent.node.children as Map<string, Node>;
    const known = into.get(name);
    const isDirectory = file.type === "directory";
    if (known?.mark === this.#layer && !(isDirectory && known.children !== undefined) && !options.allowDuplicates)
      throw this.#refused(
        header,
        "stands in it twice",
        "--allow-duplicates lets the last of them win, as other tools do.",
      );
    if (header.type === "hardlink" && isNested(options.target, join(parent.path, name)))
      throw this.#refused(header, "is a hard link to what it takes the place of");
    if (isDirectory && known?.children !== undefined) {
      known.file = file;
      known.mark = this.#layer;
      return;
    }
    if (known?.children !== undefined && this.#removeInside(known))
      throw this.#refused(header, "takes the place of a directory into which its own layer puts files");
    // Not in the place of the old one: a map keeps the order of what was first there.
    into.set(name, isDirectory ? directory(file, this.#layer) : { file, mark: this.#layer });
  }

  #fileOf(header: TarReadHeader, entry: number, digest: string | undefined): Node["file"] {
    const { type, mode, uid, gid, mtime, size, device, xattrs, pax } = header;
    if (type === "unknown") throw this.#refused(header, "is of a kind that is not known");
    return {
      type: type as ImageFile["type"],
      mode: type === "symlink" ? 0o777 : mode,
      uid,
      gid,
      mtime,
      size: type === "file" ? size : 0,
      ...(type === "symlink" ? { linkname: linkTarget(header, this.#what) } : {}),
      ...(device === undefined ? {} : { device }),
      xattrs,
      pax,
      layer: this.#layer,
      entry,
      ...(digest === undefined ? {} : { digest }),
    };
  }

  /** The file that a hard link means; what it is like is the same object for all its names. */
  #findTarget(header: TarReadHeader): Found {
    const parts = entryParts(header.linkname ?? "", this.#what);
    const parent = parts.length === 0 ? undefined : this.#walk(parts.slice(0, -1), {});
    const name = parts.at(-1) as string;
    const node = parent?.node.children?.get(name);
    const to = quoted(header.linkname ?? "");
    if (parent === undefined || node === undefined)
      throw this.#refused(header, `is a hard link to ${to}, which is not there`);
    if (node.file.type !== "file" && node.file.type !== "symlink")
      throw this.#refused(header, `is a hard link to ${to}, which is no file`);
    return { path: join(parent.path, name), node };
  }

  #takeAway(kind: "whiteout" | "opaque", parts: readonly string[]): void {
    const name = kind === "whiteout" ? parts.at(-1) : undefined;
    const found = this.#walk(name === undefined ? parts : parts.slice(0, -1), {});
    if (found === undefined) return;
    if (name === undefined) this.#removeInside(found.node);
    else this.#remove(found.node.children as Map<string, Node>, name);
  }

  /** Returns true where something stays, since the layer at hand put it there. */
  #remove(from: Map<string, Node>, name: string): boolean {
    const node = from.get(name);
    if (node === undefined) return false;
    const keptInside = node.children !== undefined && this.#removeInside(node);
    if (node.mark === this.#layer) return true;
    if (keptInside) {
      node.file = impliedDirectory;
      node.mark = this.#layer;
    } else from.delete(name);
    return keptInside;
  }

  #removeInside(node: Node): boolean {
    let kept = false;
    const children = node.children as Map<string, Node>;
    for (const name of [...children.keys()]) if (this.#remove(children, name)) kept = true;
    return kept;
  }

  /** Follows a path, and the links on the way; with `last` also one at its end. */
  #walk(parts: readonly string[], how: { make?: boolean; clamp?: boolean; last?: boolean }): Found | undefined {
    const trail: Found[] = [{ path: "", node: this.#root }];
    const pending = parts.map((name) => ({ name, linked: "" })).reverse();
    let links = 0;
    for (let part = pending.pop(); part !== undefined; part = pending.pop()) {
      const { name, linked } = part;
      if (name === "" || name === ".") continue;
      if (name === "..") {
        if (trail.length > 1) trail.pop();
        else if (how.clamp !== true) throw leadsOut(this.#what, parts, linked);
        continue;
      }
      const above = trail.at(-1) as Found;
      let child = above.node.children?.get(name);
      if (child?.file.type === "symlink") {
        if (++links > MAXIMUM_LINKS) throw tooManyLinks(how.clamp ? "the image" : this.#what, parts);
        const target = child.file.linkname ?? "";
        if (target.startsWith("/")) trail.length = 1;
        const via = join(above.path, name);
        pending.push(
          ...target
            .split("/")
            .map((next) => ({ name: next, linked: via }))
            .reverse(),
        );
        continue;
      }
      const isEnd = pending.length === 0 && how.last === true;
      if (child === undefined || (child.children === undefined && !isEnd)) {
        if (linked !== "" && how.clamp !== true) throw leadsOut(this.#what, parts, linked);
        if (how.make !== true) return undefined;
        if (child?.mark === this.#layer)
          throw new OciError(
            "INVALID",
            `${this.#what}: /${join(above.path, name)} is a file, and something is to be put into it`,
          );
        child = directory(impliedDirectory, this.#layer);
        above.node.children?.set(name, child);
      }
      trail.push({ path: join(above.path, name), node: child });
    }
    return trail.at(-1);
  }

  #refused(header: TarReadHeader, problem: string, hint?: string): OciError {
    return new OciError("INVALID", `${this.#what}: ${quoted(header.name)} ${problem}`, { hint });
  }
}

interface Found {
  readonly path: string;
  readonly node: Node;
}

function directory(file: Node["file"], mark: number): Node {
  return { file, mark, children: new Map() };
}

function join(parent: string, name: string): string {
  return parent === "" ? name : `${parent}/${name}`;
}

async function digestOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const hasher = new Hasher();
  for await (const chunk of body) hasher.update(chunk);
  return hasher.digest();
}
