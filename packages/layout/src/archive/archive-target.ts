import type { Abortable, Bytes, Content, FetchOptions, Presence, PushOptions } from "../content.js";
import { DELTA_FILE, type Delta, deltaOf, encodeDelta } from "../delta/delta.js";
import { type Receipt, type ReceiptRoot, receiptOf } from "../delta/receipt.js";
import type { SizedDigest } from "../delta/sized-digest.js";
import { type Descriptor, formatDescriptor } from "../model/descriptor.js";
import { type Digest, digestEncoded, digestOf } from "../model/digest.js";
import { OciError } from "../model/errors.js";
import { childrenOf, encodeJson, type Manifest, parseManifest } from "../model/manifest.js";
import { isImageConfigType, isManifestType } from "../model/media-types.js";
import { collect, verified } from "../model/verified.js";
import { compareText, emptyIndex, type LayoutIndex } from "../store/index-json.js";
import { type IndexChange, IndexedTarget, type WriteOptions } from "../store/indexed-target.js";
import { type ArchiveNames, withNames } from "./archive-names.js";
import type { ArchiveWriter, Compressor } from "./archive-writer.js";
import { blobPath, dockerManifest, type LoadedImage } from "./docker-manifest.js";
import { hideFromLoaders } from "./hidden-entries.js";

/**
 * What an archive holds.
 *
 * - `oci`: an OCI layout.
 * - `hybrid`: an OCI layout, with the `manifest.json` beside it that `docker load` and others read.
 * - `docker`: only that `manifest.json`, with configs and layers, as `docker save` wrote it before version 25. The digests of
 *   manifests are lost.
 */
export type ArchiveFormat = "oci" | "docker" | "hybrid";

/** The options of {@link ArchiveTarget.create}. */
export interface ArchiveOptions {
  /** Default: `oci`. */
  readonly format?: ArchiveFormat | undefined;
  /** How entries are named. Default: as they were tagged. */
  readonly names?: ArchiveNames | undefined;
  /**
   * For `manifest.json`: of an index of several platforms take linux/amd64, or the first image where there is none, and leave
   * out what is no image. Default: false; then every named entry has to be an image for a single platform.
   */
  readonly choosePlatform?: boolean | undefined;
  /** Default: `tar`. In a `zip` files are stored as they are. */
  readonly container?: "tar" | "zip" | undefined;
  /** Compresses a tar as a whole. Default: it is not compressed. */
  readonly compress?: Compressor | undefined;
}

/**
 * An archive that is written. Blobs go into it as they come; manifests, the index and what Docker wants follow at `close`,
 * which gives the file its name. Until then there is nothing under that name, or what was there before. The same content
 * copied in makes the same bytes.
 */
export class ArchiveTarget extends IndexedTarget {
  readonly name: string;
  /** An archive has one end to write at. */
  readonly concurrency = 1;
  readonly #writer: ArchiveWriter;
  readonly #options: ArchiveOptions;
  readonly #format: ArchiveFormat;
  readonly #written = new Map<Digest, { readonly size: number; readonly path: string }>();
  readonly #manifests = new Map<Digest, Uint8Array>();
  /** What was pushed, as against the lists of referrers that are made here. */
  readonly #pushed = new Map<Digest, Descriptor>();
  readonly #leftOut = new Set<Digest>();
  #index: LayoutIndex = emptyIndex;
  #delta: Delta | undefined;
  #loaded: readonly LoadedImage[] = [];
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(path: string, writer: ArchiveWriter, options: ArchiveOptions) {
    super();
    this.#format = options.format ?? "oci";
    this.name = `${this.#format === "oci" ? "oci-archive" : "docker-archive"}:${path}`;
    this.#writer = writer;
    this.#options = options;
  }

  /** Starts an archive at `path`; `-` is stdout. Fails with `NOT_FOUND` or `DENIED` where its directory cannot be written to. */
  static async create(path: string, options: ArchiveOptions = {}): Promise<ArchiveTarget> {
    const writer =
      options.container === "zip"
        ? await (await import("./zip-writer.js")).ZipFile.create(path)
        : await (await import("./tar-writer.js")).TarFile.create(path, options.compress);
    return ArchiveTarget.over(path, writer, options);
  }

  /** Starts an archive whose files go to `writer`; `path` is what it is called in messages. */
  static async over(path: string, writer: ArchiveWriter, options: ArchiveOptions = {}): Promise<ArchiveTarget> {
    const target = new ArchiveTarget(path, writer, options);
    if (target.#format !== "docker") await writer.add("oci-layout", encodeJson({ imageLayoutVersion: "1.0.0" }));
    return target;
  }

  /** What `docker load` takes from it, in the order of the index. Empty before it is closed, and where it has no `manifest.json`. */
  get loaded(): readonly LoadedImage[] {
    return this.#loaded;
  }

  /**
   * What whoever takes the archive in has then, to be asked for before it is closed. Of an archive for Docker these are blobs
   * only.
   */
  async receipt(): Promise<Receipt> {
    const receipt = await receiptOf(this);
    if (this.#format !== "docker") return receipt;
    return { ...receipt, content: receipt.content.filter(({ digest }) => this.#written.has(digest)) };
  }

  async index(): Promise<LayoutIndex> {
    return this.#index;
  }

  update(change: IndexChange, options: Abortable = {}): Promise<LayoutIndex> {
    return this.#inTurn(async () => {
      options.signal?.throwIfAborted();
      this.#index = await change(this.#index);
      return this.#index;
    });
  }

  override leaveOut(descriptors: readonly Descriptor[]): void {
    for (const { digest } of descriptors) this.#leftOut.add(digest);
  }

  async size(digest: Digest): Promise<number | undefined> {
    return this.#manifests.get(digest)?.byteLength ?? this.#written.get(digest)?.size;
  }

  /** Gives back manifests and indexes. A blob that has gone into the archive cannot be had from it before it is closed: `UNSUPPORTED`. */
  async *fetch(descriptor: Descriptor, options: FetchOptions = {}): AsyncIterable<Uint8Array> {
    options.signal?.throwIfAborted();
    const bytes = this.#manifests.get(descriptor.digest);
    if (bytes !== undefined) yield* verified([bytes.subarray(options.from ?? 0)], descriptor);
    else if (this.#written.has(descriptor.digest))
      throw new OciError("UNSUPPORTED", `cannot read ${descriptor.digest} from ${this.name} while it is being written`);
    else throw new OciError("NOT_FOUND", `${this.name} has no ${formatDescriptor(descriptor)}`);
  }

  async write(bytes: Bytes, mediaType: string, options: WriteOptions = {}): Promise<Descriptor> {
    // An archive needs the size before the content, so content of unknown size is gathered first.
    const all = await collect(bytes, Number.MAX_SAFE_INTEGER);
    const descriptor = { mediaType, digest: digestOf(all, options.algorithm), size: all.byteLength };
    if (!(await this.has(descriptor, options))) await this.store({ descriptor, open: () => [all] }, options);
    return descriptor;
  }

  override async push(content: Content, options: PushOptions = {}): Promise<Presence> {
    const presence = await super.push(content, options);
    const { descriptor } = content;
    if (isManifestType(descriptor.mediaType)) this.#pushed.set(descriptor.digest, descriptor);
    return presence;
  }

  /** Notes what the archive leaves to a base. It is then a delta, which is taken in only where the base is. */
  async leave(since: readonly ReceiptRoot[], blobs: readonly SizedDigest[]): Promise<void> {
    this.#delta = deltaOf([...since, ...(this.#delta?.since ?? [])], [...blobs, ...this.needs]);
  }

  override get delta(): Delta | undefined {
    if (this.#delta === undefined) return undefined;
    // What one image left out, another one may have brought.
    return deltaOf(
      this.#delta.since,
      this.#delta.needs.filter(({ digest }) => !this.#written.has(digest)),
    );
  }

  protected async store(content: Content, options: PushOptions): Promise<Presence> {
    const { descriptor } = content;
    const bytes = verified(counted(content.open(), options), descriptor);
    if (isManifestType(descriptor.mediaType)) {
      this.#manifests.set(descriptor.digest, await collect(bytes, descriptor.size));
      return "written";
    }
    await this.#inTurn(async () => {
      if (this.#written.has(descriptor.digest)) return;
      const path = this.#format === "docker" ? dockerPath(descriptor) : blobPath(descriptor.digest);
      if (this.#writer.addLater !== undefined) {
        this.#writer.addLater(path, content);
        options.onBytes?.(descriptor.size);
        this.#written.set(descriptor.digest, { size: descriptor.size, path });
        return;
      }
      try {
        // Content that is missing, or small and damaged, fails before anything of it is in the archive.
        const begun = await startOf(bytes);
        await this.#writer.addStream(path, descriptor.size, begun);
      } finally {
        await bytes.return();
      }
      this.#written.set(descriptor.digest, { size: descriptor.size, path });
    });
    return "written";
  }

  /**
   * Completes the file and gives it its name. Fails with `INVALID` where it would point at what it does not have and what
   * was not left out on purpose; then, as where anything else fails, the file that was there before is still there.
   */
  async close(): Promise<void> {
    try {
      await this.#queue;
      const needed = this.#needed();
      const { shown, hidden } =
        this.#format === "oci" ? { shown: this.#index, hidden: undefined } : hideFromLoaders(this.#index, this.#read);
      const docker = this.#format === "oci" ? undefined : this.#dockerManifest(shown);
      if (this.#format !== "docker") {
        if (hidden !== undefined) needed.push([hidden.descriptor.digest, hidden.bytes]);
        needed.sort(([a], [b]) => compareText(a, b));
        for (const [digest, bytes] of needed) await this.#writer.add(blobPath(digest), bytes);
        if (this.delta !== undefined) await this.#writer.add(DELTA_FILE, encodeDelta(this.delta));
        const { names } = this.#options;
        await this.#writer.add("index.json", encodeJson(names === undefined ? shown : withNames(shown, names)));
      }
      if (docker !== undefined) await this.#writer.add("manifest.json", encodeJson(docker));
      await this.#writer.finish();
    } catch (error) {
      await this.#writer.discard();
      throw error;
    }
  }

  /** Gives the archive up: nothing of it stays. */
  async discard(): Promise<void> {
    await this.#queue.catch(() => {});
    await this.#writer.discard();
  }

  /** Undefined where there is nothing in it and there need not be. */
  #dockerManifest(shown: LayoutIndex): unknown {
    const { items, loaded } = dockerManifest(shown, {
      read: this.#read,
      path: (digest) => this.#written.get(digest)?.path ?? missing(this.name, digest, "manifest.json"),
      choose: this.#options.choosePlatform === true,
      familiar: this.#options.names === "docker",
    });
    this.#loaded = loaded;
    if (items.length === 0 && this.#format === "hybrid" && this.#options.choosePlatform === true) return undefined;
    return items;
  }

  /** The manifests that go into the file: lists of referrers are made anew for each referrer, and only those in use count. */
  #needed(): [Digest, Uint8Array][] {
    const found = new Map<Digest, Uint8Array>();
    const pending = [...this.#index.manifests, ...this.#pushed.values()];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const { digest } = next;
      const bytes = this.#manifests.get(digest);
      if (bytes === undefined && !this.#written.has(digest) && !this.#leftOut.has(digest))
        missing(this.name, digest, "the index or a manifest in it");
      if (bytes === undefined || found.has(digest)) continue;
      found.set(digest, bytes);
      pending.push(...childrenOf(this.#parse(bytes, next)));
    }
    return [...found];
  }

  readonly #read = (descriptor: Descriptor): Manifest | undefined => {
    const bytes = this.#manifests.get(descriptor.digest);
    return bytes === undefined ? undefined : this.#parse(bytes, descriptor);
  };

  #parse(bytes: Uint8Array, { mediaType, digest }: Descriptor): Manifest {
    return parseManifest(bytes, mediaType, digest);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    this.#queue = result.catch(() => {});
    return result;
  }
}

function missing(archive: string, digest: Digest, where: string): never {
  throw new OciError("INVALID", `${archive} is not complete: ${where} points at ${digest}, which it does not have`);
}

/** What `docker save` called such a file: a config `.json`, a layer `.tar`, with what it is compressed with. */
function dockerPath({ mediaType, digest }: Descriptor): string {
  const name = digestEncoded(digest);
  if (isImageConfigType(mediaType)) return `${name}.json`;
  if (/[.+]gzip$/.test(mediaType)) return `${name}.tar.gz`;
  return /[.+]zstd$/.test(mediaType) ? `${name}.tar.zst` : `${name}.tar`;
}

/** The same stream, whose first chunk has arrived. */
async function startOf(bytes: AsyncGenerator<Uint8Array, void, undefined>): Promise<Bytes> {
  const first = await bytes.next();
  return (async function* () {
    if (first.done === true) return;
    yield first.value;
    yield* bytes;
  })();
}

async function* counted(bytes: Bytes, options: PushOptions): AsyncGenerator<Uint8Array> {
  for await (const chunk of bytes) {
    options.signal?.throwIfAborted();
    options.onBytes?.(chunk.byteLength);
    yield chunk;
  }
}
