import { type Abortable, type Bytes, type Digest, decompress, Hasher, OciError, type Source } from "@stowage/layout";
import { quoted } from "../entry-path.js";
import { readTar } from "../tar-reader.js";
import type { DisjointMember } from "./declaration.js";
import type { DeclaredLayer, DisjointImage } from "./disjoint-image.js";
import { formatLayer } from "./violation.js";

/** The most bytes before the first member and behind the last. Each layer that can be put together has them. */
const MAXIMUM_FRAME = 1024 * 1024;

/** A run of bytes of the blob: before the members, one of them, or behind them. */
interface Piece {
  readonly kind: "head" | "member" | "tail";
  readonly member?: DisjointMember;
  readonly bytes: Bytes;
}

/**
 * Holds the members of a layer against its bytes (V1): each is where it is said to be and has its digest, holds the entries of its own
 * path and nothing else, and gives the layer that is named with what stands before the first and behind the last.
 */
export async function checkMembers(
  source: Pick<Source, "fetch">,
  layer: DeclaredLayer,
  { report }: DisjointImage,
  options: Abortable,
): Promise<void> {
  const { members } = layer.declaration;
  if (members.length === 0) return;
  const last = members.at(-1) as DisjointMember;
  const bad = (problem: string): void => report({ rule: "V1", layer: layer.name, problem });
  if (
    (members[0] as DisjointMember).offset > MAXIMUM_FRAME ||
    layer.descriptor.size - (last.offset + last.size) > MAXIMUM_FRAME
  )
    return bad("has more before or behind its members than a layer of one of them would");
  if (members.some(({ offset }, at) => at > 0 && offset !== endOf(members[at - 1] as DisjointMember)))
    return bad("has bytes between two members that belong to none");
  if (endOf(last) > layer.descriptor.size) return bad("has a member that goes beyond its end");
  const head = new Hasher();
  const solos: { readonly member: DisjointMember; readonly hasher: Hasher }[] = [];
  for await (const { kind, member, bytes } of pieces(source.fetch(layer.descriptor, options), members)) {
    if (member === undefined) {
      const all = await gathered(bytes);
      if (kind === "head") head.update(all);
      else for (const { hasher } of solos) hasher.update(all);
      continue;
    }
    const solo = head.copy();
    const digest = await checkMember(member, tap(bytes, solo), layer, bad, options);
    if (digest !== member.digest)
      bad(`has the member ${quoted(member.path)} with the digest ${digest}, not ${member.digest}`);
    solos.push({ member, hasher: solo });
  }
  for (const { member, hasher } of solos) {
    const digest = hasher.digest();
    if (digest !== member.layer)
      bad(`has the member ${quoted(member.path)}, which gives the layer ${digest}, not ${member.layer}`);
  }
}

/** The digest of the bytes, whose entries must all be at the path of the member. */
async function checkMember(
  member: DisjointMember,
  bytes: AsyncGenerator<Uint8Array>,
  layer: DeclaredLayer,
  bad: (problem: string) => void,
  options: Abortable,
): Promise<Digest> {
  const hasher = new Hasher();
  const what = `the member ${quoted(member.path)} of ${formatLayer(layer.name)}`;
  for await (const { header } of readTar(decompress(tap(bytes, hasher), what, options), what, options)) {
    const path = `/${header.name.replace(/^\.?\//, "").replace(/\/$/, "")}`;
    if (path !== member.path && !path.startsWith(`${member.path}/`))
      bad(`has the entry ${quoted(header.name)} in the member ${quoted(member.path)}`);
  }
  return hasher.digest();
}

function endOf({ offset, size }: DisjointMember): number {
  return offset + size;
}

async function* tap(bytes: Bytes, hasher: Hasher): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of bytes) {
    hasher.update(chunk);
    yield chunk;
  }
}

async function gathered(bytes: Bytes): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** The bytes cut where members begin and end. Each piece is read to its end before the next comes, whether it was used or not. */
async function* pieces(bytes: Bytes, members: readonly DisjointMember[]): AsyncGenerator<Piece, void, undefined> {
  const chunks = Symbol.asyncIterator in bytes ? bytes[Symbol.asyncIterator]() : bytes[Symbol.iterator]();
  let chunk = new Uint8Array();
  let position = 0;
  async function* until(end: number): AsyncGenerator<Uint8Array, void, undefined> {
    while (position < end) {
      if (chunk.byteLength === 0) {
        const next = await chunks.next();
        if (next.done === true) {
          if (end === Number.POSITIVE_INFINITY) return;
          throw new OciError("INVALID", "it ends within a member");
        }
        chunk = next.value as Uint8Array<ArrayBuffer>;
        continue;
      }
      const part = chunk.subarray(0, end - position);
      chunk = chunk.subarray(part.byteLength);
      position += part.byteLength;
      yield part;
    }
  }
  try {
    yield { kind: "head", bytes: until((members[0] as DisjointMember).offset) };
    for (const member of members) {
      yield { kind: "member", member, bytes: until(endOf(member)) };
      // What stands behind the end of a compressed stream was not asked for.
      for await (const _ of until(endOf(member)));
    }
    yield { kind: "tail", bytes: until(Number.POSITIVE_INFINITY) };
  } finally {
    await chunks.return?.();
  }
}
