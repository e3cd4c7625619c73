import { openLayer } from "@stowage/image";
import {
  type Abortable,
  type Bytes,
  type Descriptor,
  type Digest,
  decompress,
  Hasher,
  OciError,
  type Source,
  verified,
} from "@stowage/layout";
import { writeNar } from "../formats/nar-writer.js";
import type { PathInfo } from "../formats/path-info.js";
import type { LayerMember } from "./annotations.js";
import { readStoreTar } from "./read-store-tar.js";

/** A store path in a layer. */
export interface StoredPath {
  readonly info: PathInfo;
  readonly layer: Descriptor;
  /** Where in the layer it is, in one that holds several. */
  readonly member?: LayerMember;
}

/** The media type of a NAR. */
export const NAR_TYPE = "application/x-nix-nar";

/**
 * The NAR of a store path, made from its layer. Whoever has received all of it has received what the narHash of the path
 * stands for. Of a layer with several paths only the bytes of this one are read. Fails with `MISMATCH` where it is something
 * else, with `INVALID` where the layer holds more than the path.
 */
export async function* openNar(
  source: Pick<Source, "fetch">,
  stored: StoredPath,
  options: Abortable = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const { info } = stored;
  const what = `${info.path} in the layer ${stored.layer.digest}`;
  const tree = readStoreTar(openTar(source, stored, what, options), info.path, what, options);
  const nar = { mediaType: NAR_TYPE, digest: info.narHash, size: info.narSize };
  yield* verified(writeNar(tree, what), nar, `the NAR of ${what}`);
}

function openTar(
  source: Pick<Source, "fetch">,
  { layer, member }: StoredPath,
  what: string,
  options: Abortable,
): AsyncIterable<Uint8Array> {
  if (member === undefined) return openLayer(source, layer, what, options);
  return decompress(readMember(source, layer, member, options), what, options);
}

/** The bytes of one member of a layer, verified. Fails with `MISMATCH` where they are others. */
export async function* readMember(
  source: Pick<Source, "fetch">,
  layer: Descriptor,
  member: LayerMember,
  options: Abortable = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const { path, offset, size, digest } = member;
  const where = `${path} in the layer ${layer.digest}`;
  if (offset + size > layer.size)
    throw new OciError("INVALID", `${where} ends behind the ${layer.size} bytes of the layer`);
  const bytes = firstBytes(source.fetch(layer, { ...options, from: offset, to: offset + size }), size);
  yield* verified(bytes, { mediaType: layer.mediaType, digest: digest as Digest, size }, where);
}

/** So many bytes, and then no more is asked for. */
export async function* firstBytes(bytes: Bytes, size: number): AsyncGenerator<Uint8Array, void, undefined> {
  let left = size;
  if (left === 0) return;
  for await (const chunk of bytes) {
    yield chunk.subarray(0, left);
    left -= Math.min(left, chunk.byteLength);
    if (left === 0) return;
  }
}

/**
 * The blob of the layer that holds a member alone: what stands in front of the first member, the member, and what stands
 * behind the last. Its digest is `member.layer`. Fails with `MISMATCH` where it is another.
 */
export async function* soloLayer(
  source: Pick<Source, "fetch">,
  layer: Descriptor,
  members: readonly LayerMember[],
  path: string,
  options: Abortable = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const member = members.find((one) => one.path === path);
  const first = Math.min(...members.map(({ offset }) => offset));
  const last = Math.max(...members.map(({ offset, size }) => offset + size));
  if (member === undefined || last > layer.size)
    throw new OciError("INVALID", `the layer ${layer.digest} does not say where ${path} is in it`);
  const hasher = Hasher.for(member.layer as Digest);
  const parts = [
    firstBytes(source.fetch(layer, options), first),
    readMember(source, layer, member, options),
    source.fetch(layer, { ...options, from: last }),
  ];
  for (const part of parts) {
    for await (const chunk of part) {
      hasher.update(chunk);
      yield chunk;
    }
  }
  const digest = hasher.digest();
  if (digest !== member.layer)
    throw new OciError("MISMATCH", `${path} alone has the digest ${digest}, not ${member.layer}`);
}
