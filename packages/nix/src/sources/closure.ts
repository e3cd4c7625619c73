import { OciError } from "@stowage/layout";
import { baseNameOf, type PartialPathInfo, type PathInfo } from "../formats/path-info.js";
import { isBaseName, isHashPart, parseStorePath } from "../formats/store-path.js";
import { topologicalOrder } from "../formats/topological-order.js";
import type { Tree } from "../formats/tree-entry.js";

/** A store path whose content can be read. */
export interface StoreObject {
  readonly info: PathInfo;
  /** What is in it, from the beginning, as often as asked. Nothing of it is verified. */
  tree(): Tree;
}

/** Store paths with everything they refer to. */
export interface Closure {
  /** Where it comes from, for messages. */
  readonly name: string;
  readonly storeDirectory: string;
  /** The whole paths that were asked for, in bytewise order. */
  readonly roots: readonly string[];
  /** All paths, in bytewise order. */
  readonly objects: readonly StoreObject[];
}

/** So many names are in a message. */
const MAXIMUM_NAMED = 10;

/**
 * The path among those that are there which `text` names: by itself, by its base name, or by the 32 characters of its hash. Fails with `NOT_FOUND` where
 * there is none; `where` names the place.
 */
export function findPath(paths: Iterable<string>, text: string, where: string): string {
  for (const path of paths) {
    const base = baseNameOf(path);
    if (text === path || text === base || text === base.slice(0, 32)) return path;
  }
  throw new OciError("NOT_FOUND", `${where} has no store path ${JSON.stringify(text)}`, {
    hint: "A store path is named by itself, by its base name, or by the 32 characters of its hash.",
  });
}

/** The base name or hash that `text` names a path by, also where it is a whole path. Fails with `INVALID`. */
export function baseNameArgument(text: string): string {
  if (isHashPart(text) || isBaseName(text)) return text;
  return parseStorePath(text, "a root").baseName;
}

/** What {@link closureOf} is told. */
export interface ClosureParts<Info extends PartialPathInfo> {
  readonly name: string;
  /** By whole path. */
  readonly infos: ReadonlyMap<string, Info>;
  /** None means: all that nothing else refers to. */
  readonly roots: readonly string[];
  readonly object: (info: Info) => StoreObject | Promise<StoreObject>;
}

/**
 * The closure of the roots. Fails with `NOT_FOUND` where a root or something that is referred to is not there, and names what
 * is missing; with `INVALID` where the paths are in several store directories, or refer to each other in a circle.
 */
export async function closureOf<Info extends PartialPathInfo>(parts: ClosureParts<Info>): Promise<Closure> {
  const { name, infos } = parts;
  const roots = parts.roots.length > 0 ? [...new Set(parts.roots)].sort() : unreferenced(infos);
  const first = roots[0];
  if (first === undefined) throw new OciError("NOT_FOUND", `${name} has no store path`);
  const { storeDirectory } = parseStorePath(first);
  const found = new Map<string, Info>();
  const missing = new Set<string>();
  const pending = [...roots];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    if (found.has(path) || missing.has(path)) continue;
    if (!path.startsWith(`${storeDirectory}/`) || path.indexOf("/", storeDirectory.length + 1) >= 0)
      throw new OciError("INVALID", `${name} has ${path} beside paths in ${storeDirectory}`);
    const info = infos.get(path);
    if (info === undefined) missing.add(path);
    else {
      found.set(path, info);
      for (const reference of info.references) pending.push(`${storeDirectory}/${reference}`);
    }
  }
  if (missing.size > 0) throw notClosed(name, [...missing].sort());
  topologicalOrder([...found.values()]);
  const objects: StoreObject[] = [];
  for (const path of [...found.keys()].sort()) objects.push(await parts.object(found.get(path) as Info));
  return { name, storeDirectory, roots, objects };
}

function unreferenced(infos: ReadonlyMap<string, PartialPathInfo>): string[] {
  const referenced = new Set(
    [...infos.values()].flatMap(({ path, references }) => references.filter((base) => base !== baseNameOf(path))),
  );
  return [...infos.keys()].filter((path) => !referenced.has(baseNameOf(path))).sort();
}

function notClosed(name: string, missing: readonly string[]): OciError {
  const more = missing.length - MAXIMUM_NAMED;
  return new OciError(
    "NOT_FOUND",
    `${name} lacks what is referred to: ${missing.slice(0, MAXIMUM_NAMED).join(", ")}${more > 0 ? ` and ${more} more` : ""}`,
    { hint: "An image needs whole closures: nix-store -qR names all paths of one." },
  );
}
