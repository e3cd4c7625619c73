import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Abortable } from "./content.js";
import type { Digest } from "./model/digest.js";
import { isOciError, OciError, systemErrorCode } from "./model/errors.js";
import { mediaTypes } from "./model/media-types.js";
import { forEachParallel, PARALLEL_READS } from "./parallel.js";
import { BlobDirectory } from "./store/blobs.js";
import { DERIVED_INDEX } from "./store/derived-file.js";
import { refName } from "./store/index-json.js";
import { Layout, type LayoutOptions } from "./store/layout.js";
import { acquireLock } from "./store/lock.js";
import { listBlobs } from "./store/sweep.js";

/** The options of {@link salvage}. */
export interface SalvageOptions extends Abortable {
  /** How the layout is opened. */
  readonly layout?: LayoutOptions | undefined;
}

/** What was taken out of a layout because it was damaged. */
export interface SalvageReport {
  readonly path: string;
  /** Blobs whose bytes are not what their names say. */
  readonly blobs: readonly Digest[];
  /** Names, or digests where there is no name, of entries whose manifest is not there. */
  readonly entries: readonly string[];
  /** Why index.json or oci-layout were replaced by empty ones. */
  readonly index?: string;
}

const OWN_NAMES: ReadonlySet<string> = new Set(["oci-layout", "index.json", "blobs", "ingest", DERIVED_INDEX]);

/**
 * Makes a layout of which nothing is sure, such as one that a cache brought back, one that can be relied on: what is in it
 * afterwards is what its digest says, and each of its entries has its manifest. Damaged content goes; what a manifest points at
 * may be missing. A directory that is not there, or empty, is left alone. Fails with `CONFLICT`, and touches nothing, where the
 * directory cannot be opened as a layout and holds anything else.
 */
export async function salvage(path: string, options: SalvageOptions = {}): Promise<SalvageReport> {
  if (!(await holdsAnything(path))) return { path, blobs: [], entries: [] };
  const { layout, index } = await opened(path, options);
  const damaged = await damagedBlobs(layout, options);
  if (damaged.size > 0)
    await layout.sweep(async () => (digest) => !damaged.has(digest), { grace: 0, signal: options.signal });
  const entries = await removeLostEntries(layout, options);
  return { path, blobs: [...damaged].sort(), entries, ...(index === undefined ? {} : { index }) };
}

async function holdsAnything(path: string): Promise<boolean> {
  try {
    return (await readdir(path)).length > 0;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return false;
    if (systemErrorCode(error) === "ENOTDIR")
      throw new OciError("CONFLICT", `${path} is no directory, so it can be no layout`, { cause: error });
    throw error;
  }
}

/** The layout; one whose index cannot be read gets an empty one. */
async function opened(path: string, options: SalvageOptions): Promise<{ layout: Layout; index?: string }> {
  try {
    const layout = await Layout.open(path, options.layout);
    await layout.index(options);
    return { layout };
  } catch (error) {
    if (!isOciError(error, "INVALID") && !isOciError(error, "LIMIT")) throw error;
    const foreign = (await readdir(path)).find((name) => !OWN_NAMES.has(name));
    if (foreign !== undefined)
      throw new OciError("CONFLICT", `${path} is no layout and holds ${JSON.stringify(foreign)}: ${error.message}`, {
        hint: "Name a directory that is empty or does not exist yet.",
        cause: error,
      });
    await discardIndex(path, options);
    return { layout: await Layout.create(path, options.layout), index: error.message };
  }
}

async function discardIndex(path: string, { signal, layout }: SalvageOptions): Promise<void> {
  const blobs = new BlobDirectory(path);
  await rm(join(path, DERIVED_INDEX), { force: true });
  // The lock lies in a directory that a damaged layout may lack; then nobody can hold it.
  const lock = (await stat(blobs.ingest).catch(() => undefined))?.isDirectory()
    ? await acquireLock(blobs.lock, { signal, timeout: layout?.lockTimeout })
    : undefined;
  try {
    for (const name of ["index.json", "oci-layout"]) await rm(join(path, name), { force: true, recursive: true });
  } finally {
    await lock?.release();
  }
}

async function damagedBlobs(layout: Layout, options: Abortable): Promise<ReadonlySet<Digest>> {
  const damaged = new Set<Digest>();
  const { digests } = await listBlobs(layout.path);
  await forEachParallel(digests, PARALLEL_READS, async (digest) => {
    const size = (await layout.size(digest)) ?? 0;
    try {
      await layout.check({ mediaType: mediaTypes.octetStream, digest, size }, options);
    } catch (error) {
      options.signal?.throwIfAborted();
      if (!isOciError(error, "MISMATCH")) throw error;
      damaged.add(digest);
    }
  });
  return damaged;
}

async function removeLostEntries(layout: Layout, options: Abortable): Promise<readonly string[]> {
  const { manifests } = await layout.index(options);
  const present = new Map<Digest, boolean>();
  for (const { digest } of manifests)
    if (!present.has(digest)) present.set(digest, (await layout.size(digest)) !== undefined);
  const lost = manifests.filter(({ digest }) => present.get(digest) === false);
  if (lost.length === 0) return [];
  // What another process has added since is not in the map, and stays.
  await layout.update(
    async (index) => ({ ...index, manifests: index.manifests.filter(({ digest }) => present.get(digest) !== false) }),
    options,
  );
  return lost.map((entry) => refName(entry) ?? entry.digest);
}
