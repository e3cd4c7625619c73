import { type Descriptor, encodeTarName, Hasher, isOciError, OciError, type TarReadHeader } from "@stowage/layout";
import { NarEncoder } from "../formats/nar-writer.js";
import { formatNixHash } from "../formats/nix-hash.js";
import { baseNameOf, type PathInfo } from "../formats/path-info.js";
import { findSigner, type NixKey } from "../formats/signature.js";
import { parseStorePath } from "../formats/store-path.js";
import { readable } from "../formats/tree-entry.js";
import { annotatedPaths } from "./annotations.js";
import { checkAttributes, treeEntry } from "./read-store-tar.js";
import { ancestorsOf } from "./store-tar.js";

/** A layer that is checked, and where what is wrong with it goes. */
export interface CheckedLayer {
  readonly descriptor: Descriptor;
  /** The image around it. */
  readonly image: { readonly layers: readonly Descriptor[] };
  /** Says that something breaks a rule; `entry` is an absolute path. */
  report(problem: string, entry?: string): void;
}

/** The options of {@link storePathProfile}. */
export interface StorePathProfileOptions {
  /** Every path has to be signed by one of these keys. Default: none has to be signed. */
  readonly trustedKeys?: readonly NixKey[] | undefined;
}

/**
 * The rules for layers of Nix store paths, beside those for all disjoint layers: every entry has the mode, owner and time that a store
 * gives it; the NAR of each path has the hash and the size that the layer says; what a path refers to is in the image; and
 * where keys are given, one of them has signed it. They apply to layers that say they are store paths.
 */
export function storePathProfile(options: StorePathProfileOptions = {}): {
  check(layer: CheckedLayer): StorePathCheck | undefined;
} {
  return {
    check(layer) {
      try {
        const infos = annotatedPaths(layer.descriptor.annotations, "it").map(({ info }) => info);
        return infos.length === 0 ? undefined : new StorePathCheck(layer, infos, options);
      } catch (error) {
        if (!isOciError(error)) throw error;
        layer.report(error.message);
        return undefined;
      }
    },
  };
}

/** A path whose entries are going by. */
interface OpenPath {
  readonly info: PathInfo;
  readonly nar: NarEncoder;
  readonly hasher: Hasher;
  size: number;
}

/** Holds the entries of one layer, in order, against what it says of its store paths. */
export class StorePathCheck {
  readonly #layer: CheckedLayer;
  readonly #infos: ReadonlyMap<string, PathInfo>;
  readonly #ancestors: ReadonlySet<string>;
  readonly #left: Set<string>;
  #open: OpenPath | undefined;

  constructor(layer: CheckedLayer, infos: readonly PathInfo[], { trustedKeys = [] }: StorePathProfileOptions) {
    this.#layer = layer;
    this.#infos = new Map(infos.map((info) => [info.path.slice(1), info]));
    this.#left = new Set(this.#infos.keys());
    this.#ancestors = new Set(infos.flatMap(({ path }) => ancestorsOf(parseStorePath(path).storeDirectory)));
    const present = namesIn(layer.image.layers);
    for (const info of infos) {
      const missing = info.references.filter((base) => !present.has(base));
      if (missing.length > 0) layer.report(`refers to ${missing[0]}, which no layer has`, info.path);
      if (trustedKeys.length > 0 && findSigner(info, trustedKeys) === undefined)
        layer.report("has no signature by a trusted key", info.path);
    }
  }

  entry(header: TarReadHeader): void {
    const raw = Buffer.from(encodeTarName(header.name)).toString("latin1");
    const name = header.type === "directory" ? raw.replace(/\/$/, "") : raw;
    try {
      checkAttributes(header, name, "the layer");
      if (this.#ancestors.has(name)) return;
      const root = [...this.#roots(name)].find((path) => this.#infos.has(path));
      if (root === undefined)
        throw new OciError("INVALID", `the layer has ${readable(name)}, which is in none of its store paths`);
      if (this.#open?.info !== this.#infos.get(root)) this.#begin(root);
      const entry = treeEntry(header, name.slice(root.length + 1), nothing(), "the layer");
      if (this.#open !== undefined) this.#update(this.#open.nar.begin(entry));
    } catch (error) {
      if (!isOciError(error)) throw error;
      this.#layer.report(error.message, `/${header.name}`);
      this.#open = undefined;
    }
  }

  data(chunk: Uint8Array): void {
    this.#update(chunk);
  }

  end(): void {
    this.#finish();
    for (const path of this.#left)
      this.#layer.report("is a store path that the layer says it has, and has not", `/${path}`);
  }

  /** What a name can be in, the shortest first. */
  *#roots(name: string): Generator<string> {
    for (let at = name.indexOf("/"); at >= 0; at = name.indexOf("/", at + 1)) yield name.slice(0, at);
    yield name;
  }

  #begin(root: string): void {
    this.#finish();
    // One that is in two pieces is not left any more, and its NAR has another hash than it should.
    this.#left.delete(root);
    const info = this.#infos.get(root) as PathInfo;
    this.#open = { info, nar: new NarEncoder(info.path), hasher: new Hasher(), size: 0 };
  }

  #update(bytes: Uint8Array): void {
    if (this.#open === undefined) return;
    this.#open.hasher.update(bytes);
    this.#open.size += bytes.byteLength;
  }

  #finish(): void {
    const open = this.#open;
    if (open === undefined) return;
    this.#update(open.nar.end());
    this.#open = undefined;
    const { narHash, narSize, path } = open.info;
    const found = open.hasher.digest();
    if (found !== narHash)
      this.#layer.report(`has the hash ${formatNixHash(found)}, not ${formatNixHash(narHash)}`, path);
    else if (open.size !== narSize) this.#layer.report(`has a NAR of ${open.size} bytes, not ${narSize}`, path);
  }
}

/** The base names of all store paths in an image. */
function namesIn(layers: readonly Descriptor[]): ReadonlySet<string> {
  const names = new Set<string>();
  for (const { annotations } of layers) {
    try {
      for (const { info } of annotatedPaths(annotations, "it")) names.add(baseNameOf(info.path));
    } catch (error) {
      // Said of the layer itself.
      if (!isOciError(error)) throw error;
    }
  }
  return names;
}

async function* nothing(): AsyncGenerator<Uint8Array, void, undefined> {}
