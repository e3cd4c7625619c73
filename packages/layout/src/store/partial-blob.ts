import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { lstat, open, readdir, rename } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Bytes } from "../content.js";
import type { Descriptor } from "../model/descriptor.js";
import { type Digest, digestAlgorithm, digestEncoded, Hasher } from "../model/digest.js";
import { isOciError, OciError, systemErrorCode } from "../model/errors.js";
import { CHUNK_SIZE, makeDirectory, removeFile } from "./files.js";
import { isRunningByMark, processMark } from "./process.js";
import { type HashedStreamOptions, writeHashed } from "./write-stream.js";

/** Content smaller than this, in bytes, is fetched again rather than kept in part. */
export const WORTH_KEEPING = CHUNK_SIZE;

/** Bytes. A process that is killed loses twice as much at most, less than a chunk. */
const WRITTEN_AT_ONCE = CHUNK_SIZE / 4;

/** After this time without a write, in ms, a part counts as left behind where its process cannot be seen from here. */
const SILENCE = 10 * 60_000;

/** Stands where the mark of a process would, in the name of a part that its process has left to whoever comes next. */
export const NOBODY = "0--00000000";

/** The parts that this process is filling, by the names of their files. */
export const active = new Set<string>();

/** Matches the name of a part in `ingest`. */
export const PARTIAL_NAME = /^partial\.[a-z0-9+._-]+-[A-Za-z0-9=_-]+\.(?=[0-9]+-)/;

/** What can be fetched from any offset, and stored in part. */
export interface ResumableContent {
  readonly descriptor: Descriptor;
  open(offset: number): Bytes;
}

/**
 * Fetches content into a file of `ingest` and returns its path; the file is whole and verified. What an earlier fetch of the same
 * digest left there, in this process or in one that has ended however hard, is read and gone on from. A file belongs to one
 * process at a time. Where the fetch fails, what has arrived stays for the next one, unless it is wrong: `MISMATCH`.
 */
export async function fetchPartially(
  ingest: string,
  content: ResumableContent,
  options: Pick<HashedStreamOptions, "signal" | "onBytes">,
): Promise<string> {
  await makeDirectory(ingest);
  const name = `partial.${digestAlgorithm(content.descriptor.digest)}-${digestEncoded(content.descriptor.digest)}`;
  const path = join(ingest, `${name}.${processMark}-${randomBytes(8).toString("hex")}`);
  active.add(basename(path));
  try {
    const resumed = await takeOver(ingest, `${name}.`, path);
    try {
      await fill(path, content, options);
    } catch (error) {
      // What was kept may have been damaged by a power loss. It is not worth more than one look.
      if (!resumed || !isOciError(error, "MISMATCH")) throw error;
      await removeFile(path);
      await fill(path, content, options);
    }
    return path;
  } catch (error) {
    if (!(await isWorthKeeping(path, error, options.signal))) await removeFile(path).catch(() => {});
    throw error;
  } finally {
    active.delete(basename(path));
  }
}

/** True where the source or the caller gave up, as against a disk that is full or content that is wrong. */
async function isWorthKeeping(path: string, error: unknown, signal: AbortSignal | undefined): Promise<boolean> {
  const outside = signal?.aborted === true || (isOciError(error) && error.code !== "MISMATCH");
  return outside && ((await lstat(path).catch(() => undefined))?.size ?? 0) > 0;
}

/** Renames the largest part that nobody is filling to `path`. Of two processes that try it one finds nothing. False where there is none. */
export async function takeOver(ingest: string, prefix: string, path: string): Promise<boolean> {
  const found: { name: string; size: number }[] = [];
  for (const name of (await readdir(ingest)).filter((one) => one.startsWith(prefix))) {
    const stat = await lstat(join(ingest, name)).catch(() => undefined);
    if (stat?.isFile() === true && isAbandoned(name, stat.mtimeMs)) found.push({ name, size: stat.size });
  }
  for (const { name } of found.sort((a, b) => b.size - a.size)) {
    try {
      await rename(join(ingest, name), path);
      return true;
    } catch (error) {
      if (systemErrorCode(error) !== "ENOENT") throw error;
    }
  }
  return false;
}

/** True for the name of a part that nobody is filling, given when it was written to last (ms since 1970). */
export function isAbandoned(name: string, written: number): boolean {
  if (active.has(name)) return false;
  const mark = name.replace(PARTIAL_NAME, "");
  if (mark.startsWith(`${processMark}-`) || mark.startsWith(`${NOBODY}-`)) return true;
  const running = isRunningByMark(mark);
  return running === undefined ? Date.now() - written > SILENCE : !running;
}

async function fill(
  path: string,
  { descriptor, open: openContent }: ResumableContent,
  options: Pick<HashedStreamOptions, "signal" | "onBytes">,
): Promise<void> {
  const handle = await open(path, constants.O_RDWR | constants.O_CREAT | (constants.O_NOFOLLOW ?? 0), 0o666);
  try {
    const { algorithm } = Hasher.for(descriptor.digest);
    const from = (await handle.stat()).size;
    if (from > descriptor.size) throw new OciError("MISMATCH", `what was kept of ${descriptor.digest} is too large`);
    const rest = from === descriptor.size ? [] : openContent(from);
    const { size, digest } = await writeHashed(handle, rest, algorithm, {
      ...options,
      from,
      limit: descriptor.size,
      chunkSize: WRITTEN_AT_ONCE,
    });
    checkArrived(descriptor, size, digest);
  } finally {
    await handle.close();
  }
}

/** Fails with `MISMATCH` unless what arrived is what the descriptor says. */
export function checkArrived(descriptor: Descriptor, size: number, digest: Digest): void {
  if (size !== descriptor.size)
    throw new OciError("MISMATCH", `${descriptor.digest} ended after ${size} bytes; ${descriptor.size} were declared`);
  if (digest === descriptor.digest) return;
  throw new OciError("MISMATCH", `the content that was to be ${descriptor.digest} has the digest ${digest}`, {
    hint: "Nothing was stored. The content was damaged or replaced on its way.",
  });
}
