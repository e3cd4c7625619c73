import { type Bytes, OciError } from "@stowage/layout";

/**
 * A file, directory or symbolic link of a store path, as a NAR has it: there is no owner, time or mode beyond the executable bit.
 * A tree is a stream of them in the order of a NAR: a directory before what is in it, names in bytewise order.
 *
 * Names are bytes, which need not be UTF-8. In `path` and `target` each character stands for one byte (latin1), so that
 * comparing two strings compares their bytes.
 */
export type TreeEntry =
  | { readonly type: "directory"; readonly path: string }
  | { readonly type: "symlink"; readonly path: string; readonly target: string }
  | {
      readonly type: "file";
      /** Below the root of the tree, with `/` between its parts; empty for the root itself. */
      readonly path: string;
      readonly executable: boolean;
      /** Bytes. */
      readonly size: number;
      /** Exactly `size` bytes. Must be read, or left alone, before the next entry is asked for. */
      readonly body: Bytes;
    };

/** A tree as a stream. */
export type Tree = AsyncIterable<TreeEntry>;

/** How deep a tree may be; as many levels as current versions of Nix take. */
export const MAXIMUM_TREE_DEPTH = 64;
/** Bytes of the longest name of a file. */
export const MAXIMUM_NAME = 255;
/** Bytes of the longest target of a symbolic link. */
export const MAXIMUM_TARGET = 4095;

/** Fails with `INVALID` where the bytes cannot be the name of a file. */
export function checkFileName(name: string, what: string): void {
  if (name === "" || name === "." || name === ".." || name.length > MAXIMUM_NAME || /[/\0]/.test(name))
    throw new OciError("INVALID", `${what} has a file with the name ${readable(name)}, which cannot be`);
}

/** Fails with `INVALID` where the bytes cannot be the target of a symbolic link. */
export function checkTarget(target: string, path: string, what: string): void {
  if (target === "" || target.length > MAXIMUM_TARGET || target.includes("\0"))
    throw new OciError("INVALID", `${what} has the link ${readable(path)} to ${readable(target)}, which cannot be`);
}

/** Bytes for a message: as text, quoted, cut off where they are many. */
export function readable(bytes: string): string {
  return JSON.stringify(Buffer.from(bytes.slice(0, 300), "latin1").toString());
}
