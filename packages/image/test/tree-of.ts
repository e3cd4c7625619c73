import { lstat, readdir, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";

/** What is in a directory: type, mode, owner, time, content, target, and which names are one file. */
export async function treeOf(root: string): Promise<Record<string, unknown>> {
  const tree: Record<string, unknown> = {};
  const inodes = new Map<number, string>();
  const visit = async (path: string): Promise<void> => {
    const status = await lstat(join(root, path));
    const common = { mode: status.mode, owner: `${status.uid}:${status.gid}`, mtime: Math.trunc(status.mtimeMs) };
    if (status.isSymbolicLink()) tree[path] = { ...common, target: await readlink(join(root, path)) };
    else if (status.isDirectory()) {
      tree[path] = common;
      for (const name of (await readdir(join(root, path))).sort()) await visit(join(path, name));
    } else {
      if (!inodes.has(status.ino)) inodes.set(status.ino, path);
      tree[path] = { ...common, content: await readFile(join(root, path), "hex"), first: inodes.get(status.ino) };
    }
  };
  await visit("");
  return tree;
}
