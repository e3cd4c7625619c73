import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { lstat, readdir, readlink } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";

/** What is at a path of a file tree: its type and permission bits, and what its type has besides. */
export type TreeEntry = Readonly<Record<string, unknown>>;

/**
 * What is below a directory, by path; the directory itself is `.`. Names of one file list each other. With `whole`, owners
 * and times as well.
 */
export async function fileTree(
  directory: string,
  options: { readonly whole?: boolean } = {},
): Promise<Readonly<Record<string, TreeEntry>>> {
  const names = await namesBelow(directory);
  const tree: Record<string, TreeEntry> = {};
  const linked = new Map<string, string[]>();
  for (const name of [".", ...names.sort()]) {
    const path = join(directory, name);
    const status = await lstat(path);
    const mode = `0${(status.mode & 0o7777).toString(8)}`;
    if (status.isSymbolicLink()) tree[name] = { type: "symlink", target: await readlink(path) };
    else if (status.isDirectory()) tree[name] = { type: "directory", mode };
    else if (status.isCharacterDevice()) tree[name] = { type: "character device", mode, device: status.rdev };
    else if (!status.isFile()) tree[name] = { type: "other", mode };
    else {
      const inode = `${status.dev}:${status.ino}`;
      const others = linked.get(inode) ?? [];
      others.push(name);
      linked.set(inode, others);
      tree[name] = { type: "file", mode, size: status.size, sha256: await sha256(path), names: others };
    }
    // Node sets times to the microsecond.
    const attributes = { uid: status.uid, gid: status.gid, mtime: Math.trunc(status.mtimeMs * 1000) };
    if (options.whole === true) tree[name] = { ...tree[name], ...attributes };
  }
  return tree;
}

/** Node's own recursive listing would follow links, out of the tree as well. */
async function namesBelow(directory: string, at = ""): Promise<string[]> {
  const entries = await readdir(join(directory, at), { withFileTypes: true });
  const names = entries.map(async (entry) => {
    const name = join(at, entry.name);
    return entry.isDirectory() ? [name, ...(await namesBelow(directory, name))] : [name];
  });
  return (await Promise.all(names)).flat();
}

async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}
