import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  futimesSync,
  lchownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  symlinkSync,
  utimesSync,
  writeSync,
} from "node:fs";
import { encodeTarName, type TarReadHeader } from "@stowage/layout";
import { linkTarget } from "../entry-path.js";
import { type ExtendedAttributes, isSettable, setAttributes } from "./attributes.js";
import { type Owners, ownerOf } from "./owners.js";
import { at, join, type OpenDirectory, type RootDirectory, statusOf } from "./root-directory.js";
import { makeSpecial, type SpecialFiles } from "./special-files.js";

/** The options of {@link FileWriter}. */
export interface FileWriterOptions {
  /** Default: `image` for root, else `mine`. */
  readonly owners?: Owners | undefined;
  /** Default: `refuse`. */
  readonly specialFiles?: SpecialFiles | undefined;
  /** Default: `skip`. */
  readonly xattrs?: ExtendedAttributes | undefined;
}

/** What was written, and what of it had to be left out. */
export interface Written {
  /** Files, directories, links and devices that were made or changed. */
  entries: number;
  /** Bytes in files. */
  bytes: number;
  /** How many did not get the owner they have in the image. */
  otherOwners: number;
  /** How many have extended attributes that were not set. */
  withoutXattrs: number;
  /** The devices and FIFOs that were left out. */
  readonly skipped: string[];
}

/** What a directory gets when all else is done. */
interface DirectoryAttributes {
  readonly mode?: number;
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
  readonly mtime: number;
}

const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | (constants.O_NOFOLLOW ?? 0);
const IMPLIED = { name: "", mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: new Map<string, Uint8Array>() };

/**
 * Makes files of every kind, each new: where something has the name already, making it fails with EEXIST and nothing is
 * written. Attributes are set through the open file, in the order in which none undoes another: owner, mode, time.
 */
export class FileWriter {
  readonly written: Written = { entries: 0, bytes: 0, otherOwners: 0, withoutXattrs: 0, skipped: [] };
  readonly #root: RootDirectory;
  readonly #owners: Owners;
  readonly #options: FileWriterOptions;
  readonly #directories = new Map<string, DirectoryAttributes>();
  readonly #xattrs = new Map<string, ReadonlyMap<string, Uint8Array>>();

  constructor(root: RootDirectory, options: FileWriterOptions) {
    this.#root = root;
    this.#options = options;
    this.#owners = options.owners ?? (process.getuid?.() === 0 ? "image" : "mine");
  }

  /** Gives a directory that no layer describes mode 0755, owner 0:0 and time 0, at the end. */
  imply(path: string, what: string): void {
    this.#directories.set(path, { ...IMPLIED, owner: ownerOf(IMPLIED, this.#owners, what) });
    this.#xattrs.delete(path);
  }

  /** Gives a directory the attributes of its entry, at the end. */
  describe(path: string, header: TarReadHeader, what: string): void {
    this.#directories.set(path, { mode: header.mode, owner: this.#owner(header, what), mtime: header.mtime });
    this.#attributes(path, header);
    this.written.entries++;
  }

  /** What is about to happen in a directory must not show in its time, also where the directory was there before. */
  touch({ path, fd, base }: OpenDirectory): void {
    if (this.#directories.has(path)) return;
    const { mtimeMs } = fd >= 0 ? fstatSync(fd) : (statusOf({ path, fd, base }, ".") as { mtimeMs: number });
    this.#directories.set(path, { mtime: mtimeMs / 1000 });
  }

  makeDirectory(directory: OpenDirectory, name: string): void {
    mkdirSync(at(directory, name), 0o700);
  }

  /** Opens a new file to write; {@link fill} closes it. */
  makeFile(directory: OpenDirectory, name: string): number {
    return openSync(at(directory, name), CREATE, 0o600);
  }

  /** Writes a new file and closes it, however that ends. */
  async fill(
    fd: number,
    path: string,
    header: TarReadHeader,
    body: AsyncIterable<Uint8Array>,
    what: string,
  ): Promise<void> {
    try {
      if (header.size > 0) {
        for await (const chunk of body) {
          for (let from = 0; from < chunk.byteLength; ) from += writeSync(fd, chunk, from);
        }
      }
      const owner = this.#owner(header, what);
      if (owner !== undefined) fchownSync(fd, owner.uid, owner.gid);
      fchmodSync(fd, header.mode);
      futimesSync(fd, timeOf(header), timeOf(header));
    } finally {
      closeSync(fd);
    }
    this.#made(path, header);
    this.written.bytes += header.size;
  }

  makeLink(directory: OpenDirectory, name: string, header: TarReadHeader, what: string): void {
    const path = at(directory, name);
    symlinkSync(encodeTarName(linkTarget(header, what)), path);
    const owner = this.#owner(header, what);
    if (owner !== undefined) lchownSync(path, owner.uid, owner.gid);
    lutimesSync(path, timeOf(header), timeOf(header));
    this.#made(join(directory.path, name), header);
  }

  /** Gives a file one more name. Its attributes are those of the file. */
  makeHardlink(
    directory: OpenDirectory,
    name: string,
    to: { readonly directory: OpenDirectory; readonly name: string },
  ): void {
    // Not all systems link a symbolic link itself.
    linkSync(at(to.directory, to.name), at(directory, name));
    this.written.entries++;
    this.#xattrs.delete(join(directory.path, name));
  }

  /** Makes a device or FIFO. */
  makeSpecial(directory: OpenDirectory, name: string, header: TarReadHeader, what: string): void {
    const path = at(directory, name);
    makeSpecial(path, header, what);
    const owner = this.#owner(header, what);
    if (owner !== undefined) lchownSync(path, owner.uid, owner.gid);
    chmodSync(path, header.mode);
    utimesSync(path, timeOf(header), timeOf(header));
    this.#made(join(directory.path, name), header);
  }

  /** Sets extended attributes, and the attributes of directories, the deepest first. */
  async finish(directory: string, what: string): Promise<void> {
    const present = new Map([...this.#xattrs].filter(([path]) => this.#isThere(path)));
    if (present.size > 0) await setAttributes(directory, present);
    const deepestFirst = [...this.#directories].sort(([one], [other]) => (`${one}/` < `${other}/` ? 1 : -1));
    for (const [path, attributes] of deepestFirst) {
      const found = this.#root.enter(path.split("/"), { what, withoutLinks: true });
      if (found !== undefined) setDirectory(found, attributes);
    }
  }

  #isThere(path: string): boolean {
    const slash = path.lastIndexOf("/");
    const parents = path.slice(0, Math.max(slash, 0)).split("/");
    const parent = this.#root.enter(parents, { what: path, withoutLinks: true });
    return parent !== undefined && statusOf(parent, path === "" ? "." : path.slice(slash + 1)) !== undefined;
  }

  #owner(header: TarReadHeader, what: string): { uid: number; gid: number } | undefined {
    const owner = ownerOf(header, this.#owners, what);
    if (owner === undefined && (header.uid !== process.getuid?.() || header.gid !== process.getgid?.()))
      this.written.otherOwners++;
    return owner;
  }

  #made(path: string, header: TarReadHeader): void {
    this.written.entries++;
    this.#attributes(path, header);
  }

  #attributes(path: string, header: TarReadHeader): void {
    const settable = new Map([...header.xattrs].filter(([name]) => isSettable(name)));
    if (settable.size > 0 && this.#options.xattrs === "set") this.#xattrs.set(path, settable);
    else this.#xattrs.delete(path);
    if (header.xattrs.size > (this.#options.xattrs === "set" ? settable.size : 0)) this.written.withoutXattrs++;
  }
}

function setDirectory({ fd, base }: OpenDirectory, attributes: DirectoryAttributes): void {
  const { owner, mode } = attributes;
  const time = timeOf(attributes);
  if (fd >= 0) {
    if (owner !== undefined) fchownSync(fd, owner.uid, owner.gid);
    if (mode !== undefined) fchmodSync(fd, mode);
    futimesSync(fd, time, time);
    return;
  }
  if (owner !== undefined) chownSync(base, owner.uid, owner.gid);
  if (mode !== undefined) chmodSync(base, mode);
  utimesSync(base, time, time);
}

/** Node takes a negative number for "now", but not a text. */
function timeOf({ mtime }: { readonly mtime: number }): number | string {
  return mtime < 0 ? String(mtime) : mtime;
}
