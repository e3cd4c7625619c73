import {
  chmodSync,
  chownSync,
  constants,
  copyFileSync,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  renameSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { type Abortable, encodeTarName, OciError, systemError, systemErrorCode } from "@stowage/layout";
import { setAttributes } from "../unpack/attributes.js";
import type { FileWriterOptions } from "../unpack/file-writer.js";
import { ownerOf } from "../unpack/owners.js";
import type { ExtractedEntry } from "./extract-layer.js";
import { ChangedInStore, isUntouched, located, type StoreEntry } from "./store-entry.js";

/** How the files of a store came to be in a directory. */
export interface PlacedFiles {
  /** They are the files of the store. */
  linked: number;
  /** They share its blocks until one of them is written. */
  cloned: number;
  /** They are copies. */
  copied: number;
  /** Bytes in copies. */
  copiedBytes: number;
}

/** Fails with the errors of the file system that say it cannot share, or not between these two places. */
const CANNOT_SHARE = ["ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EXDEV", "EINVAL", "ENOTTY", "EPERM", "EACCES", "EBADF"];

/**
 * Puts the files of a layer of a store below `root`, whose directories above the declared paths are there: as hard links, or as
 * files of their own that share blocks where the file system can do that. Fails with {@link ChangedInStore} where a file is not
 * what it was.
 */
export async function placeLayer(
  entry: StoreEntry,
  root: string,
  how: "hardlink" | "reflink",
  options: FileWriterOptions & Abortable,
  placed: PlacedFiles,
): Promise<void> {
  const directories: ExtractedEntry[] = [];
  const attributes = new Map<string, ReadonlyMap<string, Uint8Array>>();
  for await (const each of entry.entries()) {
    options.signal?.throwIfAborted();
    if (!isUntouched(entry.tree, each)) throw new ChangedInStore(each.path);
    const to = located(root, each.path);
    try {
      if (each.type === "directory") {
        mkdirSync(to, 0o700);
        directories.push(each);
      } else if (each.type === "hardlink") linkSync(located(root, each.link as string), to);
      else if (each.type === "symlink") makeLink(each, to, options);
      else placeFile(entry.tree, each, to, how, options, placed);
    } catch (error) {
      throw systemError(error, `cannot put ${each.path} from the store in its place`);
    }
    const isNew = how === "reflink" || each.type === "directory" || each.type === "symlink";
    if (options.xattrs === "set" && each.xattrs !== undefined && isNew)
      attributes.set(each.path.slice(1), decoded(each.xattrs));
  }
  if (attributes.size > 0) await setAttributes(root, attributes);
  // The deepest first: what is put into one changes its time.
  for (const each of directories.reverse()) setStatus(each, located(root, each.path), options);
}

/** Moves what a layer owns from where it was extracted to its place. */
export function moveLayer(tree: string, paths: readonly string[], root: string): void {
  for (const path of paths) move(located(tree, path), located(root, path));
}

/** Makes something to mount on at each declared path, and returns those that take a mount. A symbolic link is made as it is. */
export async function makeMountPoints(
  entry: StoreEntry,
  paths: readonly string[],
  root: string,
  options: FileWriterOptions,
): Promise<string[]> {
  const links = new Set<string>();
  for (const path of paths) {
    const status = lstatSync(located(entry.tree, path));
    if (status.isDirectory()) mkdirSync(located(root, path), 0o755);
    else if (status.isSymbolicLink()) links.add(path);
    else writeFileSync(located(root, path), "");
  }
  if (links.size > 0)
    for await (const each of entry.entries())
      if (links.has(each.path)) makeLink(each, located(root, each.path), options);
  return paths.filter((path) => !links.has(path));
}

/** Moves a file or a directory, also one that nobody may write to: whoever moves a directory changes its parent. */
export function move(from: string | Buffer, to: string | Buffer): void {
  try {
    renameSync(from, to);
  } catch (error) {
    const status = lstatSync(from);
    if (systemErrorCode(error) !== "EACCES" || !status.isDirectory()) throw error;
    chmodSync(from, 0o700);
    renameSync(from, to);
    chmodSync(to, status.mode & 0o7777);
  }
}

function makeLink(entry: ExtractedEntry, to: string | Buffer, options: FileWriterOptions): void {
  symlinkSync(encodeTarName(entry.link as string), to);
  const owner = ownerOf({ name: entry.path, ...entry }, ownersOf(options), "the store");
  if (owner !== undefined) lchownSync(to, owner.uid, owner.gid);
  lutimesSync(to, timeOf(entry), timeOf(entry));
}

function placeFile(
  tree: string,
  entry: ExtractedEntry,
  to: string | Buffer,
  how: "hardlink" | "reflink",
  options: FileWriterOptions,
  placed: PlacedFiles,
): void {
  const from = located(tree, entry.path);
  // A file system that shared nothing so far will not do so now.
  const mayShare = placed.copied === 0 || placed.cloned > 0;
  const made = how === "hardlink" ? linkOrCopy(from, to) : cloneOrCopy(from, to, mayShare);
  placed[made]++;
  if (made === "linked") return;
  if (made === "copied") placed.copiedBytes += entry.size;
  setStatus(entry, to, options);
}

function linkOrCopy(from: string | Buffer, to: string | Buffer): "linked" | "copied" {
  try {
    linkSync(from, to);
    return "linked";
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === "EXDEV" || code === "EPERM" || code === "ENOTSUP")
      throw new OciError("UNSUPPORTED", `cannot link files of the store to ${to}: ${(error as Error).message}`, {
        hint: "The store and the directory have to be on one file system that knows hard links; reflink copies files where it must.",
        cause: error,
      });
    // A file can have so many names only.
    if (code !== "EMLINK") throw error;
    copyFileSync(from, to, constants.COPYFILE_EXCL);
    return "copied";
  }
}

function cloneOrCopy(from: string | Buffer, to: string | Buffer, mayShare: boolean): "cloned" | "copied" {
  try {
    if (mayShare) copyFileSync(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE);
    if (mayShare) return "cloned";
  } catch (error) {
    if (!CANNOT_SHARE.includes(systemErrorCode(error) ?? "")) throw error;
  }
  copyFileSync(from, to, constants.COPYFILE_EXCL);
  return "copied";
}

function setStatus(entry: ExtractedEntry, to: string | Buffer, options: FileWriterOptions): void {
  const owner = ownerOf({ name: entry.path, ...entry }, ownersOf(options), "the store");
  if (owner !== undefined) chownSync(to, owner.uid, owner.gid);
  chmodSync(to, entry.mode);
  utimesSync(to, timeOf(entry), timeOf(entry));
}

function ownersOf({ owners }: FileWriterOptions): NonNullable<FileWriterOptions["owners"]> {
  return owners ?? (process.getuid?.() === 0 ? "image" : "mine");
}

/** Node takes a negative number for "now", but not a text. */
function timeOf({ mtime }: { readonly mtime: number }): number | string {
  return mtime < 0 ? String(mtime) : mtime;
}

function decoded(xattrs: Readonly<Record<string, string>>): ReadonlyMap<string, Uint8Array> {
  return new Map(Object.entries(xattrs).map(([name, value]) => [name, Buffer.from(value, "base64")]));
}
