import { ByteReader, type Bytes, Hasher, OciError } from "@stowage/layout";
import { narString, narStrings, readNarFrom, Tokens } from "./nar-reader.js";
import { type NarDigest, NarEncoder, writeNar } from "./nar-writer.js";
import { baseName, baseNames, type PartialPathInfo, type PathInfo } from "./path-info.js";
import { parseStorePath } from "./store-path.js";
import { topologicalOrder } from "./topological-order.js";
import { readable, type Tree, type TreeEntry } from "./tree-entry.js";

/** `NIXE`, between the NAR of a path and what is said of it. */
const MAGIC = 0x4558494e;
const MAXIMUM_PATH = 4096;
/** References of one store path. It is memory that a few bytes ask for. */
const MAXIMUM_REFERENCES = 1_000_000;

/** A store path in an archive of `nix-store --export`, and where its NAR stands. */
export interface ExportedPath extends PathInfo {
  /** Bytes in front of its NAR. */
  readonly offset: number;
}

/**
 * What is in an archive of `nix-store --export`, references before what refers to them. The NARs are read, checked and hashed,
 * and not kept. Fails with `INVALID`; `what` names the archive.
 */
export async function* readExport(
  bytes: Bytes,
  what: string,
  options: { readonly signal?: AbortSignal | undefined } = {},
): AsyncGenerator<ExportedPath, void, undefined> {
  const input = new ByteReader(bytes, what, options);
  try {
    const tokens = new Tokens(input, what);
    for (;;) {
      const more = await tokens.size();
      if (more === 0) break;
      if (more !== 1) throw tokens.invalid("no path begins where one should");
      const offset = input.position;
      const nar = await hashWhileReading(readNarFrom(input, what), what);
      if ((await tokens.size()) !== MAGIC) throw tokens.invalid("nothing is said of a path");
      yield { ...(await readInfo(tokens)), ...nar, offset };
    }
    if (await input.fill()) throw new OciError("INVALID", `${what} is an export with something behind it`);
  } finally {
    await input.close();
  }
}

async function readInfo(tokens: Tokens): Promise<PartialPathInfo> {
  const path = await tokens.string(MAXIMUM_PATH);
  const { storeDirectory } = parseStorePath(path, `a path in ${tokens.what}`);
  const count = await tokens.size();
  if (count > MAXIMUM_REFERENCES)
    throw new OciError("LIMIT", `${tokens.what} gives ${readable(path)} ${count} references`);
  const references: string[] = [];
  for (let at = 0; at < count; at++) references.push(await tokens.string(MAXIMUM_PATH));
  const deriver = await tokens.string(MAXIMUM_PATH);
  // A signature that no version of Nix has looked at since 2.0.
  if ((await tokens.size()) === 1) await tokens.string(MAXIMUM_PATH);
  const what = `${path} in ${tokens.what}`;
  return {
    path,
    references: baseNames(references, storeDirectory, what),
    ...(deriver === "" ? {} : { deriver: baseName(deriver, storeDirectory, what) }),
    signatures: [],
  };
}

async function hashWhileReading(tree: Tree, what: string): Promise<NarDigest> {
  const hasher = new Hasher();
  let narSize = 0;
  const update = (chunk: Uint8Array): void => {
    hasher.update(chunk);
    narSize += chunk.byteLength;
  };
  const encoder = new NarEncoder(what);
  for await (const entry of tree) {
    update(encoder.begin(entry));
    if (entry.type === "file") for await (const chunk of entry.body) update(chunk);
  }
  update(encoder.end());
  return { narHash: hasher.digest(), narSize };
}

/** The tree of a path at its {@link ExportedPath.offset}, from bytes that begin there. */
export async function* readExportedTree(bytes: Bytes, what: string): AsyncGenerator<TreeEntry, void, undefined> {
  const input = new ByteReader(bytes, what, {});
  try {
    yield* readNarFrom(input, what);
  } finally {
    await input.close();
  }
}

/** A store path with its content. */
export interface ExportedObject {
  readonly info: PathInfo;
  tree(): Tree;
}

/** The archive that `nix-store --import` reads, references before what refers to them. Fails with `INVALID` where paths refer to each other in a circle. */
export async function* writeExport(objects: Iterable<ExportedObject>): AsyncGenerator<Uint8Array, void, undefined> {
  const byPath = new Map([...objects].map((object) => [object.info.path, object]));
  const inOrder = topologicalOrder([...byPath.values()].map(({ info }) => info)).reverse();
  for (const { path } of inOrder) {
    const { info, tree } = byPath.get(path) as ExportedObject;
    const { storeDirectory } = parseStorePath(info.path);
    const whole = (base: string): string => `${storeDirectory}/${base}`;
    yield number(1);
    yield* writeNar(tree(), info.path);
    yield Buffer.concat([
      number(MAGIC),
      narString(info.path),
      number(info.references.length),
      narStrings(...info.references.map(whole)),
      narString(info.deriver === undefined ? "" : whole(info.deriver)),
      number(0),
    ]);
  }
  yield number(0);
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUIntLE(value, 0, 6);
  return bytes;
}
