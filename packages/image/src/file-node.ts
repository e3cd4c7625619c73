import { closeSync, constants, openSync, readSync } from "node:fs";
import { lstat, open, readlink } from "node:fs/promises";
import { OciError, systemError, systemErrorCode } from "@stowage/layout";

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
  readonly owner?: { readonly uid: number; readonly gid: number };
  readonly linkname?: string;
  /** Device and inode, for a file that has other names too. */
  readonly inode?: string;
}

/** What is at a path, links not followed. */
export async function kindOf(path: string): Promise<"directory" | "other" | undefined> {
  try {
    return (await lstat(path)).isDirectory() ? "directory" : "other";
  } catch (error) {
    const code = systemErrorCode(error);
    // A pattern may be longer than a name can be, or hold what no name can.
    if (code === "ENOENT" || code === "ENOTDIR" || code === "EINVAL" || code === "ENAMETOOLONG") return undefined;
    throw systemError(error, `cannot read ${path}`);
  }
}

/** Looks at a path. Fails with `UNSUPPORTED` where it is no file, directory or link. */
export async function nodeOf(path: string, modes: "normal" | "exact"): Promise<FileNode> {
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
export async function* readFile(path: string, size: number): AsyncGenerator<Uint8Array, void, undefined> {
  const memory = spare ?? Buffer.allocUnsafe(CHUNK);
  spare = undefined;
  // One byte more than expected, so that a file that grew is seen.
  const buffer = memory.subarray(0, Math.min(CHUNK, size + 1));
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
  } finally {
    spare = memory;
  }
}

/** Memory to read into that nobody uses right now: one file is read after the other, and there are thousands. */
let spare: Buffer | undefined;

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
