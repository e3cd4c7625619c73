import { type Abortable, isOciError, isTag, type Source } from "@stowage/layout";
import { printNarInfo } from "../formats/narinfo.js";
import { nixHashText } from "../formats/nix-hash.js";
import { baseNameOf, type PathInfo } from "../formats/path-info.js";
import { type NixKey, signPath } from "../formats/signature.js";
import { isHashPart, parseStorePath } from "../formats/store-path.js";
import { openNar, type StoredPath } from "../layer/stored-path.js";
import { readStoredClosure, type StoredClosure } from "./stored-closure.js";

/** The options of {@link BinaryCache}. */
export interface BinaryCacheOptions {
  /** Sign each path with these keys as well, where they have not signed it. */
  readonly secretKeys?: readonly NixKey[] | undefined;
}

/** A file of a binary cache that is made when it is asked for. */
export interface CacheFile {
  readonly mediaType: string;
  /** Bytes. */
  readonly size: number;
  open(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** Paths that were found by their tags are remembered, so many of them. */
const MAXIMUM_REMEMBERED = 100_000;
/** Less than what Nix has for its own cache, 40, comes first; a cache on this machine is quick. */
const PRIORITY = 30;

/**
 * A binary cache of Nix over layers: what a narinfo says stands in the annotations, and a NAR is made from the tar of a layer.
 * No NAR is stored. A path that is in none of the given closures is looked for by the tag that is its hash.
 */
export class BinaryCache {
  readonly storeDirectory: string;
  readonly #source: Source;
  readonly #options: BinaryCacheOptions;
  readonly #paths: Map<string, StoredPath>;

  constructor(source: Source, { storeDirectory, paths }: StoredClosure, options: BinaryCacheOptions = {}) {
    this.storeDirectory = storeDirectory;
    this.#source = source;
    this.#options = options;
    this.#paths = new Map([...paths].map(([path, stored]) => [hashOf(path), stored]));
  }

  /** The paths that are known without looking for one. */
  paths(): readonly StoredPath[] {
    return [...this.#paths.values()];
  }

  /** The file at a path such as `/nix-cache-info`, `/HASH.narinfo`, `/nar/HASH-NARHASH.nar`; undefined where there is none. */
  async file(path: string, options: Abortable = {}): Promise<CacheFile | undefined> {
    if (path === "/nix-cache-info") return textFile(this.info(), "text/x-nix-cache-info");
    const hash = /^\/([0-9a-z]{32})\.narinfo$/.exec(path)?.[1];
    if (hash !== undefined) {
      const stored = await this.#find(hash, options);
      return stored === undefined ? undefined : textFile(this.narInfo(stored), "text/x-nix-narinfo");
    }
    const [, inNar, narHash] = /^\/nar\/([0-9a-z]{32})-([0-9a-z]{52})\.nar$/.exec(path) ?? [];
    const stored = inNar === undefined ? undefined : await this.#find(inNar, options);
    if (stored === undefined || nixHashText(stored.info.narHash) !== narHash) return undefined;
    return {
      mediaType: "application/x-nix-nar",
      size: stored.info.narSize,
      open: () => openNar(this.#source, stored, options),
    };
  }

  /** What `nix-cache-info` says. */
  info(): string {
    return `StoreDir: ${this.storeDirectory}\nWantMassQuery: 1\nPriority: ${PRIORITY}\n`;
  }

  /** The narinfo of a path, with the signatures it had. */
  narInfo({ info }: StoredPath): string {
    return printNarInfo({
      ...info,
      signatures: this.#signatures(info),
      url: narUrl(info),
      compression: "none",
      fileHash: info.narHash,
      fileSize: info.narSize,
    });
  }

  #signatures(info: PathInfo): readonly string[] {
    const missing = (this.#options.secretKeys ?? []).filter(
      ({ name }) => !info.signatures.some((signature) => signature.startsWith(`${name}:`)),
    );
    return [...info.signatures, ...missing.map((key) => signPath(info, key))];
  }

  async #find(hash: string, options: Abortable): Promise<StoredPath | undefined> {
    const known = this.#paths.get(hash);
    if (known !== undefined || !isHashPart(hash) || !isTag(hash)) return known;
    try {
      const { paths } = await readStoredClosure(this.#source, await this.#source.resolve(hash, options), options);
      const found = [...paths.values()].find(({ info }) => hashOf(info.path) === hash);
      if (found === undefined || !found.info.path.startsWith(`${this.storeDirectory}/`)) return undefined;
      if (this.#paths.size < MAXIMUM_REMEMBERED) this.#paths.set(hash, found);
      return found;
    } catch (error) {
      // Something else has that tag.
      if (isOciError(error, "NOT_FOUND") || isOciError(error, "INVALID")) return undefined;
      throw error;
    }
  }
}

/** Where the NAR of a path is in the cache. The hash of the path tells the layer, also after a restart. */
export function narUrl({ path, narHash }: PathInfo): string {
  return `nar/${hashOf(path)}-${nixHashText(narHash)}.nar`;
}

function hashOf(path: string): string {
  parseStorePath(path);
  return baseNameOf(path).slice(0, 32);
}

function textFile(text: string, mediaType: string): CacheFile {
  const bytes = Buffer.from(text);
  return { mediaType, size: bytes.byteLength, open: () => [bytes] };
}
