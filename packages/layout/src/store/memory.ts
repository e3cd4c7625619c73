import type { Abortable, Bytes, Content, FetchOptions, Presence, PushOptions } from "../content.js";
import { type Descriptor, formatDescriptor } from "../model/descriptor.js";
import { type Digest, digestOf, Hasher } from "../model/digest.js";
import { OciError } from "../model/errors.js";
import { mediaTypes } from "../model/media-types.js";
import { collect, verified } from "../model/verified.js";
import type { BlobUpload, BlobUploads } from "./blob-upload.js";
import { untilAborted } from "./files.js";
import { emptyIndex, type LayoutIndex } from "./index-json.js";
import { type IndexChange, IndexedTarget, type WriteOptions } from "./indexed-target.js";
import { checkArrived } from "./partial-blob.js";

/** A layout in the memory of this process. It keeps what a layout directory keeps, and forgets it with the process. */
export class MemoryStore extends IndexedTarget {
  readonly name: string;
  /** The uploads into it. They are gone with whoever makes them. */
  readonly uploads: BlobUploads = {
    begin: async () => new MemoryUpload((digest, bytes) => this.#blobs.set(digest, bytes)),
    find: async () => undefined,
    expire: async () => {},
  };
  readonly #blobs = new Map<Digest, Uint8Array>();
  #index: LayoutIndex = emptyIndex;
  #lastUpdate: Promise<unknown> = Promise.resolve();

  constructor(name = "memory") {
    super();
    this.name = name;
  }

  async index(): Promise<LayoutIndex> {
    return this.#index;
  }

  update(change: IndexChange, options: Abortable = {}): Promise<LayoutIndex> {
    const result = this.#lastUpdate.then(async () => {
      options.signal?.throwIfAborted();
      this.#index = await change(this.#index);
      return this.#index;
    });
    this.#lastUpdate = result.catch(() => {});
    return result;
  }

  /**
   * Removes a blob while nobody else changes the index, unless it is `needed`, given the index as it stands then. True where it
   * was removed. A caller that decides wrongly loses content.
   */
  discard(digest: Digest, needed: (index: LayoutIndex) => Promise<boolean>): Promise<boolean> {
    const result = this.#lastUpdate.then(async () => !(await needed(this.#index)) && this.#blobs.delete(digest));
    this.#lastUpdate = result.catch(() => {});
    return result;
  }

  async size(digest: Digest): Promise<number | undefined> {
    return this.#blobs.get(digest)?.byteLength;
  }

  async *fetch(descriptor: Descriptor, options: FetchOptions = {}): AsyncIterable<Uint8Array> {
    options.signal?.throwIfAborted();
    const bytes = this.#blobs.get(descriptor.digest);
    if (bytes === undefined) throw new OciError("NOT_FOUND", `${this.name} has no ${formatDescriptor(descriptor)}`);
    const from = options.from ?? 0;
    if (from > 0 && bytes.byteLength === descriptor.size) yield bytes.subarray(from);
    else yield* verified([bytes], descriptor);
  }

  async write(bytes: Bytes, mediaType: string, options: WriteOptions = {}): Promise<Descriptor> {
    const all = await collect(this.#counted(bytes, options), Number.MAX_SAFE_INTEGER);
    const digest = digestOf(all, options.algorithm);
    this.#blobs.set(digest, all);
    return { mediaType, digest, size: all.byteLength };
  }

  protected async store(content: Content, options: PushOptions): Promise<Presence> {
    const { descriptor } = content;
    const bytes = await collect(verified(this.#counted(content.open(), options), descriptor), descriptor.size);
    this.#blobs.set(descriptor.digest, bytes);
    return "written";
  }

  async *#counted(bytes: Bytes, options: PushOptions): AsyncGenerator<Uint8Array> {
    for await (const chunk of untilAborted(bytes, options.signal)) {
      options.onBytes?.(chunk.byteLength);
      // A Buffer's own slice() would share its memory.
      yield new Uint8Array(chunk);
    }
  }
}

class MemoryUpload implements BlobUpload {
  size = 0;
  #chunks: Uint8Array[] = [];
  readonly #place: (digest: Digest, bytes: Uint8Array) => void;

  constructor(place: (digest: Digest, bytes: Uint8Array) => void) {
    this.#place = place;
  }

  async append(bytes: Bytes, { signal }: Abortable = {}): Promise<void> {
    for await (const chunk of untilAborted(bytes, signal)) {
      this.size += chunk.byteLength;
      this.#chunks.push(new Uint8Array(chunk));
    }
  }

  async commit(digest: Digest): Promise<void> {
    const bytes = new Uint8Array(Buffer.concat(this.#chunks, this.size));
    await this.remove();
    const hasher = Hasher.for(digest);
    hasher.update(bytes);
    checkArrived({ mediaType: mediaTypes.octetStream, digest, size: this.size }, this.size, hasher.digest());
    this.#place(digest, bytes);
  }

  async remove(): Promise<void> {
    this.#chunks = [];
  }

  leave(): Promise<void> {
    return this.remove();
  }
}
