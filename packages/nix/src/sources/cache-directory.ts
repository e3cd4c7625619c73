import { open, readdir } from "node:fs/promises";
import { join, resolve, sep } from "node:path";
import { type Abortable, isOciError, OciError, systemError } from "@stowage/layout";
import { decompressNar } from "../compression/nar-compression.js";
import { readNar } from "../formats/nar-reader.js";
import { MAXIMUM_NARINFO, type NarInfo, parseNarInfo } from "../formats/narinfo.js";
import { baseNameOf } from "../formats/path-info.js";
import { DEFAULT_STORE_DIRECTORY, isHashPart, parseStoreDirectory } from "../formats/store-path.js";
import { baseNameArgument, type Closure, closureOf, type StoreObject } from "./closure.js";
import { readFileFrom } from "./read-tree.js";

/**
 * The closure of some paths in a binary cache that is a directory, as `nix copy --to file://DIR` makes one; without roots that of
 * all it has. Fails with `NOT_FOUND` where something is missing, with `INVALID` where it is damaged.
 */
export async function readCacheDirectory(
  directory: string,
  roots: readonly string[],
  options: Abortable = {},
): Promise<Closure> {
  const name = `the binary cache ${directory}`;
  const storeDirectory = await readStoreDirectory(directory);
  const infos = new Map<string, NarInfo>();
  const wanted = roots.length > 0 ? roots.map(baseNameArgument) : await hashesIn(directory);
  const found = new Map<string, string>();
  const pending = wanted.map((text) => text.slice(0, 32));
  const seen = new Set(pending);
  for (let hash = pending.pop(); hash !== undefined; hash = pending.pop()) {
    options.signal?.throwIfAborted();
    const info = await readNarInfo(directory, hash, storeDirectory);
    if (info === undefined) continue;
    infos.set(info.path, info);
    found.set(hash, info.path);
    for (const reference of info.references) {
      const next = reference.slice(0, 32);
      if (!seen.has(next)) pending.push(next);
      seen.add(next);
    }
  }
  return closureOf({
    name,
    infos,
    roots: roots.map((root, at) => rootPath(root, wanted[at] as string, found, name)),
    object: (info) => objectOf(directory, info, options),
  });
}

function rootPath(root: string, wanted: string, found: ReadonlyMap<string, string>, name: string): string {
  const path = found.get(wanted.slice(0, 32));
  // A hash alone may stand for the path; a longer text has to be it.
  if (path !== undefined && baseNameOf(path).startsWith(wanted)) return path;
  throw new OciError("NOT_FOUND", `${name} has no store path ${JSON.stringify(root)}`, {
    hint: "A store path is named by itself, by its base name, or by the 32 characters of its hash.",
  });
}

async function hashesIn(directory: string): Promise<string[]> {
  try {
    const names = await readdir(directory);
    return names
      .filter((name) => name.endsWith(".narinfo"))
      .map((name) => name.slice(0, -".narinfo".length))
      .filter(isHashPart)
      .sort();
  } catch (error) {
    throw systemError(error, `cannot read the binary cache ${directory}`);
  }
}

/** The store directory that `nix-cache-info` names. A directory without that file is no cache. */
async function readStoreDirectory(directory: string): Promise<string> {
  const path = join(directory, "nix-cache-info");
  const text = await readSmallText(path, 64 * 1024).catch((error: unknown) => {
    if (!isOciError(error, "NOT_FOUND")) throw error;
    throw new OciError("NOT_FOUND", `${directory} is no binary cache: it has no file nix-cache-info`, { cause: error });
  });
  const store = /^StoreDir: (.*)$/m.exec(text)?.[1];
  return store === undefined ? DEFAULT_STORE_DIRECTORY : parseStoreDirectory(store, `the StoreDir of ${path}`);
}

async function readNarInfo(directory: string, hash: string, store: string): Promise<NarInfo | undefined> {
  const path = join(directory, `${hash}.narinfo`);
  let info: NarInfo;
  try {
    info = parseNarInfo(await readSmallText(path, MAXIMUM_NARINFO), path);
  } catch (error) {
    if (isOciError(error, "NOT_FOUND")) return undefined;
    throw error;
  }
  const base = baseNameOf(info.path);
  if (!base.startsWith(`${hash}-`) || info.path !== `${store}/${base}`)
    throw new OciError("INVALID", `${path} is about ${info.path}`);
  return info;
}

async function readSmallText(path: string, limit: number): Promise<string> {
  try {
    const file = await open(path);
    try {
      const { size } = await file.stat();
      if (size > limit) throw new OciError("LIMIT", `${path} is larger than ${limit} bytes`);
      return (await file.readFile()).toString();
    } finally {
      await file.close();
    }
  } catch (error) {
    throw systemError(error, `cannot read ${path}`);
  }
}

function objectOf(directory: string, info: NarInfo, options: Abortable): StoreObject {
  const { url, compression, path } = info;
  const root = resolve(directory);
  const file = resolve(root, url.replace(/[?#].*$/s, ""));
  if (/^[a-z][a-z0-9+.-]*:/i.test(url) || !file.startsWith(root + sep))
    throw new OciError("DENIED", `the NAR of ${path} is at ${JSON.stringify(url)}, outside of ${directory}`);
  const what = `the NAR of ${path}`;
  return {
    info,
    tree: () => readNar(decompressNar(readFileFrom(file, 0, options), compression, what, options), what, options),
  };
}
