import { closeSync, constants, openSync, readSync } from "node:fs";
import { lstat, open, readdir, readlink } from "node:fs/promises";
import { type Abortable, OciError, systemError } from "@stowage/layout";
import type { Tree, TreeEntry } from "../formats/tree-entry.js";

/** Bytes read at once from a file. */
const CHUNK = 256 * 1024;
/** Files up to this size are read in one go: asking the thread pool three times takes longer. */
const SMALL = 64 * 1024;
const OPEN_FLAGS = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);

/** The bytes of a file from an offset on. A chunk is valid until the next is asked for. */
export async function* readFileFrom(
  path: string | Buffer,
  offset: number,
  { signal }: Abortable = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    const file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    try {
      if (!(await file.stat()).isFile()) throw new OciError("INVALID", `${path} is not a file`);
      const memory = Buffer.allocUnsafe(CHUNK);
      for (let at = offset; ; ) {
        signal?.throwIfAborted();
        const { bytesRead } = await file.read(memory, 0, CHUNK, at);
        if (bytesRead === 0) return;
        at += bytesRead;
        yield memory.subarray(0, bytesRead);
      }
    } finally {
      await file.close();
    }
  } catch (error) {
    throw systemError(error, `cannot read ${path}`);
  }
}

interface OpenDirectory {
  readonly path: Buffer;
  /** Below the root, one character for each byte. */
  readonly name: string;
  /** Still to come, the last first. */
  readonly names: Buffer[];
}

/**
 * The tree at a path of the disk, in the order of a NAR. Links are not followed. Fails with `NOT_FOUND` where nothing is there, with
 * `INVALID` where there is a file of a kind that no store has.
 */
export async function* readTree(root: string, options: Abortable = {}): AsyncGenerator<TreeEntry, void, undefined> {
  const open: OpenDirectory[] = [];
  let next: { path: Buffer; name: string } | undefined = { path: Buffer.from(root), name: "" };
  while (next !== undefined) {
    options.signal?.throwIfAborted();
    const { path, name }: { path: Buffer; name: string } = next;
    try {
      const entry: TreeEntry = await entryAt(path, name, options);
      yield entry;
      if (entry.type === "directory") open.push({ path, name, names: await namesIn(path) });
    } catch (error) {
      throw systemError(error, `cannot read ${path}`);
    }
    next = nextOf(open);
  }
}

function nextOf(open: OpenDirectory[]): { path: Buffer; name: string } | undefined {
  for (let directory = open.at(-1); directory !== undefined; directory = open.at(-1)) {
    const name = directory.names.pop();
    if (name !== undefined) {
      const text = name.toString("latin1");
      return {
        path: Buffer.concat([directory.path, Buffer.from("/"), name]),
        name: directory.name === "" ? text : `${directory.name}/${text}`,
      };
    }
    open.pop();
  }
  return undefined;
}

async function namesIn(path: Buffer): Promise<Buffer[]> {
  const names = await readdir(path, { encoding: "buffer" });
  return names.sort((one, other) => Buffer.compare(other, one));
}

async function entryAt(path: Buffer, name: string, options: Abortable): Promise<TreeEntry> {
  const stat = await lstat(path);
  if (stat.isDirectory()) return { type: "directory", path: name };
  if (stat.isSymbolicLink())
    return { type: "symlink", path: name, target: (await readlink(path, { encoding: "buffer" })).toString("latin1") };
  if (!stat.isFile()) throw new OciError("INVALID", `${path} is neither a file nor a directory nor a symbolic link`);
  const executable = (stat.mode & 0o100) !== 0;
  const body = stat.size <= SMALL ? smallFile(path, stat.size) : readFileFrom(path, 0, options);
  return { type: "file", path: name, executable, size: stat.size, body };
}

function* smallFile(path: Buffer, size: number): Generator<Uint8Array, void, undefined> {
  const file = openSync(path, OPEN_FLAGS);
  try {
    // One byte more, to see whether there is more.
    const memory = Buffer.allocUnsafe(size + 1);
    let length = 0;
    for (let read = -1; read !== 0 && length < memory.byteLength; length += read)
      read = readSync(file, memory, length, memory.byteLength - length, null);
    yield memory.subarray(0, length);
  } finally {
    closeSync(file);
  }
}

/** A {@link Tree} that can be read again. */
export function treeAt(path: string, options: Abortable = {}): () => Tree {
  return () => readTree(path, options);
}
