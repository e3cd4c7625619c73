import { randomBytes } from "node:crypto";
import { mkdir, readdir, rename, rm, rmdir, stat, unlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isOciError, OciError, systemErrorCode } from "../model/errors.js";
import { readSmallFile } from "./files.js";
import { isRunning, type ProcessIdentity, processMark, thisProcess } from "./process.js";

/**
 * A lock between processes, waited for, that outlives no crash.
 *
 * The lock is a directory that holds exactly one file, named for its owner. It is taken by renaming a prepared directory
 * onto it, which the system refuses while that directory holds a file; it is given back, or broken, by removing the
 * owner's file *by name*. So a process that breaks the lock of a dead owner can never remove the lock that somebody else
 * has taken meanwhile, however slowly it goes about it.
 */
export interface Lock {
  /** True where the owner before was found dead: it may have left its work half done. */
  readonly inherited: boolean;
  /** True while the lock is still ours. Ask right before what must not be done by two. */
  held(): Promise<boolean>;
  release(): Promise<void>;
}

/** The options of {@link acquireLock}. */
export interface LockOptions {
  /** How long to wait for another owner, in ms. Default: ten minutes. */
  readonly timeout?: number | undefined;
  /** Told each time that another owner still has it, with what the caller may fail with. */
  readonly onWait?: ((conflict: () => OciError) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How long somebody waits for a lock who does not say, in ms. */
export const DEFAULT_TIMEOUT = 10 * 60_000;
/** An owner on another machine is known only by the time of its file, which it renews this often, in ms. */
const HEARTBEAT = 5_000;
/** After this time without renewal an owner that cannot be seen from here counts as dead, in ms. */
const SILENCE = 60_000;
/** The largest file of an owner that is read, in bytes. */
const MAXIMUM_OWNER_SIZE = 4096;

let counter = 0;

/**
 * Takes the lock at `path`, whose parent directory exists. Waits while a living process has it; takes over from a dead
 * one. Fails with `CONFLICT` when the time-out passes, and with the signal's reason when that is aborted.
 */
export async function acquireLock(path: string, options: LockOptions = {}): Promise<Lock> {
  const id = `${processMark}-${counter++}-${randomBytes(6).toString("hex")}`;
  const prepared = `${path}.${id}`;
  let inherited = false;
  await mkdir(prepared);
  try {
    await writeOwner(join(prepared, id));
    const deadline = Date.now() + (options.timeout ?? DEFAULT_TIMEOUT);
    for (let attempt = 0; !(await take(prepared, path)); attempt++) {
      options.signal?.throwIfAborted();
      const owner = await currentOwner(path);
      if (owner !== undefined && (await isDead(owner, join(path, owner.id), join(prepared, id)))) {
        await remove(join(path, owner.id));
        inherited = true;
        continue;
      }
      options.onWait?.(() => timedOut(path, owner));
      if (Date.now() > deadline) throw timedOut(path, owner);
      // Short at first, since most locks are held for a few milliseconds; spread, so that waiters do not march in step.
      await sleep(Math.min(2 + attempt, 25) * (0.5 + Math.random()), undefined, { signal: options.signal });
    }
  } catch (error) {
    await rm(prepared, { recursive: true, force: true });
    options.signal?.throwIfAborted();
    throw error;
  }
  return heldLock(path, join(path, id), inherited);
}

/** On a full disk the file stays empty; its owner then is judged by its silence alone, and a collection can still make room. */
async function writeOwner(file: string): Promise<void> {
  try {
    await writeFile(file, JSON.stringify(thisProcess));
  } catch (error) {
    if (!["ENOSPC", "EDQUOT"].includes(systemErrorCode(error) ?? "")) throw error;
    await stat(file).catch(() => {
      throw error;
    });
  }
}

function heldLock(path: string, file: string, inherited: boolean): Lock {
  const heartbeat = setInterval(() => {
    const now = new Date();
    utimes(file, now, now).catch(() => {});
  }, HEARTBEAT);
  heartbeat.unref();
  return {
    inherited,
    async held() {
      return stat(file).then(
        () => true,
        () => false,
      );
    },
    async release() {
      clearInterval(heartbeat);
      await remove(file);
      // Fails where the next owner has moved in already, which is as good.
      await rmdir(path).catch(() => {});
    },
  };
}

async function take(prepared: string, path: string): Promise<boolean> {
  try {
    await rename(prepared, path);
    return true;
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === "ENOTEMPTY" || code === "EEXIST") return false;
    if (code !== "EPERM" && code !== "EACCES" && code !== "EBUSY") throw error;
    // Windows renames onto no directory at all, not even an empty one.
    const removed = await rmdir(path).then(
      () => true,
      (reason: unknown) => ["ENOTEMPTY", "EEXIST", "ENOENT", "EBUSY", "EPERM"].includes(systemErrorCode(reason) ?? ""),
    );
    if (!removed || process.platform !== "win32") throw error;
    return false;
  }
}

async function currentOwner(path: string): Promise<(Partial<ProcessIdentity> & { id: string }) | undefined> {
  let id: string | undefined;
  try {
    [id] = await readdir(path);
    if (id === undefined) return undefined;
    const bytes = await readSmallFile(join(path, id), MAXIMUM_OWNER_SIZE);
    return { ...(JSON.parse(Buffer.from(bytes).toString("utf8")) as Partial<ProcessIdentity>), id };
  } catch (error) {
    // A power loss can leave an owner's file empty. Such an owner is judged by its silence alone, and so is what is no file.
    if (id !== undefined && (error instanceof SyntaxError || isOciError(error, "DENIED") || isOciError(error, "LIMIT")))
      return { id };
    if (systemErrorCode(error) === undefined) throw error;
    return undefined;
  }
}

async function isDead(owner: Partial<ProcessIdentity>, file: string, ours: string): Promise<boolean> {
  const running = isRunning(owner);
  if (running !== undefined) return !running;
  // Both times come from the file system's clock, which may differ from ours.
  const now = new Date();
  await utimes(ours, now, now);
  const [theirs, mine] = await Promise.all([stat(file).catch(() => undefined), stat(ours)]);
  return theirs !== undefined && mine.mtimeMs - theirs.mtimeMs > SILENCE;
}

function timedOut(path: string, owner: Partial<ProcessIdentity> | undefined): OciError {
  const who = owner?.pid === undefined ? "another process" : `process ${owner.pid}`;
  return new OciError("CONFLICT", `${path} is still held by ${who}`, {
    hint: "Wait for it to end, or stop it; a lock whose owner has died is taken over at once.",
  });
}

async function remove(file: string): Promise<void> {
  await unlink(file).catch((error: unknown) => {
    if (systemErrorCode(error) !== "ENOENT") throw error;
  });
}
