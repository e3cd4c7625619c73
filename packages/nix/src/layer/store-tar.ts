import { type EncodedTarEntry, fits, paxHeader, paxRecord, shorten, ustar, writeTar } from "@stowage/image";
import { type Abortable, OciError } from "@stowage/layout";
import { checkedBody, NarEncoder } from "../formats/nar-writer.js";
import type { StorePath } from "../formats/store-path.js";
import { readable, type Tree, type TreeEntry } from "../formats/tree-entry.js";

/** The time of everything in a store: the one that Nix itself sets. */
export const STORE_MTIME = 1;
export const DIRECTORY_MODE = 0o555;
export const EXECUTABLE_MODE = 0o555;
export const FILE_MODE = 0o444;
export const SYMLINK_MODE = 0o777;
/** Of the directories that a store path is in. */
export const ANCESTOR_MODE = 0o755;
/** A size that needs a PAX record. */
const LARGE = 8 * 1024 ** 3;

/** What ends a tar archive. */
export const endOfTar: Uint8Array = new Uint8Array(1024);

/** The directories that lead to a store path, `nix` and `nix/store`, as the beginning of a tar archive. */
export function ancestorsTar(storeDirectory: string): Uint8Array {
  return Buffer.concat(
    ancestorsOf(storeDirectory).map((name) =>
      encodeHeader({ name: `${name}/`, type: "directory", mode: ANCESTOR_MODE, size: 0 }),
    ),
  );
}

/** `nix`, `nix/store`. */
export function ancestorsOf(storeDirectory: string): string[] {
  const parts = storeDirectory.slice(1).split("/");
  return parts.map((_part, at) => parts.slice(0, at + 1).join("/"));
}

/** The options of {@link memberTar}. */
export interface MemberTarOptions extends Abortable {
  /** Told of the bytes of the NAR of the tree, which are hashed along the way. */
  readonly onNar?: (bytes: Uint8Array) => void;
}

/**
 * The entries of a store path in the form of a tar archive, without what stands before and behind them: the same tree always gives the same bytes, and
 * no others, and from them it can be had again. Mode, owner and time are those of a store: 0555 or 0444, nobody's, 1 second after 1970.
 * Fails with `INVALID` where the name of a file means that something is deleted in a layer (`.wh.`). image-spec v1.1.1, layer.md "Whiteouts".
 */
export async function* memberTar(
  path: StorePath,
  tree: Tree,
  options: MemberTarOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const what = `${path.storeDirectory}/${path.baseName}`;
  const nar = new NarEncoder(what);
  const { onNar = () => {}, signal } = options;
  async function* entries(): AsyncGenerator<EncodedTarEntry, void, undefined> {
    for await (const entry of tree) {
      onNar(nar.begin(entry));
      yield encodeEntry(path, entry, what, onNar);
      // An empty body is not asked for.
    }
    onNar(nar.end());
  }
  yield* writeTar(entries(), { signal, end: false });
}

function encodeEntry(
  { storeDirectory, baseName }: StorePath,
  entry: TreeEntry,
  what: string,
  onNar: (bytes: Uint8Array) => void,
): EncodedTarEntry {
  const name = `${storeDirectory.slice(1)}/${baseName}${entry.path === "" ? "" : `/${entry.path}`}`;
  if (/(?:^|\/)\.wh\./.test(entry.path))
    throw new OciError(
      "INVALID",
      `${what} has ${readable(entry.path)}, which means in a layer that something is deleted`,
      {
        hint: "No image can hold a file whose name begins with .wh. .",
      },
    );
  switch (entry.type) {
    case "directory":
      return encoded({ name: `${name}/`, type: "directory", mode: DIRECTORY_MODE, size: 0 });
    case "symlink":
      return encoded({ name, type: "symlink", mode: SYMLINK_MODE, size: 0, linkname: entry.target });
    case "file": {
      const mode = entry.executable ? EXECUTABLE_MODE : FILE_MODE;
      return {
        ...encoded({ name, type: "file", mode, size: entry.size }),
        open: () => tapped(checkedBody(entry, what), onNar),
      };
    }
  }
}

async function* tapped(
  bytes: AsyncIterable<Uint8Array>,
  onBytes: (bytes: Uint8Array) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of bytes) {
    onBytes(chunk);
    yield chunk;
  }
}

/** The header of an entry of a store, its names one character for each byte. */
export interface StoreHeader {
  readonly name: string;
  readonly type: "file" | "directory" | "symlink";
  readonly mode: number;
  readonly size: number;
  readonly linkname?: string;
}

const FLAGS = { file: "0", symlink: "2", directory: "5" } as const;

function encoded(header: StoreHeader): EncodedTarEntry {
  return { name: header.name, size: header.size, header: encodeHeader(header) };
}

/**
 * The header blocks of an entry: ustar, and a PAX header in front where a name has more than 100 bytes or one above 0x7f, or
 * where a file has 8 GiB or more. What is in them depends on the header and on nothing else.
 */
export function encodeHeader({ name, type, mode, size, linkname = "" }: StoreHeader): Uint8Array {
  const records = [
    ...(fits(linkname, 100) ? [] : [paxRecord("linkpath", Buffer.from(linkname, "latin1"))]),
    ...(fits(name, 100) ? [] : [paxRecord("path", Buffer.from(name, "latin1"))]),
    ...(size < LARGE ? [] : [paxRecord("size", String(size))]),
  ];
  const fields = { mode, uid: 0, gid: 0, size, mtime: STORE_MTIME };
  const own = ustar(fields, { prefix: "", name: shorten(name) }, shorten(linkname), FLAGS[type]);
  return records.length === 0 ? own : Buffer.concat([paxHeader("entry", records), own]);
}
