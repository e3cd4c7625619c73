import { createHash } from "node:crypto";
import { lstat, mkdir } from "node:fs/promises";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { type Abortable, acquireLock, isOciError, type Lock, systemErrorCode } from "@stowage/layout";
import { inTurn } from "./in-turn.js";

/** How long another process may have the lock before it is done without, in ms. */
const PATIENCE = 30_000;

/**
 * Runs `action` while no other process of this user on this machine, nor another caller in this process, runs one with the
 * same key. Between processes that is an effort, not a guarantee: where no lock can be had (another TMPDIR, a disk that
 * cannot be written, an owner that does not let go for 30 s) the action runs all the same.
 */
export function aloneOnThisMachine<T>(key: string, action: () => Promise<T>, options: Abortable = {}): Promise<T> {
  return inTurn(key, async () => {
    const lock = await lockOf(key, options);
    try {
      return await action();
    } finally {
      await lock?.release().catch(() => {});
    }
  });
}

async function lockOf(key: string, options: Abortable): Promise<Lock | undefined> {
  const directory = await ownDirectory();
  if (directory === undefined) return undefined;
  const name = createHash("sha256").update(key).digest("hex").slice(0, 32);
  try {
    return await acquireLock(join(directory, name), { timeout: PATIENCE, signal: options.signal });
  } catch (error) {
    options.signal?.throwIfAborted();
    if (isOciError(error) || systemErrorCode(error) !== undefined) return undefined;
    throw error;
  }
}

/** A directory for the locks that belongs to this user and that nobody else writes to; undefined where there is none. */
async function ownDirectory(): Promise<string | undefined> {
  try {
    const { uid, username } = userInfo();
    const path = join(tmpdir(), `stowage-locks-${uid < 0 ? username : uid}`);
    await mkdir(path, { mode: 0o700, recursive: true });
    // The name can be guessed: whoever may write to the directory for temporary files could have made it first.
    const found = await lstat(path);
    const own = uid < 0 || (found.uid === uid && (found.mode & 0o022) === 0);
    return found.isDirectory() && own ? path : undefined;
  } catch {
    return undefined;
  }
}
