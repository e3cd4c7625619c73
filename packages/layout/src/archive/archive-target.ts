import type { Abortable, Bytes, Content, FetchOptions, Presence, PushOptions } from "../content.js";
import { DELTA_FILE, type Delta, deltaOf, encodeDelta } from "../delta/delta.js";
import type { ReceiptRoot } from "../delta/receipt.js";
import type { SizedDigest } from "../delta/sized-digest.js";
import { type Descriptor, formatDescriptor } from "../model/descriptor.js";
import type { Digest } from "../model/digest.js";
import { digestOf } from "../model/digest.js";
import { OciError } from "../model/errors.js";
import { childrenOf, encodeJson, type Manifest, parseManifest } from "../model/manifest.js";
import { isManifestType } from "../model/media-types.js";
import { collect, verified } from "../model/verified.js";
import { PartsFile } from "../parts/parts-file.js";
import { compareText, emptyIndex, type LayoutIndex } from "../store/index-json.js";
import { type IndexChange, IndexedTarget, type WriteOptions } from "../store/indexed-target.js";
import { blobPath, dockerManifest } from "./docker-manifest.js";
import { TarFile } from "./tar-writer.js";

/** The options of {@link ArchiveTarget.create}. */
export interface ArchiveOptions {
  /** Add the `manifest.json` that `docker load` reads. Then every named image has to be for a single platform. Default: false. */
  readonly docker?: boolean;
}

/**
 * An OCI layout written as a tar file. Blobs go into it as they come; manifests, the index and what Docker wants follow at
 * `close`, which gives the file its name. Until then there is nothing under that name, or what was there before. The same
 * content copied in makes the same bytes.
 */
export class ArchiveTarget extends IndexedTarget {
  readonly name: string;
  /** A tar has one end to write at. */
  readonly concurrency = 1;
  readonly #tar: TarFile | PartsFile;
  readonly #docker: boolean;
  readonly #written = new Map<Digest, number>();
  readonly #manifests = new Map<Digest, Uint8Array>();
  /** What was pushed, as against the lists of referrers that are made here. */
  readonly #pushed = new Map<Digest, Descriptor>();
  #index: LayoutIndex = emptyIndex;
  #delta: Delta | undefined;
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(path: string, tar: TarFile | PartsFile, docker: boolean) {
    super();
    this.name = `${docker ? "docker-archive" : "oci-archive"}:${path}`;
    this.#tar = tar;
    this.#docker = docker;
  }

  /** Starts an archive at `path`; `-` is stdout. Fails with `NOT_FOUND` or `DENIED` where its directory cannot be written to. */
  static async create(path: string, options: ArchiveOptions = {}): Promise<ArchiveTarget> {
    return ArchiveTarget.over(path, await TarFile.create(path), options);
  }

  static async over(path: string, writer: TarFile | PartsFile, options: ArchiveOptions = {}): Promise<ArchiveTarget> {
    const target = new ArchiveTarget(path, writer, options.docker === true);
    await target.#tar.add("oci-layout", encodeJson({ imageLayoutVersion: "1.0.0" }));
    return target;
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

  async size(digest: Digest): Promise<number | undefined> {
    return this.#manifests.get(digest)?.byteLength ?? this.#written.get(digest);
  }

  /** Gives back manifests and indexes. A blob that has gone into the tar cannot be had from it before it is closed: `UNSUPPORTED`. */
  async *fetch(descriptor: Descriptor, options: FetchOptions = {}): AsyncIterable<Uint8Array> {
    options.signal?.throwIfAborted();
    const bytes = this.#manifests.get(descriptor.digest);
    if (bytes !== undefined) yield* verified([bytes.subarray(options.from ?? 0)], descriptor);
    else if (this.#written.has(descriptor.digest))
      throw new OciError("UNSUPPORTED", `cannot read ${descriptor.digest} from ${this.name} while it is being written`);
    else throw new OciError("NOT_FOUND", `${this.name} has no ${formatDescriptor(descriptor)}`);
  }

  async write(bytes: Bytes, mediaType: string, options: WriteOptions = {}): Promise<Descriptor> {
    // A tar needs the size before the content, so content of unknown size is gathered first.
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
      if (this.#tar instanceof PartsFile) {
        this.#tar.addLater(content);
        options.onBytes?.(descriptor.size);
        this.#written.set(descriptor.digest, descriptor.size);
        return;
      }
      try {
        // Content that is missing, or small and damaged, fails before anything of it is in the tar.
        const begun = await startOf(bytes);
        await this.#tar.addStream(blobPath(descriptor.digest), descriptor.size, begun);
      } finally {
        await bytes.return();
      }
      this.#written.set(descriptor.digest, descriptor.size);
    });
    return "written";
  }

  /** Completes the file and gives it its name. Where it fails, the file that was there before is still there. */
  async close(): Promise<void> {
    try {
      await this.#queue;
      // Lists of referrers are made anew for each referrer; only the ones in use go into the file.
      for (const [digest, bytes] of this.#needed()) await this.#tar.add(blobPath(digest), bytes);
      if (this.delta !== undefined) await this.#tar.add(DELTA_FILE, encodeDelta(this.delta));
      await this.#tar.add("index.json", encodeJson(this.#index));
      if (this.#docker)
        await this.#tar.add("manifest.json", encodeJson(dockerManifest(this.#index, (entry) => this.#parse(entry))));
      await this.#tar.finish();
    } catch (error) {
      await this.#tar.discard();
      throw error;
    }
  }

  /** Gives the archive up: nothing of it stays. */
  async discard(): Promise<void> {
    await this.#queue.catch(() => {});
    await this.#tar.discard();
  }

  #needed(): (readonly [Digest, Uint8Array])[] {
    const found = new Map<Digest, Uint8Array>();
    const pending = [...this.#index.manifests, ...this.#pushed.values()];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const bytes = this.#manifests.get(next.digest);
      if (bytes === undefined || found.has(next.digest)) continue;
      found.set(next.digest, bytes);
      pending.push(...childrenOf(this.#parse(next)));
    }
    return [...found].sort(([a], [b]) => compareText(a, b));
  }

  #parse(descriptor: Descriptor): Manifest {
    return parseManifest(this.#manifests.get(descriptor.digest) as Uint8Array, descriptor.mediaType, descriptor.digest);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    this.#queue = result.catch(() => {});
    return result;
  }
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
