import { type BuildTarget, type Compression, compress, type Layer, layerMediaType } from "@stowage/image";
import {
  type Abortable,
  type Bytes,
  type Descriptor,
  type Digest,
  decompress,
  Hasher,
  OciError,
} from "@stowage/layout";
import { formatNixHash } from "../formats/nix-hash.js";
import type { PathInfo } from "../formats/path-info.js";
import { parseStorePath } from "../formats/store-path.js";
import { annotatedPaths, groupAnnotations, type LayerMember, pathAnnotations } from "../layer/annotations.js";
import { ancestorsTar, endOfTar, memberTar } from "../layer/store-tar.js";
import { firstBytes, readMember } from "../layer/stored-path.js";
import type { StoreObject } from "../sources/closure.js";
import type { KnownLayers, KnownMember } from "./known-layers.js";

/** A layer with where it came from. */
export interface PackedLayer extends Layer {
  /** How many of its store paths were compressed now; the others were there. */
  readonly packed: number;
}

/** The options of {@link LayerPacker.open}. */
export interface PackOptions extends Abortable {
  readonly compression: Compression;
  readonly known: KnownLayers;
  /** Told of bytes of NARs that were read. */
  readonly onBytes?: ((count: number) => void) | undefined;
}

/**
 * Makes layers out of store paths. Three kinds of pieces are compressed each by itself: the directories that lead to the
 * store, the entries of each path, and the end of the archive. A layer is one of the first, some of the second, one of the third; so
 * every path stands in one piece in whatever layer it is in, and a layer of several is made of the bytes of the layers of one.
 */
export class LayerPacker {
  readonly #target: BuildTarget;
  readonly #options: PackOptions;
  readonly #head: Piece;
  readonly #tail: Piece;

  private constructor(target: BuildTarget, options: PackOptions, head: Piece, tail: Piece) {
    this.#target = target;
    this.#options = options;
    this.#head = head;
    this.#tail = tail;
  }

  static async open(target: BuildTarget, storeDirectory: string, options: PackOptions): Promise<LayerPacker> {
    const head = await compressed(ancestorsTar(storeDirectory), options);
    return new LayerPacker(target, options, head, await compressed(endOfTar, options));
  }

  /** A layer of one store path, from what is known or made now. Fails with `MISMATCH` where the path is not what its narHash says. */
  async alone(object: StoreObject): Promise<PackedLayer> {
    const { info } = object;
    const { known } = this.#options;
    const annotations = pathAnnotations(info);
    const present = await this.#present([info]);
    if (present !== undefined) return { ...present, descriptor: { ...present.descriptor, annotations }, packed: 0 };
    const tar = new Hasher();
    const member = await this.#known(info);
    const pieces = this.#layerOf([this.#member(object, member, tar)], tar);
    const { mediaType, digest, size } = await this.#write(pieces);
    const diffId = tar.digest();
    known.addAlone(info, { mediaType, digest, size }, diffId);
    return { descriptor: { mediaType, digest, size, annotations }, diffId, packed: member === undefined ? 1 : 0 };
  }

  /** A layer of several store paths, in their order, which says where in it each of them is. Fails as {@link alone} does. */
  async together(objects: readonly StoreObject[]): Promise<PackedLayer> {
    const [first, ...others] = objects;
    if (first !== undefined && others.length === 0) return this.alone(first);
    const infos = objects.map(({ info }) => info);
    const present = await this.#present(infos);
    if (present !== undefined) {
      const members = annotatedPaths(present.descriptor.annotations, present.descriptor.digest).flatMap(
        ({ member }) => member ?? [],
      );
      return {
        ...present,
        descriptor: { ...present.descriptor, annotations: groupAnnotations(infos, members) },
        packed: 0,
      };
    }
    const tar = new Hasher();
    const members: LayerMember[] = [];
    const found = await Promise.all(infos.map((info) => this.#known(info)));
    const parts = objects.map((object, at) =>
      this.#placed(members, object.info.path, this.#member(object, found[at], tar)),
    );
    const { mediaType, digest, size } = await this.#write(this.#layerOf(parts, tar));
    const packed = found.filter((known) => known === undefined).length;
    const annotations = groupAnnotations(infos, members);
    return { descriptor: { mediaType, digest, size, annotations }, diffId: tar.digest(), packed };
  }

  /** The bytes of the next member, which is put on the list when they have gone by. */
  async *#placed(
    members: LayerMember[],
    path: string,
    bytes: AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const before = members.at(-1);
    const offset = before === undefined ? this.#head.bytes.byteLength : before.offset + before.size;
    const [own, layer] = [new Hasher(), new Hasher()];
    layer.update(this.#head.bytes);
    let size = 0;
    for await (const chunk of bytes) {
      own.update(chunk);
      layer.update(chunk);
      size += chunk.byteLength;
      yield chunk;
    }
    layer.update(this.#tail.bytes);
    members.push({ path, offset, size, digest: own.digest(), layer: layer.digest() });
  }

  /** A layer that has just these paths, where the target has one. */
  async #present(infos: readonly PathInfo[]): Promise<Layer | undefined> {
    const { known, signal } = this.#options;
    const descriptor = known.layer(infos);
    if (descriptor === undefined || !(await this.#target.has(descriptor, { signal }))) return undefined;
    const diffId = known.diffId(descriptor.digest) ?? (await this.#diffId(descriptor));
    return { descriptor, diffId };
  }

  async #diffId(layer: Descriptor): Promise<Digest> {
    const hasher = new Hasher();
    for await (const chunk of decompress(this.#target.fetch(layer, this.#options), layer.digest, this.#options))
      hasher.update(chunk);
    return hasher.digest();
  }

  async #known(info: PathInfo): Promise<KnownMember | undefined> {
    const known = this.#options.known.member(info);
    return known !== undefined && (await this.#target.has(known.layer, this.#options)) ? known : undefined;
  }

  async *#layerOf(
    members: readonly AsyncIterable<Uint8Array>[],
    tar: Hasher,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    yield this.#head.bytes;
    tar.update(this.#head.tar);
    for (const member of members) yield* member;
    yield this.#tail.bytes;
    tar.update(this.#tail.tar);
  }

  /** The compressed entries of a path, and what they are uncompressed for the hasher. */
  async *#member(
    object: StoreObject,
    known: KnownMember | undefined,
    tar: Hasher,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    if (known === undefined) {
      yield* compress(tapped(this.#tar(object), tar), this.#options.compression, this.#options);
      return;
    }
    const what = `${object.info.path} in the layer ${known.layer.digest}`;
    for await (const chunk of decompress(this.#stored(known), what, this.#options)) tar.update(chunk);
    yield* this.#stored(known);
  }

  #stored({ layer, member }: KnownMember): AsyncIterable<Uint8Array> {
    if (member !== undefined) return readMember(this.#target, layer, member, this.#options);
    const from = this.#head.bytes.byteLength;
    const size = layer.size - from - this.#tail.bytes.byteLength;
    return firstBytes(this.#target.fetch(layer, { signal: this.#options.signal, from }), size);
  }

  /** The entries of a path, which are its own only where the NAR of the same tree is what its narHash says. */
  async *#tar({ info, tree }: StoreObject): AsyncGenerator<Uint8Array, void, undefined> {
    const nar = new Hasher();
    let size = 0;
    const onNar = (bytes: Uint8Array): void => {
      nar.update(bytes);
      size += bytes.byteLength;
      this.#options.onBytes?.(bytes.byteLength);
      if (size > info.narSize)
        throw new OciError("MISMATCH", `${info.path} is larger than the ${info.narSize} bytes that it should have`);
    };
    yield* memberTar(parseStorePath(info.path), tree(), { signal: this.#options.signal, onNar });
    const narHash = nar.digest();
    if (size !== info.narSize || narHash !== info.narHash)
      throw new OciError(
        "MISMATCH",
        `${info.path} has the hash ${formatNixHash(narHash)}, not ${formatNixHash(info.narHash)}`,
        { hint: "It was damaged or changed. nix-store --verify-path tells, nix-store --repair-path mends." },
      );
  }

  #write(bytes: Bytes): Promise<Descriptor> {
    return this.#target.write(bytes, layerMediaType(this.#options.compression), { signal: this.#options.signal });
  }
}

/** Something that stands in every layer, as tar and compressed. */
interface Piece {
  readonly tar: Uint8Array;
  readonly bytes: Uint8Array;
}

async function compressed(tar: Uint8Array, options: PackOptions): Promise<Piece> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of compress([tar], options.compression, options)) chunks.push(chunk);
  return { tar, bytes: Buffer.concat(chunks) };
}

async function* tapped(bytes: AsyncIterable<Uint8Array>, hasher: Hasher): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of bytes) {
    hasher.update(chunk);
    yield chunk;
  }
}
