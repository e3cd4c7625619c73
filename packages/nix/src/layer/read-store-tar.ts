import { readTar } from "@stowage/image";
import { type Abortable, type Bytes, encodeTarName, OciError, type TarReadHeader } from "@stowage/layout";
import { parseStorePath } from "../formats/store-path.js";
import { readable, type TreeEntry } from "../formats/tree-entry.js";
import {
  ANCESTOR_MODE,
  ancestorsOf,
  DIRECTORY_MODE,
  EXECUTABLE_MODE,
  FILE_MODE,
  STORE_MTIME,
  SYMLINK_MODE,
} from "./store-tar.js";

/**
 * The tree of a store path in the tar of its layer, as `memberTar` wrote it, with the directories that lead to it or without. Fails
 * with `INVALID` where there is anything else in it, or an entry with a mode, an owner or a time that no store has; `what` names it.
 */
export async function* readStoreTar(
  bytes: Bytes,
  path: string,
  what: string,
  options: Abortable = {},
): AsyncGenerator<TreeEntry, void, undefined> {
  const { storeDirectory, baseName } = parseStorePath(path);
  const ancestors = new Set(ancestorsOf(storeDirectory).map((name) => `${name}/`));
  const root = `${storeDirectory.slice(1)}/${baseName}`;
  for await (const { header, body } of readTar(bytes, what, options)) {
    const raw = Buffer.from(encodeTarName(header.name)).toString("latin1");
    checkAttributes(header, raw, what);
    if (header.type === "directory" && ancestors.delete(raw)) {
      if (header.mode !== ANCESTOR_MODE)
        throw new OciError("INVALID", `${what} has ${readable(raw)} with the mode 0${header.mode.toString(8)}`);
      continue;
    }
    const name = header.type === "directory" && raw.endsWith("/") ? raw.slice(0, -1) : raw;
    if (name !== root && !name.startsWith(`${root}/`))
      throw new OciError("INVALID", `${what} has ${readable(raw)}, which is not in ${path}`);
    yield treeEntry(header, name.slice(root.length + 1), body, what);
  }
}

/** The entry of a tree that the header of an entry of a tar stands for. Fails with `INVALID` where no store has such a mode. */
export function treeEntry(
  header: TarReadHeader,
  path: string,
  body: AsyncIterable<Uint8Array>,
  what: string,
): TreeEntry {
  const expected = { directory: DIRECTORY_MODE, symlink: SYMLINK_MODE } as const;
  const isPlain = header.type === "file" && (header.mode === EXECUTABLE_MODE || header.mode === FILE_MODE);
  if (!isPlain && header.mode !== expected[header.type as keyof typeof expected])
    throw new OciError("INVALID", `${what} has ${readable(path)} with the mode 0${header.mode.toString(8)}`);
  if (header.type === "directory") return { type: "directory", path };
  if (header.type === "symlink")
    return { type: "symlink", path, target: Buffer.from(encodeTarName(header.linkname ?? "")).toString("latin1") };
  return { type: "file", path, executable: header.mode === EXECUTABLE_MODE, size: header.size, body };
}

/** Fails with `INVALID` where an entry has something that none of a store has. */
export function checkAttributes(header: TarReadHeader, name: string, what: string): void {
  const problem = problemOf(header);
  if (problem !== undefined) throw new OciError("INVALID", `${what} has ${readable(name)} ${problem}`);
}

function problemOf({ type, uid, gid, mtime, xattrs }: TarReadHeader): string | undefined {
  if (type !== "file" && type !== "directory" && type !== "symlink") return `that is a ${type}`;
  if (uid !== 0 || gid !== 0) return `with the owner ${uid}:${gid}`;
  if (mtime !== STORE_MTIME) return `with the time ${mtime}`;
  return xattrs.size > 0 ? "with extended attributes" : undefined;
}
