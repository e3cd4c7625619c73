import type { Digest } from "@stowage/layout";
import { Hasher, OciError } from "@stowage/layout";
import { narPadding, narString, narStrings } from "./nar-reader.js";
import { checkFileName, checkTarget, MAXIMUM_TREE_DEPTH, readable, type Tree, type TreeEntry } from "./tree-entry.js";

const MAGIC = narStrings("nix-archive-1");
const NODE = narStrings("(", "type");
const OPEN_ENTRY = narStrings("entry", "(", "name");
const OPEN_NODE = narStrings("node");
const CLOSE = narString(")");
const DIRECTORY = narStrings("directory");
const SYMLINK = narStrings("symlink", "target");
const FILE = narStrings("regular", "contents");
const EXECUTABLE = narStrings("regular", "executable", "", "contents");
const NOTHING = Buffer.alloc(0);
/** Small pieces are gathered into chunks of this many bytes. */
const CHUNK = 65_536;

/**
 * Turns the entries of a tree into the bytes of its NAR, piece by piece; the bodies of files go between the pieces. Fails
 * with `INVALID` where the entries are in no order that a NAR can have.
 */
export class NarEncoder {
  readonly #what: string;
  readonly #open: { readonly path: string; last: string }[] = [];
  #started = false;
  #ended = false;
  /** What follows the body of the file that was begun last. */
  #after: Buffer = NOTHING;

  /** `what` names the tree in messages. */
  constructor(what: string) {
    this.#what = what;
  }

  /** What stands in front of the body of an entry, or is all of one that has none. */
  begin(entry: TreeEntry): Buffer {
    const pieces = [this.#after, ...this.#place(entry.path), NODE];
    this.#after = NOTHING;
    const isRoot = entry.path === "";
    const close = isRoot ? [CLOSE] : [CLOSE, CLOSE];
    switch (entry.type) {
      case "directory":
        if (this.#open.length + 1 >= MAXIMUM_TREE_DEPTH)
          throw new OciError("LIMIT", `${this.#what} has ${MAXIMUM_TREE_DEPTH} levels or more`);
        this.#open.push({ path: entry.path, last: "" });
        pieces.push(DIRECTORY);
        break;
      case "symlink":
        checkTarget(entry.target, entry.path, this.#what);
        pieces.push(SYMLINK, narString(entry.target), ...close);
        break;
      case "file":
        pieces.push(entry.executable ? EXECUTABLE : FILE, lengthOf(entry.size));
        this.#after = Buffer.concat([Buffer.alloc(narPadding(entry.size)), ...close]);
    }
    return Buffer.concat(pieces);
  }

  /** What stands behind the last entry. */
  end(): Buffer {
    if (!this.#started) throw new OciError("INVALID", `${this.#what} has no entry`);
    const pieces = [this.#after, ...this.#closeTo(0)];
    this.#ended = true;
    return Buffer.concat(pieces);
  }

  #place(path: string): Buffer[] {
    if (path === "" || !this.#started) {
      if (this.#started || path !== "" || this.#ended)
        throw new OciError("INVALID", `${this.#what} does not begin with one root: ${readable(path)}`);
      this.#started = true;
      return [MAGIC];
    }
    const slash = path.lastIndexOf("/");
    const parent = slash < 0 ? "" : path.slice(0, slash);
    const name = path.slice(slash + 1);
    checkFileName(name, this.#what);
    const depth = this.#open.findLastIndex((directory) => directory.path === parent);
    const pieces = this.#closeTo(depth + 1);
    const directory = this.#open[depth];
    if (directory === undefined || name <= directory.last)
      throw new OciError("INVALID", `${this.#what} has ${readable(path)} where it cannot stand in a NAR`);
    directory.last = name;
    return [...pieces, OPEN_ENTRY, narString(name), OPEN_NODE];
  }

  /** Closes directories until so many are open. */
  #closeTo(count: number): Buffer[] {
    const pieces: Buffer[] = [];
    while (this.#open.length > count) {
      this.#open.pop();
      // The root is in no entry.
      pieces.push(CLOSE, ...(this.#open.length > 0 ? [CLOSE] : []));
    }
    return pieces;
  }
}

function lengthOf(size: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUIntLE(size, 0, 6);
  return bytes;
}

/** The NAR of a tree: the same tree always gives the same bytes. Fails with `INVALID` where its entries are in no order that a NAR can have. */
export async function* writeNar(tree: Tree, what: string): AsyncGenerator<Uint8Array, void, undefined> {
  const encoder = new NarEncoder(what);
  let pieces: Uint8Array[] = [];
  let size = 0;
  for await (const entry of tree) {
    const head = encoder.begin(entry);
    pieces.push(head);
    size += head.byteLength;
    if (size >= CHUNK) {
      yield Buffer.concat(pieces, size);
      [pieces, size] = [[], 0];
    }
    if (entry.type !== "file") continue;
    for await (const chunk of checkedBody(entry, what)) {
      // Not kept beyond the next chunk: what it is a part of may be used again.
      pieces.push(chunk);
      yield Buffer.concat(pieces);
      [pieces, size] = [[], 0];
    }
  }
  pieces.push(encoder.end());
  yield Buffer.concat(pieces);
}

/** The body of a file. Fails with `CONFLICT` where it is not as long as was said. */
export async function* checkedBody(
  entry: TreeEntry & { readonly type: "file" },
  what: string,
): AsyncGenerator<Uint8Array, void, undefined> {
  let size = 0;
  for await (const chunk of entry.body) {
    size += chunk.byteLength;
    if (size > entry.size) break;
    yield chunk;
  }
  if (size !== entry.size)
    throw new OciError(
      "CONFLICT",
      `${readable(entry.path)} of ${what} changed while it was being read: it had ${entry.size} bytes before`,
    );
}

/** The hash and size in bytes of the NAR of a tree. */
export interface NarDigest {
  readonly narHash: Digest;
  readonly narSize: number;
}

/** The hash and size of the NAR of a tree, without making it. */
export async function hashNar(tree: Tree, what: string): Promise<NarDigest> {
  const hasher = new Hasher();
  let narSize = 0;
  for await (const chunk of writeNar(tree, what)) {
    hasher.update(chunk);
    narSize += chunk.byteLength;
  }
  return { narHash: hasher.digest(), narSize };
}
