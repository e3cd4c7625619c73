import { closeSync, constants, openSync, readSync } from "node:fs";
import { lstat, open, readdir, readlink } from "node:fs/promises";
import { resolve } from "node:path";
import { type Abortable, OciError, systemError, systemErrorCode } from "@stowage/layout";
import { Ignore } from "./ignore.js";
import { type FileMapping, join, type Placement, parseMapping, placementsOf, within } from "./mapping.js";
import type { TarEntry } from "./tar.js";

/** The options of {@link fileTree}. */
export interface FileTreeOptions extends Abortable {
  /** The context: what sources and ignore patterns are relative to. Default: the working directory of the process. */
  readonly cwd?: string | undefined;
  /** Patterns of what is left out, with the meaning of a `.dockerignore` file. */
  readonly ignore?: readonly string[] | undefined;
  /** Seconds since 1970 that every entry gets as its time. Default: 0. */
  readonly mtime?: number | undefined;
  /** The owner of every entry. Default: 0. */
  readonly uid?: number | undefined;
  /** The group of every entry. Default: 0. */
  readonly gid?: number | undefined;
  /**
   * `normal`, the default: a file that anybody may execute gets 0755, any other 0644, a directory 0755, so that neither a
   * umask nor a checkout changes the digest. `exact`: the permission bits on disk, setuid, setgid and sticky among them.
   * Windows has no such bits: there files are 0644. A symbolic link is always 0777.
   */
  readonly modes?: "normal" | "exact" | undefined;
}

/** How many `lstat` calls are under way at once. */
const CONCURRENCY = 32;
/** Bytes read at once. */
const CHUNK = 1024 * 1024;
/** Up to this many bytes a file is read in one go. */
const SMALL = 64 * 1024;
/** Windows has neither of the last two. */
const FLAGS = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);

/**
 * The entries of a layer that holds the mapped files, in bytewise order of their names, with every parent directory
 * exactly once. Symbolic links are kept and not followed. Files of several names (hard links) among the mapped ones are
 * written once, under the first of these names. Extended attributes are not read.
 *
 * Fails with `NOT_FOUND` where a source is missing, with `CONFLICT` where two sources claim one name, with `UNSUPPORTED` for a
 * socket, a device or a FIFO, and with `INVALID` for a name that is not UTF-8 or that starts with `.wh.`, which would delete
 * files (image-spec v1.1.1, layer.md "Whiteouts").
 */
export async function fileTree(
  mappings: readonly (string | FileMapping)[],
  options: FileTreeOptions = {},
): Promise<readonly TarEntry[]> {
  const cwd = resolve(options.cwd ?? ".");
  const tree = new Tree(new Ignore(options.ignore ?? []), options);
  for (const mapping of mappings) {
    for (const placement of await placementsOf(
      typeof mapping === "string" ? parseMapping(mapping) : mapping,
      cwd,
      kindOf,
    )) {
      await tree.add(placement);
    }
  }
  return tree.entries();
}

interface Node {
  readonly type: "file" | "directory" | "symlink";
  /** Where it comes from; undefined for a directory that is only there as a parent. */
  readonly path: string | undefined;
  readonly mode: number;
  readonly size: number;
  readonly linkname?: string;
  /** Device and inode, for a file that has other names too. */
  readonly inode?: string;
}

class Tree {
  readonly #nodes = new Map<string, Node>();
  readonly #ignore: Ignore;
  readonly #options: FileTreeOptions;

  constructor(ignore: Ignore, options: FileTreeOptions) {
    this.#ignore = ignore;
    this.#options = options;
  }

  /** Adds what is at the path, and all beneath it. A loop over a list of its own: no directory is too deep. */
  async add(start: Placement): Promise<void> {
    let level: readonly Placement[] = [start];
    while (level.length > 0) {
      const next: Placement[] = [];
      for (let at = 0; at < level.length; at += CONCURRENCY) {
        this.#options.signal?.throwIfAborted();
        const slice = level.slice(at, at + CONCURRENCY);
        const found = await Promise.all(slice.map((placement) => this.#look(placement)));
        found.forEach(({ node, children }, index) => {
          const placement = slice[index] as Placement;
          if (node !== undefined && placement.to !== "") this.#put(placement.to, node);
          for (const name of children)
            next.push({
              path: resolve(placement.path, name),
              to: join(placement.to, name),
              context: placement.context,
            });
        });
      }
      level = next;
    }
  }

  async #look(placement: Placement): Promise<{ node: Node | undefined; children: readonly string[] }> {
    const ignored = this.#ignore.ignores(within(placement.context, placement.path) ?? "");
    if (ignored && !this.#ignore.hasExceptions) return { node: undefined, children: [] };
    try {
      const node = await nodeOf(placement.path, this.#options.modes ?? "normal");
      const children = node.type === "directory" ? await readdir(placement.path) : [];
      return { node: ignored ? undefined : node, children };
    } catch (error) {
      if (systemErrorCode(error) === "ENOENT" && placement.path.includes("\ufffd")) {
        throw new OciError("INVALID", `cannot put ${placement.path} into a layer: its name is not UTF-8`, {
          cause: error,
        });
      }
      throw systemError(error, `cannot read ${placement.path}`);
    }
  }

  #put(name: string, node: Node): void {
    if (name.slice(name.lastIndexOf("/") + 1).startsWith(".wh.")) {
      throw new OciError(
        "INVALID",
        `cannot put ${node.path} into a layer: a name that starts with .wh. deletes files of the layers below`,
      );
    }
    for (let slash = name.indexOf("/"); slash >= 0; slash = name.indexOf("/", slash + 1)) {
      const parent = name.slice(0, slash);
      const known = this.#nodes.get(parent);
      if (known === undefined) this.#nodes.set(parent, { type: "directory", path: undefined, mode: 0o755, size: 0 });
      else if (known.type !== "directory") throw conflict(parent, known, node);
    }
    const known = this.#nodes.get(name);
    if (known !== undefined && known.path !== node.path && !(known.type === "directory" && node.type === "directory")) {
      throw conflict(name, known, node);
    }
    if (known?.path === undefined) this.#nodes.set(name, node);
  }

  entries(): readonly TarEntry[] {
    const { uid = 0, gid = 0, mtime = 0 } = this.#options;
    const named = [...this.#nodes].map(([name, node]) => ({
      name: node.type === "directory" ? `${name}/` : name,
      node,
    }));
    named.sort((one, other) => compareBytewise(one.name, other.name));
    const first = new Map<string, { name: string; path: string | undefined }>();
    return named.map(({ name, node }): TarEntry => {
      const common = { name, mode: node.mode, uid, gid, mtime };
      if (node.type !== "file")
        return {
          ...common,
          type: node.type,
          size: 0,
          ...(node.linkname === undefined ? {} : { linkname: node.linkname }),
        };
      const other = node.inode === undefined ? undefined : first.get(node.inode);
      // The same path mapped to two names is two copies, also where the file happens to have more names elsewhere.
      if (other !== undefined && other.path !== node.path)
        return { ...common, type: "hardlink", size: 0, linkname: other.name };
      if (node.inode !== undefined) first.set(node.inode, { name, path: node.path });
      return { ...common, type: "file", size: node.size, open: () => readFile(node.path as string, node.size) };
    });
  }
}

async function kindOf(path: string): Promise<"directory" | "other" | undefined> {
  try {
    return (await lstat(path)).isDirectory() ? "directory" : "other";
  } catch (error) {
    const code = systemErrorCode(error);
    // A pattern may be longer than a name can be, or hold what no name can.
    if (code === "ENOENT" || code === "ENOTDIR" || code === "EINVAL" || code === "ENAMETOOLONG") return undefined;
    throw systemError(error, `cannot read ${path}`);
  }
}

async function nodeOf(path: string, modes: "normal" | "exact"): Promise<Node> {
  const status = await lstat(path);
  const bits = status.mode & 0o7777;
  if (status.isSymbolicLink())
    return { type: "symlink", path, mode: 0o777, size: 0, linkname: await readLinkTarget(path) };
  if (status.isDirectory()) return { type: "directory", path, mode: modes === "exact" ? bits : 0o755, size: 0 };
  if (!status.isFile()) {
    const what = status.isSocket() ? "a socket" : status.isFIFO() ? "a FIFO" : "a device";
    throw new OciError("UNSUPPORTED", `cannot put ${path} into a layer: it is ${what}`, {
      hint: "Leave it out with an ignore pattern.",
    });
  }
  // Inode numbers of some file systems (overlay, for one) do not fit a double.
  const exact = status.nlink > 1 ? await lstat(path, { bigint: true }) : undefined;
  return {
    type: "file",
    path,
    mode: modes === "exact" ? bits : (bits & 0o111) === 0 || process.platform === "win32" ? 0o644 : 0o755,
    size: status.size,
    ...(exact === undefined ? {} : { inode: `${exact.dev}:${exact.ino}` }),
  };
}

async function readLinkTarget(path: string): Promise<string> {
  const bytes = await readlink(path, { encoding: "buffer" });
  const target = bytes.toString("utf8");
  if (Buffer.from(target).equals(bytes)) return process.platform === "win32" ? target.replaceAll("\\", "/") : target;
  throw new OciError("INVALID", `cannot put ${path} into a layer: the target of this link is not UTF-8`);
}

/**
 * The content of a regular file that had `size` bytes, in chunks that are valid until the next is asked for. Never waits
 * for a FIFO that took its place, never follows a link. Small files are read synchronously: four round trips to the thread
 * pool take longer than the reading, and a tree has thousands of them.
 */
async function* readFile(path: string, size: number): AsyncGenerator<Uint8Array, void, undefined> {
  // One byte more than expected, so that a file that grew is seen.
  const buffer = Buffer.allocUnsafe(Math.min(CHUNK, size + 1));
  try {
    if (size <= SMALL) {
      yield buffer.subarray(0, readSmall(path, buffer));
      return;
    }
    const file = await open(path, FLAGS);
    try {
      for (;;) {
        const { bytesRead } = await file.read(buffer, 0, buffer.byteLength);
        if (bytesRead === 0) return;
        yield buffer.subarray(0, bytesRead);
      }
    } finally {
      await file.close();
    }
  } catch (error) {
    throw systemError(error, `cannot read ${path}`);
  }
}

function readSmall(path: string, buffer: Buffer): number {
  const file = openSync(path, FLAGS);
  try {
    let length = 0;
    while (length < buffer.byteLength) {
      const count = readSync(file, buffer, length, buffer.byteLength - length, null);
      if (count === 0) break;
      length += count;
    }
    return length;
  } finally {
    closeSync(file);
  }
}

/** The order of the UTF-8 bytes, which differs from the order of strings where UTF-16 surrogates are involved. */
export function compareBytewise(one: string, other: string): number {
  const length = Math.min(one.length, other.length);
  for (let at = 0; at < length; at++) {
    const a = one.charCodeAt(at);
    const b = other.charCodeAt(at);
    if (a === b) continue;
    const high = (code: number): boolean => code >= 0xd800 && code < 0xe000;
    return high(a) === high(b) ? a - b : high(a) ? 1 : -1;
  }
  return one.length - other.length;
}

function conflict(name: string, one: Node, other: Node): OciError {
  return new OciError("CONFLICT", `${one.path ?? "a parent directory"} and ${other.path} both go to /${name}`, {
    hint: "Put them into different layers, or leave one out.",
  });
}
