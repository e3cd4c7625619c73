import { type Abortable, ByteReader, type Bytes, OciError } from "@stowage/layout";
import {
  checkFileName,
  checkTarget,
  MAXIMUM_NAME,
  MAXIMUM_TARGET,
  MAXIMUM_TREE_DEPTH,
  readable,
  type TreeEntry,
} from "./tree-entry.js";

/** A string of a NAR: its length in 8 bytes, itself, zeros up to a multiple of 8. */
export function narString(text: string): Buffer {
  const bytes = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8);
  bytes.writeUIntLE(text.length, 0, 6);
  bytes.write(text, 8, "latin1");
  return bytes;
}

/** Several strings, one after the other. */
export function narStrings(...texts: readonly string[]): Buffer {
  return Buffer.concat(texts.map(narString));
}

/** Bytes that fill up to a multiple of 8. */
export function narPadding(size: number): number {
  return (8 - (size % 8)) % 8;
}

const MAGIC = narStrings("nix-archive-1");
const NODE = narStrings("(", "type");
const OPEN_ENTRY = narStrings("(", "name");
const OPEN_NODE = narStrings("node");
const CLOSE = narStrings(")");
const EXECUTABLE = narStrings("", "contents");
const TYPES = ["regular", "symlink", "directory"] as const;

/**
 * The tree in a NAR, as a stream; memory grows with its depth only. Only what Nix itself would write is taken: names in bytewise order, zeros as
 * padding, no depth of 64 or more. So a NAR that was read can be written again to the same bytes. Reads to the end of the bytes.
 * Fails with `INVALID` for anything else; `what` names it in the message.
 */
export async function* readNar(
  bytes: Bytes,
  what: string,
  options: Abortable = {},
): AsyncGenerator<TreeEntry, void, undefined> {
  const input = new ByteReader(bytes, what, options);
  try {
    yield* readNarFrom(input, what);
    if (await input.fill()) throw new OciError("INVALID", `${what} is a NAR with something behind it`);
  } finally {
    await input.close();
  }
}

/** As {@link readNar}, from the middle of a stream, and no further than the NAR goes. */
export async function* readNarFrom(input: ByteReader, what: string): AsyncGenerator<TreeEntry, void, undefined> {
  const tokens = new Tokens(input, what);
  await tokens.expect(MAGIC, "nix-archive-1");
  /** For each directory that is open: its path, and the last name in it. */
  const open: { readonly path: string; last: string }[] = [];
  let path: string | undefined = "";
  do {
    if (path !== undefined) {
      await tokens.expect(NODE, "a node");
      const type: (typeof TYPES)[number] = await tokens.oneOf(TYPES);
      if (type === "directory") {
        if (open.length + 1 >= MAXIMUM_TREE_DEPTH)
          throw new OciError("LIMIT", `${what} is a NAR of ${MAXIMUM_TREE_DEPTH} levels or more`);
        yield { type, path };
        open.push({ path, last: "" });
      } else {
        yield* type === "regular" ? readFile(tokens, path) : readLink(tokens, path);
        await tokens.expect(CLOSE, "the end of a node");
        if (open.length > 0) await tokens.expect(CLOSE, "the end of an entry");
      }
    }
    path = await nextName(tokens, open);
  } while (open.length > 0);
}

/** The path of the next entry; undefined where a directory, which is closed then, has no more. */
async function nextName(tokens: Tokens, open: { readonly path: string; last: string }[]): Promise<string | undefined> {
  const directory = open.at(-1);
  if (directory === undefined) return undefined;
  if ((await tokens.oneOf([")", "entry"])) === ")") {
    open.pop();
    if (open.length > 0) await tokens.expect(CLOSE, "the end of an entry");
    return undefined;
  }
  await tokens.expect(OPEN_ENTRY, "an entry");
  const name = await tokens.string(MAXIMUM_NAME);
  checkFileName(name, tokens.what);
  if (name <= directory.last) throw tokens.invalid(`${readable(name)} stands behind ${readable(directory.last)}`);
  directory.last = name;
  await tokens.expect(OPEN_NODE, "a node");
  return directory.path === "" ? name : `${directory.path}/${name}`;
}

async function* readFile(tokens: Tokens, path: string): AsyncGenerator<TreeEntry, void, undefined> {
  const executable = (await tokens.oneOf(["contents", "executable"])) === "executable";
  if (executable) await tokens.expect(EXECUTABLE, "contents");
  const size = await tokens.size();
  const { input } = tokens;
  const end = input.position + size;
  yield { type: "file", path, executable, size, body: input.until(end) };
  await input.skip(end - input.position);
  await tokens.padding(size);
}

async function* readLink(tokens: Tokens, path: string): AsyncGenerator<TreeEntry, void, undefined> {
  await tokens.oneOf(["target"]);
  const target = await tokens.string(MAXIMUM_TARGET);
  checkTarget(target, path, tokens.what);
  yield { type: "symlink", path, target };
}

/** Numbers and strings as NARs and exports have them, from a stream. */
export class Tokens {
  readonly input: ByteReader;
  readonly what: string;

  constructor(input: ByteReader, what: string) {
    this.input = input;
    this.what = what;
  }

  async expect(bytes: Buffer, name: string): Promise<void> {
    if (!(await this.input.take(bytes.byteLength)).equals(bytes)) throw this.invalid(`${name} was expected`);
  }

  /** A number of bytes, or of things. */
  async size(): Promise<number> {
    const value = (await this.input.take(8)).readBigUInt64LE();
    if (value > Number.MAX_SAFE_INTEGER) throw this.invalid(`it has a size of ${value}`);
    return Number(value);
  }

  async string(maximum: number): Promise<string> {
    const size = await this.size();
    if (size > maximum) throw this.invalid(`a string has ${size} bytes; ${maximum} are allowed`);
    const text = (await this.input.take(size)).toString("latin1");
    await this.padding(size);
    return text;
  }

  async oneOf<Text extends string>(texts: readonly Text[]): Promise<Text> {
    const text = await this.string(16);
    const found = texts.find((one) => one === text);
    if (found === undefined) throw this.invalid(`${readable(text)} stands where ${texts.join(" or ")} should`);
    return found;
  }

  async padding(size: number): Promise<void> {
    const padding = await this.input.take(narPadding(size));
    if (padding.some((byte) => byte !== 0)) throw this.invalid("what fills up to 8 bytes is not zero");
  }

  invalid(problem: string): OciError {
    return new OciError("INVALID", `${this.what} is no NAR as Nix writes it: ${problem}`);
  }
}
