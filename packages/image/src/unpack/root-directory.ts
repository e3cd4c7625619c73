import {
  closeSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  rmdirSync,
  type Stats,
  unlinkSync,
} from "node:fs";
import { decodeTarName, encodeTarName, OciError } from "@stowage/layout";
import { leadsOut, MAXIMUM_LINKS, tooManyLinks } from "../entry-path.js";

/** A directory that is held open. What is in it is reached through it, not through its path. */
export interface OpenDirectory {
  /** Without a slash at either end; empty for the root. */
  readonly path: string;
  /** -1 where directories cannot be held open. */
  readonly fd: number;
  /** Where the system finds it. */
  readonly base: string;
}

/** What to do on the way to a directory. */
export interface Entering {
  /** Names the archive in messages. */
  readonly what: string;
  /** Called for a directory that was missing and was made, mode 0700. Without it, nothing is made. */
  readonly made?: (path: string) => void;
  /** True if what stands in the way of a missing directory may be removed. */
  readonly mayReplace?: (path: string) => boolean;
  /** A link on the way is as good as nothing there. */
  readonly withoutLinks?: boolean;
}

/** What a removal leaves. */
export interface Keeping {
  /** True for what stays. */
  readonly has: (path: string) => boolean;
  /** Told of each directory that stays because something in it does. */
  readonly kept?: (path: string) => void;
}

/** Removes everything. */
const NOTHING: Keeping = { has: () => false };

/** Linux shows an open directory here under a name that leads to it wherever it has gone meanwhile. */
const HELD = "/proc/self/fd";
const canHold = existsSync(HELD);
const OPEN = constants.O_RDONLY | (constants.O_DIRECTORY ?? 0) | (constants.O_NOFOLLOW ?? 0);

/**
 * The directories below one directory. The system never follows a symbolic link on the way: each part of a path is opened by
 * itself, links are read and their targets looked up from the root of the image, as a chroot would. On Linux directories
 * are held open meanwhile, so that nobody can put a link in their place; elsewhere each is looked at before it is used.
 */
export class RootDirectory {
  /** The directories from the root to where the last path led. */
  readonly #chain: OpenDirectory[];

  /** Fails as the system does. `path` itself may be, or lead through, a link. */
  constructor(path: string) {
    const follow = canHold ? openSync(path, OPEN & ~(constants.O_NOFOLLOW ?? 0)) : -1;
    this.#chain = [{ path: "", fd: follow, base: follow < 0 ? path : `${HELD}/${follow}` }];
  }

  get root(): OpenDirectory {
    return this.#chain[0] as OpenDirectory;
  }

  /**
   * Opens the directory that `parts` lead to; it stays open until the next one is. Undefined where it is missing and is not
   * to be made. Fails with `INVALID` where a link on the way leads out of the root or to no directory.
   */
  enter(parts: readonly string[], entering: Entering): OpenDirectory | undefined {
    // What a link led to must be there: only what an archive names itself is made.
    const pending = parts.map((name) => ({ name, linked: "" })).reverse();
    let depth = 0;
    let links = 0;
    for (let part = pending.pop(); part !== undefined; part = pending.pop()) {
      const { name, linked } = part;
      if (name === "" || name === ".") continue;
      if (name === "..") {
        if (depth === 0) throw leadsOut(entering.what, parts, linked);
        depth--;
        continue;
      }
      const above = this.#chain[depth] as OpenDirectory;
      const child = this.#child(above, depth + 1, name, linked === "" ? entering : { what: entering.what });
      if (typeof child === "object") {
        depth++;
        continue;
      }
      if (child === undefined) {
        if (linked !== "") throw leadsOut(entering.what, parts, linked);
        return undefined;
      }
      if (entering.withoutLinks === true) return undefined;
      if (++links > MAXIMUM_LINKS) throw tooManyLinks(entering.what, parts);
      if (child.startsWith("/")) depth = 0;
      const via = join(above.path, name);
      pending.push(
        ...child
          .split("/")
          .map((next) => ({ name: next, linked: via }))
          .reverse(),
      );
    }
    this.#closeBelow(depth);
    return this.#chain[depth];
  }

  /** The same directory, open until it is closed with {@link release}, whatever is entered meanwhile. */
  keep(directory: OpenDirectory): OpenDirectory {
    return hold(at(directory, "."), directory.path);
  }

  /** Closes and forgets the directory of this path and those in it, which is about to go. */
  forget(path: string): void {
    const at = this.#chain.findIndex((level) => level.path === path);
    if (at > 0) this.#closeBelow(at - 1);
  }

  /** Nothing is held open afterwards. */
  close(): void {
    this.#closeBelow(-1);
  }

  /**
   * Removes what has this name, all that is in it included, except what `keep` has and the directories that lead there.
   * Returns true where something was kept. Links are removed, not followed.
   */
  remove(directory: OpenDirectory, name: string, keep: Keeping = NOTHING): boolean {
    const path = join(directory.path, name);
    const status = statusOf(directory, name);
    if (status === undefined) return false;
    if (!status.isDirectory()) {
      if (keep.has(path)) return true;
      unlinkSync(at(directory, name));
      return false;
    }
    this.forget(path);
    const inside = hold(at(directory, name), path);
    let kept = false;
    try {
      kept = this.removeInside(inside, keep);
    } finally {
      release(inside);
    }
    if (kept) keep.kept?.(path);
    if (kept || keep.has(path)) return true;
    rmdirSync(at(directory, name));
    return false;
  }

  /** Removes what is in a directory, as {@link remove} does. */
  removeInside(directory: OpenDirectory, keep: Keeping = NOTHING): boolean {
    let kept = false;
    for (const child of readdirSync(directory.base, { encoding: "buffer" })) {
      if (this.remove(directory, decodeTarName(child), keep)) kept = true;
    }
    return kept;
  }

  /** The directory of this name, the target of the link of this name, or undefined where there is neither. */
  #child(above: OpenDirectory, depth: number, name: string, entering: Entering): OpenDirectory | string | undefined {
    const path = join(above.path, name);
    if (this.#chain[depth]?.path === path) return this.#chain[depth];
    this.#closeBelow(depth - 1);
    let status = statusOf(above, name);
    if (status?.isSymbolicLink()) return decodeTarName(readlinkSync(at(above, name), { encoding: "buffer" }));
    if (status !== undefined && !status.isDirectory()) {
      if (entering.made === undefined) return undefined;
      if (entering.mayReplace?.(path) !== true)
        throw new OciError("INVALID", `${entering.what}: /${path} is a file, and something is to be put into it`);
      unlinkSync(at(above, name));
      status = undefined;
    }
    if (status === undefined) {
      if (entering.made === undefined) return undefined;
      mkdirSync(at(above, name), 0o700);
      entering.made(path);
    }
    const child = hold(at(above, name), path);
    this.#chain[depth] = child;
    return child;
  }

  #closeBelow(depth: number): void {
    for (const { fd } of this.#chain.splice(depth + 1)) if (fd >= 0) closeSync(fd);
  }
}

/** Closes a directory that {@link RootDirectory.keep} opened. */
export function release(directory: OpenDirectory): void {
  if (directory.fd >= 0) closeSync(directory.fd);
}

/** How the system is told of a name in a directory. */
export function at(directory: OpenDirectory, name: string): string | Buffer {
  const encoded = encodeTarName(name);
  return typeof encoded === "string"
    ? `${directory.base}/${encoded}`
    : Buffer.concat([Buffer.from(`${directory.base}/`), encoded]);
}

/** What has this name, links themselves; undefined where there is nothing. */
export function statusOf(directory: OpenDirectory, name: string): Stats | undefined {
  return lstatSync(at(directory, name), { throwIfNoEntry: false });
}

/** Two paths, one below the other. */
export function join(directory: string, name: string): string {
  return directory === "" ? name : `${directory}/${name}`;
}

function hold(location: string | Buffer, path: string): OpenDirectory {
  if (canHold) {
    const fd = openSync(location, OPEN);
    return { path, fd, base: `${HELD}/${fd}` };
  }
  if (!lstatSync(location).isDirectory()) throw new OciError("CONFLICT", `/${path} was replaced while it was in use`);
  return { path, fd: -1, base: String(location) };
}
