import {
  type Abortable,
  type Descriptor,
  forEachParallel,
  isImageManifestType,
  isIndexType,
  isOciError,
  OciError,
  readManifest,
  type Source,
} from "@stowage/layout";
import { parseStorePath } from "../formats/store-path.js";
import { annotatedPaths, nixKeys } from "../layer/annotations.js";
import type { StoredPath } from "../layer/stored-path.js";

/** The store paths that an image, or an index, holds. */
export interface StoredClosure {
  readonly storeDirectory: string;
  /** What was asked for when it was made; whole paths. */
  readonly roots: readonly string[];
  /** By whole path, in bytewise order. */
  readonly paths: ReadonlyMap<string, StoredPath>;
}

/** How many manifests of an index are read at once. */
const PARALLEL_READS = 8;
/** An index may be in an index, and no deeper. */
const MAXIMUM_DEPTH = 3;

/**
 * What the layers of an image say which store paths they hold; of an index, all of its images and artifacts together. Nothing
 * of the layers is read. Fails with `INVALID` where none holds any, or where they are in several store directories.
 */
export async function readStoredClosure(
  source: Pick<Source, "fetch">,
  descriptor: Descriptor,
  options: Abortable = {},
): Promise<StoredClosure> {
  const found = new Map<string, StoredPath>();
  const roots = new Set<string>();
  await collectPaths(source, descriptor, found, roots, 0, options);
  return closureFrom(found, roots, descriptor.digest);
}

/** The store paths of everything that has a tag; what holds none is passed over. Fails with `NOT_FOUND` where nothing does. */
export async function readAllStored(source: Source, options: Abortable = {}): Promise<StoredClosure> {
  const found = new Map<string, StoredPath>();
  const roots = new Set<string>();
  for await (const tag of source.tags(options)) {
    try {
      await collectPaths(source, await source.resolve(tag, options), found, roots, 0, options);
    } catch (error) {
      if (!isOciError(error, "NOT_FOUND") && !isOciError(error, "UNSUPPORTED")) throw error;
    }
  }
  if (found.size === 0)
    throw new OciError("NOT_FOUND", `${source.name} holds no store path`, {
      hint: "stowage nix export and stowage nix import put them there.",
    });
  return closureFrom(found, roots, source.name);
}

async function collectPaths(
  source: Pick<Source, "fetch">,
  descriptor: Descriptor,
  found: Map<string, StoredPath>,
  roots: Set<string>,
  depth: number,
  options: Abortable,
): Promise<void> {
  if (!isImageManifestType(descriptor.mediaType) && !isIndexType(descriptor.mediaType)) return;
  const { manifest } = await readManifest(source, descriptor, options);
  for (const root of parseRoots(manifest.annotations?.[nixKeys.roots])) roots.add(root);
  if (manifest.kind === "index" && depth < MAXIMUM_DEPTH)
    await forEachParallel(manifest.manifests, PARALLEL_READS, (child) =>
      collectPaths(source, child, found, roots, depth + 1, options),
    );
  if (manifest.kind !== "image") return;
  for (const layer of manifest.layers) {
    for (const { info, member } of annotatedPaths(layer.annotations, `the layer ${layer.digest}`)) {
      const there = found.get(info.path);
      // A layer of its own takes less to read than a part of one.
      if (there !== undefined && (there.member === undefined || member !== undefined)) continue;
      found.set(info.path, { info, layer, ...(member === undefined ? {} : { member }) });
    }
  }
}

function parseRoots(text: string | undefined): string[] {
  try {
    const value: unknown = JSON.parse(text ?? "[]");
    return Array.isArray(value) ? value.filter((root): root is string => typeof root === "string") : [];
  } catch {
    return [];
  }
}

function closureFrom(found: ReadonlyMap<string, StoredPath>, roots: ReadonlySet<string>, where: string): StoredClosure {
  const paths = new Map([...found].sort(([one], [other]) => (one < other ? -1 : 1)));
  const stores = new Set([...paths.keys()].map((path) => parseStorePath(path).storeDirectory));
  const [storeDirectory] = stores;
  if (storeDirectory === undefined)
    throw new OciError("INVALID", `${where} holds no store path`, { hint: "stowage nix export makes what does." });
  if (stores.size > 1)
    throw new OciError("INVALID", `${where} has store paths in several directories: ${[...stores].join(", ")}`);
  return { storeDirectory, roots: [...roots].filter((root) => paths.has(root)).sort(), paths };
}
