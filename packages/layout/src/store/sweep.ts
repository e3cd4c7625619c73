import type { Dirent } from "node:fs";
import { lstat, readdir, rm, writeFile } from "node:fs/promises";
import { join, posix } from "node:path";
import { type Digest, digestAlgorithm, digestEncoded, isDigest, isVerifiable } from "../model/digest.js";
import { systemError, systemErrorCode } from "../model/errors.js";
import { forEachParallel, PARALLEL_READS } from "../parallel.js";
import type { BlobDirectory } from "./blobs.js";
import { readSmallFile, removeFile, replaceFile } from "./files.js";
import { PARTIAL_NAME } from "./partial-blob.js";
import { isRunning, isRunningByMark, type ProcessIdentity } from "./process.js";

/** A temporary file that is older than this, in ms, is a leftover, wherever the process was that made it. */
const LEFTOVER_AGE = 24 * 60 * 60_000;

/** The largest file of the owner of a lock that is read, in bytes. */
const MAXIMUM_OWNER_SIZE = 4096;

/** A blob that a sweep looked at. */
export interface SweptBlob {
  readonly digest: Digest;
  /** Bytes on the disk. */
  readonly size: number;
}

/** A temporary file that a sweep looked at: in `ingest`, or of a process that shares the blobs. */
export interface SweptFile {
  /** From the root of the layout. */
  readonly path: string;
  readonly reason: "its process has ended" | "older than a day" | "may still be in use";
}

/** What a sweep did, or would do. */
export interface SweepReport {
  readonly removed: readonly SweptBlob[];
  /** Blobs that nothing needs and that are younger than the grace time. */
  readonly spared: readonly SweptBlob[];
  readonly leftovers: { readonly removed: readonly SweptFile[]; readonly spared: readonly SweptFile[] };
  /** What a sweep never touches: files under `blobs` that are no blobs, and blobs of an algorithm that is not known here. */
  readonly ignored: readonly string[];
}

/** The options of {@link sweep}. */
export interface SweepOptions {
  /** Blobs that were written or claimed less than this long ago, in ms, stay. */
  readonly grace: number;
  /** Remove nothing. */
  readonly dryRun?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Removes the blobs that are not live, and what dead processes have left in `ingest`. The caller holds the lock of the
 * layout. What is no regular file `blobs/ALGORITHM/ENCODED` of a digest that can be verified here stays.
 */
export async function sweep(
  blobs: BlobDirectory,
  isLive: (digest: Digest) => boolean,
  options: SweepOptions,
): Promise<SweepReport> {
  const { digests, foreign } = await listBlobs(blobs.root);
  const removed: SweptBlob[] = [];
  const spared: SweptBlob[] = [];
  const now = await currentTime(blobs, options);
  const before = options.grace === 0 ? Number.POSITIVE_INFINITY : now - options.grace;
  const dead = digests.filter((digest) => !isLive(digest));
  await forEachParallel(dead, PARALLEL_READS, async (digest) => {
    options.signal?.throwIfAborted();
    const blob =
      options.dryRun === true ? await look(blobs.path(digest), before) : await removeBlob(blobs, digest, before);
    if (blob !== undefined) (blob.removed ? removed : spared).push({ digest, size: blob.size });
  });
  const byDigest = (a: SweptBlob, b: SweptBlob): number => (a.digest < b.digest ? -1 : 1);
  const leftovers = await sweepLeftovers(blobs.root, now, options);
  return { removed: removed.sort(byDigest), spared: spared.sort(byDigest), leftovers, ignored: foreign };
}

/**
 * Removes the blob unless it was claimed or written after `time` (ms since 1970). It is taken aside first and looked at
 * again: a claim either came before, and is seen, or finds nothing. Returns what was there, or undefined.
 */
export async function removeBlob(
  blobs: BlobDirectory,
  digest: Digest,
  time: number,
): Promise<{ readonly size: number; readonly removed: boolean } | undefined> {
  const path = blobs.path(digest);
  const aside = asidePath(blobs, digest);
  try {
    const { size, mtimeMs } = await lstat(path);
    if (mtimeMs > time) return { size, removed: false };
    await replaceFile(path, aside);
    if ((await lstat(aside)).mtimeMs > time) {
      await replaceFile(aside, path);
      return { size, removed: false };
    }
    await removeFile(aside);
    return { size, removed: true };
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return undefined;
    throw systemError(error, `cannot remove ${path}`);
  }
}

/** Where a blob is while it is decided whether it goes. The name tells which one it is, should nobody live to decide. */
function asidePath(blobs: BlobDirectory, digest: Digest): string {
  return `${blobs.temporary()}.${digestAlgorithm(digest)}-${digestEncoded(digest)}`;
}

/**
 * Puts the blobs back that a collection had taken aside when it was killed: it may not have known any more that a writer
 * counts on one of them. The caller holds the lock, so no other collection is at work.
 */
export async function restoreTaken(blobs: BlobDirectory): Promise<void> {
  for (const { name } of await entriesOf(blobs.ingest)) {
    const match = /\.(sha256|sha512)-([0-9a-f]+)$/.exec(name);
    const text = `${match?.[1]}:${match?.[2]}`;
    if (match === null || !isDigest(text) || !isVerifiable(text)) continue;
    await replaceFile(join(blobs.ingest, name), blobs.path(text));
  }
}

async function look(path: string, before: number): Promise<{ size: number; removed: boolean } | undefined> {
  const stat = await lstat(path).catch(() => undefined);
  return stat && { size: stat.size, removed: stat.mtimeMs <= before };
}

/** The time by the clock that stamps the files, which need not be ours. */
async function currentTime(blobs: BlobDirectory, options: SweepOptions): Promise<number> {
  if (options.dryRun === true) return Date.now();
  const path = blobs.temporary();
  try {
    await writeFile(path, "");
    return (await lstat(path)).mtimeMs;
  } catch {
    return Date.now();
  } finally {
    await removeFile(path).catch(() => {});
  }
}

/** The blobs of a layout that can be verified here, and the paths from its root of all else under `blobs`. */
export async function listBlobs(root: string): Promise<{ digests: readonly Digest[]; foreign: readonly string[] }> {
  const digests: Digest[] = [];
  const foreign: string[] = [];
  for (const algorithm of await entriesOf(join(root, "blobs"))) {
    if (!algorithm.isDirectory()) {
      foreign.push(`blobs/${algorithm.name}`);
      continue;
    }
    for (const file of await entriesOf(join(root, "blobs", algorithm.name))) {
      const text = `${algorithm.name}:${file.name}`;
      if (file.isFile() && isDigest(text) && isVerifiable(text)) digests.push(text);
      else if (!isTemporaryBlob(file)) foreign.push(`blobs/${algorithm.name}/${file.name}`);
    }
  }
  return { digests, foreign: foreign.sort() };
}

async function entriesOf(directory: string): Promise<Dirent[]> {
  try {
    return await readdir(directory, { withFileTypes: true });
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return [];
    throw systemError(error, `cannot read ${directory}`);
  }
}

async function sweepLeftovers(
  root: string,
  now: number,
  options: SweepOptions,
): Promise<{ removed: SweptFile[]; spared: SweptFile[] }> {
  const removed: SweptFile[] = [];
  const spared: SweptFile[] = [];
  const found = [...(await leftovers(root, now))];
  // Where other layouts share the blobs of this one, their processes leave files there.
  for (const algorithm of await entriesOf(join(root, "blobs")))
    if (algorithm.isDirectory())
      found.push(...(await leftoversIn(root, join("blobs", algorithm.name), isTemporaryBlob, now)));
  for (const file of found) {
    if (file.reason === "may still be in use") {
      spared.push(file);
      continue;
    }
    if (options.dryRun !== true) await rm(join(root, file.path), { recursive: true, force: true });
    removed.push(file);
  }
  return { removed, spared };
}

/** Removes what dead processes have left beside the blobs in a directory that layouts share. */
export async function sweepTemporaryBlobs(directory: string): Promise<void> {
  for (const { path, reason } of await leftoversIn(directory, ".", isTemporaryBlob, Date.now()))
    if (reason !== "may still be in use") await removeFile(join(directory, path));
}

/** The name of a blob that is being added to a directory that layouts share, given the mark of the process. */
export function temporaryBlob(mark: string): string {
  return `.${mark}`;
}

function isTemporaryBlob(file: Dirent): boolean {
  return file.isFile() && /^\.[0-9]+-[0-9]*-[0-9a-f]{8}-[0-9a-f]+$/.test(file.name);
}

/** The files in `ingest` apart from the lock that is held, each with what is to be thought of it. */
export async function leftovers(root: string, now: number): Promise<readonly SweptFile[]> {
  // The lock itself, and directories of which nothing is known.
  const isOurs = (file: Dirent): boolean =>
    file.name !== "lock" && (!file.isDirectory() || file.name.startsWith("lock."));
  return leftoversIn(root, "ingest", isOurs, now);
}

async function leftoversIn(
  root: string,
  directory: string,
  isOurs: (file: Dirent) => boolean,
  now: number,
): Promise<readonly SweptFile[]> {
  const found: SweptFile[] = [];
  for (const file of await entriesOf(join(root, directory))) {
    if (!isOurs(file)) continue;
    const path = join(root, directory, file.name);
    const stat = await lstat(path).catch(() => undefined);
    if (stat === undefined) continue;
    // Part of a blob is worth keeping: the next fetch goes on from there.
    const partial = PARTIAL_NAME.test(file.name);
    const marked = isRunningByMark(file.name.replace(partial ? PARTIAL_NAME : /^(?:index\.json\.|lock\.|\.)/, ""));
    const running = marked ?? (file.isDirectory() ? await isOwnerRunning(path) : undefined);
    const old = now - stat.mtimeMs > LEFTOVER_AGE;
    const reason =
      running === false && !partial ? "its process has ended" : old ? "older than a day" : "may still be in use";
    found.push({
      path: posix.join(directory, file.name),
      reason: running === true ? "may still be in use" : reason,
    });
  }
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

async function isOwnerRunning(directory: string): Promise<boolean | undefined> {
  try {
    const [file] = await readdir(directory);
    if (file === undefined) return undefined;
    const bytes = await readSmallFile(join(directory, file), MAXIMUM_OWNER_SIZE);
    return isRunning(JSON.parse(Buffer.from(bytes).toString("utf8")) as Partial<ProcessIdentity>);
  } catch {
    // Half written, or gone: its age decides.
    return undefined;
  }
}
