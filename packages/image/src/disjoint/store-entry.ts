import { createHash } from "node:crypto";
import {
  closeSync,
  createReadStream,
  type Dirent,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import {
  decodeTarName,
  encodeTarName,
  isJsonObject,
  parseJsonObject,
  systemErrorCode,
  type TarReadHeader,
} from "@stowage/layout";
import type { Written } from "../unpack/file-writer.js";
import type { Ancestor } from "./ancestors.js";
import type { ExtractedEntry, ExtractedLayer } from "./extract-layer.js";

/** A layer in a store: its files, and beside them what they are. */
export interface StoreEntry {
  readonly directory: string;
  /** Where its files are, each at its path in the image. */
  readonly tree: string;
  readonly ancestors: readonly Ancestor[];
  readonly written: Written;
  /** What is in it, a directory before what is in that. Fails with {@link ChangedInStore} where the list is not what was written. */
  entries(): AsyncGenerator<ExtractedEntry, void, undefined>;
}

/** Something in the store is not what it was when it was put there. */
export class ChangedInStore extends Error {
  readonly path: string;

  constructor(path: string) {
    super(`${path} was changed in the store`);
    this.path = path;
  }
}

const DESCRIPTION = "layer.json";
const LIST = "entries.jsonl";
const TREE = "tree";
/** Thousands of layers have a list of a few lines, some have one of megabytes. */
const LIST_CHUNK = 65536;
const NEWLINE = 0x0a;

/** Where the files of an entry that is being made go. */
export function treeOf(directory: string): string {
  return join(directory, TREE);
}

/** The file whose time tells when an entry was last used. */
export function descriptionOf(directory: string): string {
  return join(directory, DESCRIPTION);
}

/** Writes what an entry holds beside its files: the list first, so that a description says that all is there. */
export function describeEntry(directory: string, layer: ExtractedLayer, listed: string): void {
  const ancestors = layer.ancestors.map(({ path, header }) => ({ path, ...attributes(header) }));
  const text = JSON.stringify({ version: 1, listed, ancestors, written: layer.written });
  writeFileSync(descriptionOf(directory), text, { flag: "wx" });
}

/** Writes the list of an entry while it is made. Its end gives the digest of the list. */
export function listEntries(directory: string): { add(entry: ExtractedEntry): void; end(): string } {
  const file = openSync(join(directory, LIST), "wx");
  const hash = createHash("sha256");
  let waiting = "";
  const write = (): void => {
    writeFileSync(file, waiting);
    hash.update(waiting);
    waiting = "";
  };
  return {
    add: (entry) => {
      // A lone surrogate, which stands for a byte that is not UTF-8, is escaped by JSON.
      waiting += `${JSON.stringify(entry)}\n`;
      if (waiting.length > LIST_CHUNK) write();
    },
    end: () => {
      try {
        write();
        return hash.digest("hex");
      } finally {
        closeSync(file);
      }
    },
  };
}

/**
 * The entry in a directory; undefined where there is none, or one that cannot be read. Does not give way to anything else: an image
 * can have thousands of layers.
 */
export function readEntry(directory: string): StoreEntry | undefined {
  let text: Uint8Array;
  try {
    text = readFileSync(descriptionOf(directory));
  } catch {
    return undefined;
  }
  try {
    const { version, listed, ancestors, written } = parseJsonObject(text, descriptionOf(directory));
    if (version !== 1 || !Array.isArray(ancestors) || !isJsonObject(written)) return undefined;
    return {
      directory,
      tree: treeOf(directory),
      ancestors: ancestors.map(({ path, ...rest }) => ({ path, header: headerOf(path, rest) })),
      written: written as unknown as Written,
      entries: () => linesOf(join(directory, LIST), String(listed)),
    };
  } catch {
    // A power loss can leave a file empty.
    return undefined;
  }
}

/** The list, whose last entry comes when all of it was read and is what was written. */
async function* linesOf(path: string, digest: string): AsyncGenerator<ExtractedEntry, void, undefined> {
  const hash = createHash("sha256");
  let rest: Buffer = Buffer.alloc(0);
  let last: ExtractedEntry | undefined;
  try {
    for await (const chunk of chunksOf(path)) {
      hash.update(chunk);
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      for (let end = rest.indexOf(NEWLINE); end >= 0; end = rest.indexOf(NEWLINE)) {
        if (last !== undefined) yield last;
        last = JSON.parse(rest.toString("utf8", 0, end)) as ExtractedEntry;
        rest = rest.subarray(end + 1);
      }
    }
  } catch (error) {
    if (error instanceof SyntaxError || systemErrorCode(error) === "ENOENT") throw new ChangedInStore(path);
    throw error;
  }
  if (hash.digest("hex") !== digest) throw new ChangedInStore(path);
  if (last !== undefined) yield last;
}

/** A short list, as most are, is read without giving way to anything else. */
async function* chunksOf(path: string): AsyncGenerator<Buffer, void, undefined> {
  if (statSync(path).size <= LIST_CHUNK) yield readFileSync(path);
  else yield* createReadStream(path) as AsyncIterable<Buffer>;
}

/** How the system is told of a path of the image below a directory. */
export function located(directory: string, path: string): string | Buffer {
  const encoded = encodeTarName(path);
  return typeof encoded === "string" ? directory + encoded : Buffer.concat([Buffer.from(directory), encoded]);
}

/**
 * True where a file of the entry is, by type, size, permissions and time, what was extracted: somebody who writes into a file through
 * a hard link changes its time. Costs one system call.
 */
export function isUntouched(tree: string, entry: ExtractedEntry): boolean {
  const status = lstatSync(located(tree, entry.path), { throwIfNoEntry: false });
  if (status === undefined) return false;
  if (entry.type === "directory") return status.isDirectory();
  if (entry.type === "symlink") return status.isSymbolicLink();
  if (entry.type === "hardlink") return status.isFile() || status.isSymbolicLink();
  return (
    status.isFile() &&
    status.size === entry.size &&
    (status.mode & 0o7777) === entry.mode &&
    Math.abs(status.mtimeMs / 1000 - entry.mtime) < 0.001
  );
}

/** True where the files are, byte for byte, what was extracted, and there are no others. */
export async function isWhole({ tree, entries, ancestors }: StoreEntry): Promise<boolean> {
  const expected = new Set(ancestors.map(({ path }) => path));
  try {
    for await (const entry of entries()) {
      if (!isUntouched(tree, entry)) return false;
      if (entry.sha256 !== undefined && entry.sha256 !== (await sha256(located(tree, entry.path)))) return false;
      expected.add(entry.path);
    }
  } catch {
    return false;
  }
  for (const path of pathsBelow(tree)) if (!expected.has(path)) return false;
  return true;
}

async function sha256(path: string | Buffer): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest("hex");
}

function* pathsBelow(tree: string): Generator<string, void, undefined> {
  const pending = [""];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    const children = readdirSync(located(tree, path), { withFileTypes: true, encoding: "buffer" }) as Dirent<Buffer>[];
    for (const child of children) {
      const below = `${path}/${decodeTarName(child.name)}`;
      yield below;
      if (child.isDirectory()) pending.push(below);
    }
  }
}

function attributes({ mode, uid, gid, mtime, xattrs }: TarReadHeader) {
  const values = [...xattrs].map(([name, value]) => [name, Buffer.from(value).toString("base64")] as const);
  return { mode, uid, gid, mtime, ...(values.length === 0 ? {} : { xattrs: Object.fromEntries(values) }) };
}

/** The entry of a directory, as it would stand in a layer. */
export function headerOf(
  path: string,
  { xattrs = {}, ...rest }: Pick<ExtractedEntry, "mode" | "uid" | "gid" | "mtime" | "xattrs">,
): TarReadHeader {
  const values = Object.entries(xattrs).map(([name, value]) => [name, Buffer.from(value, "base64")] as const);
  return { name: `.${path}`, type: "directory", size: 0, pax: {}, ...rest, xattrs: new Map(values) };
}
