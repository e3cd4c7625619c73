import { execFile } from "node:child_process";
import { readlink } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { type Abortable, collect, OciError, parseJson, systemErrorCode } from "@stowage/layout";
import { hashNar } from "../formats/nar-writer.js";
import { type PartialPathInfo, type PathInfo, parsePathInfo } from "../formats/path-info.js";
import { parseGraph } from "../formats/references-graph.js";
import { DEFAULT_STORE_DIRECTORY, isBaseName, parseStorePath } from "../formats/store-path.js";
import { type Closure, closureOf, findPath, type StoreObject } from "./closure.js";
import { readFileFrom, treeAt } from "./read-tree.js";

const run = promisify(execFile);

/** Links that are followed from a root to the store. */
const MAXIMUM_LINKS = 40;

/** The options of {@link readStore} and {@link readGraphFile}. */
export interface StoreOptions extends Abortable {
  /** The directory that stands for `/`: the store of `/nix/store/x` is then `ROOT/nix/store`, as with `nix --store ROOT`. Default: `/`. */
  readonly storeRoot?: string | undefined;
}

/** Bytes of the largest description of a closure that is read: 100,000 paths have less than half of that. */
const MAXIMUM_DESCRIPTION = 256 * 1024 * 1024;

/**
 * The closure of some paths in the store of this machine, as `nix path-info` describes it. A root may also be a link to a path,
 * such as `result`. Fails with `NOT_FOUND` where there is no Nix or no such path.
 */
export async function readStore(roots: readonly string[], options: StoreOptions = {}): Promise<Closure> {
  const name = options.storeRoot === undefined ? "the store" : `the store in ${options.storeRoot}`;
  if (roots.length === 0)
    throw new OciError("INVALID", "cannot take all of a store", { hint: "Name the store paths to export." });
  const paths = await Promise.all(roots.map((root) => rootPath(root, options)));
  const described = await pathInfo(paths, options);
  const infos = new Map(parsePathInfo(described, "what nix path-info says").map((info) => [info.path, info]));
  return closureOf({ name, infos, roots: paths, object: (info) => objectOf(info, options) });
}

/** The store path that a root is, or is in, or is a link to. A store path that is a link is itself meant. */
async function rootPath(root: string, { storeRoot }: StoreOptions): Promise<string> {
  if (isBaseName(root)) return `${DEFAULT_STORE_DIRECTORY}/${root}`;
  let at = root;
  for (let links = 0; links < MAXIMUM_LINKS; links++) {
    const parts = at.split("/");
    const base = parts.findIndex(isBaseName);
    if (at.startsWith("/") && base > 0) return parts.slice(0, base + 1).join("/");
    const target = storeRoot === undefined ? await readlink(at).catch(() => undefined) : undefined;
    if (target === undefined) break;
    at = resolve(dirname(at), target);
  }
  parseStorePath(at, `the root ${root}`);
  return at;
}

/** What `nix path-info` prints. Versions from 2.33 on want to be told the format, those before 2.31 do not know that option. */
async function pathInfo(paths: readonly string[], { storeRoot, signal }: StoreOptions): Promise<unknown> {
  const store = storeRoot === undefined ? [] : ["--store", storeRoot];
  const ask = async (...format: readonly string[]): Promise<unknown> => {
    const args = ["--extra-experimental-features", "nix-command", "path-info", ...store, "--json", ...format, "-r"];
    const { stdout } = await run("nix", [...args, "--", ...paths], { maxBuffer: MAXIMUM_DESCRIPTION, signal });
    return parseJson(Buffer.from(stdout), "what nix path-info prints");
  };
  try {
    return await ask("--json-format", "1").catch((error: unknown) => {
      if (!String((error as { stderr?: unknown }).stderr).includes("json-format")) throw error;
      return ask();
    });
  } catch (error) {
    signal?.throwIfAborted();
    if (systemErrorCode(error) === "ENOENT")
      throw new OciError("NOT_FOUND", "cannot ask for store paths: there is no nix on this machine", {
        hint: "A binary cache, an export or a graph can be read without it: --from cache:DIR, export:FILE, graph:FILE.",
      });
    const text = String((error as { stderr?: unknown }).stderr ?? (error as Error).message);
    const reason = text.trim().split("\n").at(-1)?.slice(0, 500) ?? "";
    throw new OciError("NOT_FOUND", `nix path-info failed: ${reason}`, { cause: error });
  }
}

/**
 * The closure of some paths that a file describes: `exportReferencesGraph`, `closureInfo`, `nix-store --dump-db`, `nix path-info
 * --json`. The content is that of the store on the disk, so this works inside of a derivation. Without roots everything that
 * is described. Fails as `parseGraph` and `closureOf` do.
 */
export async function readGraphFile(
  file: string,
  roots: readonly string[],
  options: StoreOptions = {},
): Promise<Closure> {
  const bytes = await collect(copied(readFileFrom(file, 0, options)), MAXIMUM_DESCRIPTION, file);
  const infos = new Map(parseGraph(bytes, file).map((info) => [info.path, info]));
  return closureOf({
    name: file,
    infos,
    roots: roots.map((root) => findPath(infos.keys(), root, file)),
    object: async (info) => objectOf(await hashed(info, options), options),
  });
}

/** Chunks that stay valid. */
async function* copied(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of bytes) yield Uint8Array.from(chunk);
}

async function hashed(info: PartialPathInfo, options: StoreOptions): Promise<PathInfo> {
  const { narHash, narSize } = info;
  if (narHash !== undefined && narSize !== undefined) return { ...info, narHash, narSize };
  return { ...info, ...(await hashNar(treeAt(onDisk(info.path, options), options)(), info.path)) };
}

function objectOf(info: PathInfo, options: StoreOptions): StoreObject {
  return { info, tree: treeAt(onDisk(info.path, options), options) };
}

function onDisk(path: string, { storeRoot }: StoreOptions): string {
  return storeRoot === undefined ? path : join(storeRoot, path);
}
