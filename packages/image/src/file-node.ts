import { closeSync, constants, lstatSync, openSync, readlinkSync, readSync } from "node:fs";
import { open } from "node:fs/promises";
import { type Bytes, OciError, systemError, systemErrorCode } from "@stowage/layout";
import type { MappedAttributes } from "./mapping.js";

/** Bytes read at once. */
const CHUNK = 1024 * 1024;
/** Up to this many bytes a file is read in one go. */
const SMALL = 64 * 1024;
/** Windows has neither of the last two. */
const FLAGS = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);

/** What a name in a layer stands for. */
export interface FileNode {
  readonly type: "file" | "directory" | "symlink";
  /** Where it comes from; undefined for a directory that is only there as a parent. */
  readonly path: string | undefined;
  readonly mode: number;
  readonly size: number;
  /** Where they are not those of the options. */
  readonly owner?: { readonly uid?: number; readonly gid?: number };
  /** True where mode or owner were asked for, for this file. */
  readonly asked?: boolean;
  readonly linkname?: string;
  /** Device and inode, for a file that has other names too. */
  readonly inode?: string;
}

/** What is at a path, links not followed. */
export function kindOf(path: string): "directory" | "other" | undefined {
  try {
    return lstatSync(path).isDirectory() ? "directory" : "other";
  } catch (error) {
    const code = systemErrorCode(error);
    // A pattern may be longer than a name can be, or hold what no name can.
    if (code === "ENOENT" || code === "ENOTDIR" || code === "EINVAL" || code === "ENAMETOOLONG") return undefined;
    throw systemError(error, `cannot read ${path}`);
  }
}

/**
 * Looks at a path, synchronously: a round trip to the thread pool takes longer, and a tree has thousands of paths. Fails with `UNSUPPORTED` where it is no file, directory or link.
 */
export function nodeOf(path: string, modes: "normal" | "exact"): FileNode {
  const status = lstatSync(path);
  const bits = status.mode & 0o7777;
  if (status.isSymbolicLink()) return { type: "symlink", path, mode: 0o777, size: 0, linkname: readLinkTarget(path) };
  if (status.isDirectory()) return { type: "directory", path, mode: modes === "exact" ? bits : 0o755, size: 0 };
  if (!status.isFile()) {
    const what = status.isSocket() ? "a socket" : status.isFIFO() ? "a FIFO" : "a device";
    throw new OciError("UNSUPPORTED", `cannot put ${path} into a layer: it is ${what}`, {
      hint: "Leave it out with an ignore pattern.",
    });
  }
  // Inode numbers of some file systems (overlay, for one) do not fit a double.
  const exact = status.nlink > 1 ? lstatSync(path, { bigint: true }) : undefined;
  return {
    type: "file",
    path,
    mode: modes === "exact" ? bits : (bits & 0o111) === 0 || process.platform === "win32" ? 0o644 : 0o755,
    size: status.size,
    ...(exact === undefined ? {} : { inode: `${exact.dev}:${exact.ino}` }),
  };
}

/** The same with the attributes that its mapping asks for. The mode of a link means nothing. */
export function withAttributes(node: FileNode, { mode, uid, gid }: MappedAttributes): FileNode {
  if ((mode ?? uid ?? gid) === undefined) return node;
  const forDirectory = ((mode ?? 0) & 0o3777) | (((mode ?? 0) & 0o444) >> 2);
  const own = node.type === "directory" ? forDirectory : (mode ?? 0);
  return {
    ...node,
    mode: mode === undefined || node.type === "symlink" ? node.mode : own,
    owner: { ...(uid === undefined ? {} : { uid }), ...(gid === undefined ? {} : { gid }) },
    asked: true,
  };
}

function readLinkTarget(path: string): string {
  const bytes = readlinkSync(path, { encoding: "buffer" });
  const target = bytes.toString("utf8");
  if (Buffer.from(target).equals(bytes)) return process.platform === "win32" ? target.replaceAll("\\", "/") : target;
  throw new OciError("INVALID", `cannot put ${path} into a layer: the target of this link is not UTF-8`);
}

/**
 * The content of a regular file that had `size` bytes, in chunks that are valid until the next is asked for. Never waits
 * for a FIFO that took its place, never follows a link. Small files are read synchronously: four round trips to the thread
 * pool take longer than the reading, and a tree has thousands of them.
 */
export function readFile(path: string, size: number): Bytes {
  return size <= SMALL ? readSmall(path, size) : readLarge(path);
}

async function* readLarge(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  const memory = spare ?? Buffer.allocUnsafe(CHUNK);
  spare = undefined;
  try {
    const file = await open(path, FLAGS);
    try {
      for (;;) {
        const { bytesRead } = await file.read(memory, 0, CHUNK);
        if (bytesRead === 0) return;
        yield memory.subarray(0, bytesRead);
      }
    } finally {
      await file.close();
    }
  } catch (error) {
    throw systemError(error, `cannot read ${path}`);
  } finally {
    spare = memory;
  }
}

/** Memory to read into that nobody uses right now: one file is read after the other, and there are thousands. */
let spare: Buffer | undefined;

function readSmall(path: string, size: number): readonly [Uint8Array] {
  spare ??= Buffer.allocUnsafe(CHUNK);
  try {
    const file = openSync(path, FLAGS);
    try {
      let length = 0;
      // One byte more than expected, so that a file that grew is seen. Where that byte did not come, the file ends here.
      let count: number;
      do {
        count = readSync(file, spare, length, size + 1 - length, null);
        length += count;
      } while (count !== 0 && length < size);
      return [spare.subarray(0, length)];
    } finally {
      closeSync(file);
    }
  } catch (error) {
    throw systemError(error, `cannot read ${path}`);
  }
}
