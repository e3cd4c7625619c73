import { type BuildTarget, type Compression, compress, type Layer, layerMediaType } from "@stowage/image";
import { type Abortable, Hasher, OciError } from "@stowage/layout";
import { parseStorePath } from "../formats/store-path.js";
import { readable, type TreeEntry } from "../formats/tree-entry.js";
import { disjointAnnotations } from "../layer/annotations.js";
import { ANCESTOR_MODE, encodeHeader, endOfTar, SYMLINK_MODE } from "../layer/store-tar.js";
import type { StoreObject } from "../sources/closure.js";

/** What is not for the user of a path. */
const LEFT_OUT = ["nix-support"];
/** Entries of a root that are looked at. */
const MAXIMUM_ENTRIES = 1_000_000;

/** A name in the root of the image: a link into the store, or a directory of such. */
type Link = { readonly target: string } | { readonly directory: Map<string, Link> };

/** What the roots offer: the links, and what a container might run. */
export interface Convenience {
  readonly links: ReadonlyMap<string, Link>;
  /** The only program there is. */
  readonly program: string | undefined;
}

/**
 * Finds out what the roots have: for each of their directories (`bin`, `etc`, ...) one of the same name in the root of the image,
 * with a link for all that is in it. Where two roots have a directory in common, it is one with the links of both. A root
 * that is an executable file goes into `bin`. Fails with `CONFLICT` where two roots have a file of the same name.
 */
export async function convenienceOf(roots: readonly StoreObject[], options: Abortable = {}): Promise<Convenience> {
  const skeletons = new Map<string, readonly Named[]>();
  const counts = new Map<string, number>();
  let total = 0;
  for (const { info, tree } of roots) {
    const entries: Named[] = [];
    for await (const entry of tree()) {
      options.signal?.throwIfAborted();
      if (++total > MAXIMUM_ENTRIES)
        throw new OciError("LIMIT", `the roots have more than ${MAXIMUM_ENTRIES} entries`, {
          hint: "--no-links leaves the links to the roots out.",
        });
      const { path, type } = entry;
      entries.push({ path, type, executable: type === "file" && entry.executable });
      if (type === "directory") counts.set(path, (counts.get(path) ?? 0) + 1);
    }
    skeletons.set(info.path, entries);
  }
  const links = new Map<string, Link>();
  const isShared = (path: string): boolean => (counts.get(path) ?? 0) > 1;
  for (const [root, entries] of skeletons) linkRoot(links, root, entries, isShared);
  for (const [name, link] of links) if ("directory" in link && link.directory.size === 0) links.delete(name);
  return { links, program: onlyProgram(links) };
}

/** An entry of a root without its content. */
interface Named extends Pick<TreeEntry, "path" | "type"> {
  readonly executable: boolean;
}

function linkRoot(
  links: Map<string, Link>,
  root: string,
  entries: readonly Named[],
  isShared: (path: string) => boolean,
): void {
  const directories = new Map<string, Map<string, Link>>([["", links]]);
  for (const entry of entries) {
    if (entry.path !== "") placeEntry(entry, root, directories, isShared);
    else if (entry.executable) addLink(directoryIn(links, "bin", root), nameOf(root), root);
  }
}

/** What stands behind the hash. */
function nameOf(path: string): string {
  return parseStorePath(path).name;
}

function placeEntry(
  entry: Named,
  root: string,
  directories: Map<string, Map<string, Link>>,
  isShared: (path: string) => boolean,
): void {
  const slash = entry.path.lastIndexOf("/");
  const parent = directories.get(entry.path.slice(0, Math.max(slash, 0)));
  const name = entry.path.slice(slash + 1);
  // Below what is a link already, or on the first level, where only directories are taken.
  if (parent === undefined || (slash < 0 && (entry.type !== "directory" || LEFT_OUT.includes(name)))) return;
  if (entry.type === "directory" && (slash < 0 || isShared(entry.path)))
    directories.set(entry.path, directoryIn(parent, name, root));
  else addLink(parent, name, `${root}/${entry.path}`);
}

function directoryIn(parent: Map<string, Link>, name: string, root: string): Map<string, Link> {
  const there = parent.get(name);
  if (there === undefined) {
    const directory = new Map<string, Link>();
    parent.set(name, { directory });
    return directory;
  }
  if ("directory" in there) return there.directory;
  throw collision(name, root, there.target);
}

function addLink(parent: Map<string, Link>, name: string, target: string): void {
  const there = parent.get(name);
  if (there !== undefined) throw collision(name, target, "target" in there ? there.target : "a directory of another");
  parent.set(name, { target });
}

function collision(name: string, one: string, other: string): OciError {
  return new OciError("CONFLICT", `two roots have ${readable(name)}: ${readable(one)} and ${readable(other)}`, {
    hint: "--no-links leaves the links to the roots out.",
  });
}

function onlyProgram(links: ReadonlyMap<string, Link>): string | undefined {
  const bin = links.get("bin");
  const [only, ...others] = bin !== undefined && "directory" in bin ? [...bin.directory.keys()] : [];
  if (only === undefined || others.length > 0 || /[^\x21-\x7e]/.test(only)) return undefined;
  return `/bin/${only}`;
}

/** Stores the links as a layer, which owns the directories in the root. Undefined where there are none. */
export async function writeConvenienceLayer(
  target: BuildTarget,
  { links }: Convenience,
  options: Abortable & { readonly compression: Compression },
): Promise<Layer | undefined> {
  // What is not text cannot stand in an annotation.
  const names = [...links.keys()].filter((name) => /^[\x21-\x7e]+$/.test(name)).sort();
  if (names.length === 0) return undefined;
  const tar = new Hasher();
  async function* entries(): AsyncGenerator<Uint8Array, void, undefined> {
    const pieces = names.flatMap((name) => [...headersOf(name, links.get(name) as Link)]);
    const bytes = Buffer.concat([...pieces, endOfTar]);
    tar.update(bytes);
    yield bytes;
  }
  const bytes = compress(entries(), options.compression, options);
  const written = await target.write(bytes, layerMediaType(options.compression), { signal: options.signal });
  const annotations = disjointAnnotations(names.map((name) => `/${name}`));
  return { descriptor: { ...written, annotations }, diffId: tar.digest() };
}

function* headersOf(name: string, link: Link): Generator<Uint8Array> {
  if ("target" in link) {
    yield encodeHeader({ name, type: "symlink", mode: SYMLINK_MODE, size: 0, linkname: link.target });
    return;
  }
  yield encodeHeader({ name: `${name}/`, type: "directory", mode: ANCESTOR_MODE, size: 0 });
  for (const child of [...link.directory.keys()].sort())
    yield* headersOf(`${name}/${child}`, link.directory.get(child) as Link);
}
