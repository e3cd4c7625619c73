import { readdir, realpath } from "node:fs/promises";
import { join, sep } from "node:path";
import {
  isOciError,
  isRepository,
  Layout,
  type LayoutOptions,
  OciError,
  systemError,
  systemErrorCode,
} from "@stowage/layout";
import type { Repository, Store } from "./store.js";
import { plainNaming, TaggedTarget } from "./tagged-target.js";

/** What lies in a layout's own directory. A repository below another one cannot have these names. */
const LAYOUT_NAMES: ReadonlySet<string> = new Set(["blobs", "index.json", "ingest", "oci-layout"]);

/** How many layouts are kept open, with what they remember of their manifests. */
const OPEN_LAYOUTS = 256;

/**
 * A directory of layouts, one for each repository: the repository `team/app` is the layout at `team/app` below `path`, opened
 * with the given options.
 * No name leads out of the directory, also not through a symbolic link. Fails with `NOT_FOUND` where the directory
 * does not exist and with `INVALID` where it is a layout itself.
 */
export async function directoryStore(path: string, layouts: LayoutOptions = {}): Promise<Store> {
  const root = await realRoot(path);
  const open = new Map<string, Repository>();

  const repository = async (name: string, create: boolean): Promise<Repository | undefined> => {
    const found = open.get(name) ?? (await openRepository(root, name, create, layouts));
    if (found === undefined) return undefined;
    open.delete(name);
    open.set(name, found);
    if (open.size > OPEN_LAYOUTS) open.delete(open.keys().next().value as string);
    return found;
  };

  return {
    name: path,
    repository: (name, options = {}) => repository(name, options.create === true),
    uploads: async (name) => (await repository(name, false))?.uploads,
    async expireUploads(idle, { signal } = {}) {
      const found: string[] = [];
      await findLayouts(root, "", found);
      for (const name of found) {
        signal?.throwIfAborted();
        // One that cannot be opened is told of to whoever asks for it.
        const opened = await repository(name, false).catch(() => undefined);
        await opened?.uploads.expire(idle);
      }
    },
    async *repositories() {
      const found: string[] = [];
      await findLayouts(root, "", found);
      yield* found.sort();
    },
  };
}

async function realRoot(path: string): Promise<string> {
  try {
    const root = await realpath(path);
    const names = await readdir(root);
    if (!names.includes("oci-layout")) return root;
  } catch (error) {
    throw systemError(error, `cannot serve the directory ${path}`);
  }
  throw new OciError("INVALID", `cannot serve ${path} as a directory of layouts: it is a layout itself`);
}

async function openRepository(
  root: string,
  name: string,
  create: boolean,
  layouts: LayoutOptions,
): Promise<Repository | undefined> {
  if (
    name
      .split("/")
      .slice(1)
      .some((part) => LAYOUT_NAMES.has(part))
  ) {
    throw new OciError("INVALID", `${name} cannot be a repository: a part of it is the name of a file of a layout`);
  }
  if (!(await isInside(root, name, create))) return undefined;
  const directory = join(root, name);
  try {
    const layout = create ? await Layout.create(directory, layouts) : await Layout.open(directory, layouts);
    return new TaggedTarget(name, layout, plainNaming);
  } catch (error) {
    // A directory that is no layout is no repository: it may only hold some.
    if (!create && (isOciError(error, "NOT_FOUND") || isOciError(error, "INVALID"))) return undefined;
    throw error;
  }
}

/** True if the directory of a repository, or as much of it as exists, lies below the root once all links are followed. */
async function isInside(root: string, name: string, create: boolean): Promise<boolean> {
  const parts = name.split("/");
  for (let count = parts.length; count > 0; count--) {
    try {
      const real = await realpath(join(root, ...parts.slice(0, count)));
      if (real.startsWith(root.endsWith(sep) ? root : root + sep)) return true;
      throw new OciError("DENIED", `the repository ${name} lies outside of the directory that is served`);
    } catch (error) {
      const code = systemErrorCode(error);
      if (code !== "ENOENT" && code !== "ENOTDIR") throw error;
      if (!create) return false;
    }
  }
  return true;
}

async function findLayouts(directory: string, prefix: string, found: string[]): Promise<void> {
  const entries = await readdir(directory, { withFileTypes: true });
  const isLayout = entries.some((entry) => entry.name === "oci-layout" && entry.isFile());
  if (isLayout && prefix !== "") found.push(prefix);
  for (const entry of entries) {
    const name = prefix === "" ? entry.name : `${prefix}/${entry.name}`;
    if (!entry.isDirectory() || !isRepository(name) || (prefix !== "" && LAYOUT_NAMES.has(entry.name))) continue;
    await findLayouts(join(directory, entry.name), name, found);
  }
}
