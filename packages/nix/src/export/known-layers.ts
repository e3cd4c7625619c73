import { parseConfig } from "@stowage/image";
import {
  type Abortable,
  type Descriptor,
  type Digest,
  IndexedSource,
  isManifestType,
  isOciError,
  type Manifest,
  readBytes,
  readManifest,
  type Source,
} from "@stowage/layout";
import type { PathInfo } from "../formats/path-info.js";
import { annotatedPaths, type LayerMember, nixKeys } from "../layer/annotations.js";

/** Where the compressed entries of a store path are to be had: some bytes of a blob. */
export interface KnownMember {
  readonly layer: Descriptor;
  /** Absent where the layer is this path alone. */
  readonly member?: LayerMember;
}

/** A config is read whole. */
const MAXIMUM_CONFIG = 8 * 1024 * 1024;

/**
 * What a layout has from exports before: the layers that hold store paths, compressed in the same way. A store path with the same NAR need not be
 * compressed, nor read, again.
 */
export class KnownLayers {
  readonly #compression: string;
  /** By the paths and hashes that are in a layer. */
  readonly #layers = new Map<string, Descriptor>();
  readonly #members = new Map<string, KnownMember>();
  readonly #diffIds = new Map<Digest, Digest>();

  constructor(compression: string) {
    this.#compression = compression;
  }

  /** Looks through the manifests of a layout. What cannot be read is passed over. */
  static async read(source: Source, compression: string, options: Abortable): Promise<KnownLayers> {
    const known = new KnownLayers(compression);
    if (!(source instanceof IndexedSource)) return known;
    const pending = [...(await source.index(options)).manifests];
    const seen = new Set<Digest>();
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      options.signal?.throwIfAborted();
      if (seen.has(next.digest) || !isManifestType(next.mediaType)) continue;
      seen.add(next.digest);
      try {
        const { manifest } = await readManifest(source, next, options);
        if (manifest.kind === "index") pending.push(...manifest.manifests);
        else await known.#take(source, manifest, options);
      } catch (error) {
        if (!isOciError(error) || error.code === "REGISTRY") throw error;
      }
    }
    return known;
  }

  async #take(source: Source, manifest: Manifest, options: Abortable): Promise<void> {
    if (manifest.kind !== "image" || manifest.annotations?.[nixKeys.compression] !== this.#compression) return;
    for (const layer of manifest.layers) {
      const paths = annotatedPaths(layer.annotations, layer.digest);
      if (paths.length === 0) continue;
      this.#layers.set(keyOf(paths.map(({ info }) => info)), layer);
      for (const { info, member } of paths) {
        // A layer of its own is read from with less effort.
        if (member === undefined) this.addAlone(info, layer);
        else if (!this.#members.has(keyOf([info]))) this.#members.set(keyOf([info]), { layer, member });
      }
    }
    if (manifest.artifactType !== undefined) return;
    const config = parseConfig(await readBytes(source, manifest.config, { ...options, limit: MAXIMUM_CONFIG }), "it");
    for (const [at, { digest }] of manifest.layers.entries()) {
      const diffId = config.rootfs.diff_ids[at];
      if (diffId !== undefined) this.#diffIds.set(digest, diffId);
    }
  }

  /** Remembers a layer that is one store path alone. */
  addAlone(info: PathInfo, layer: Descriptor, diffId?: Digest): void {
    this.#layers.set(keyOf([info]), layer);
    this.#members.set(keyOf([info]), { layer });
    if (diffId !== undefined) this.#diffIds.set(layer.digest, diffId);
  }

  /** The layer that has exactly these paths, in this order. */
  layer(infos: readonly PathInfo[]): Descriptor | undefined {
    return this.#layers.get(keyOf(infos));
  }

  /** Where the entries of a path are. */
  member(info: PathInfo): KnownMember | undefined {
    return this.#members.get(keyOf([info]));
  }

  diffId(layer: Digest): Digest | undefined {
    return this.#diffIds.get(layer);
  }
}

function keyOf(infos: readonly PathInfo[]): string {
  return infos.map(({ path, narHash }) => `${path} ${narHash}`).join("\n");
}
