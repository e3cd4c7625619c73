import { lstat, realpath } from "node:fs/promises";
import type { Abortable, Bytes, Content, FetchOptions, Presence, PushOptions, Source } from "../content.js";
import { type Delta, deltaOf } from "../delta/delta.js";
import { readDeltaFile, writeDeltaFile } from "../delta/delta-file.js";
import type { ReceiptRoot } from "../delta/receipt.js";
import type { SizedDigest } from "../delta/sized-digest.js";
import type { Descriptor } from "../model/descriptor.js";
import { type Digest, isVerifiable } from "../model/digest.js";
import { isOciError, OciError, systemError } from "../model/errors.js";
import { parseJson } from "../model/json.js";
import { AllowedRoots } from "./allowed-roots.js";
import { type BlobUploads, FileUploads } from "./blob-upload.js";
import { BlobDirectory, REFRESH_AFTER } from "./blobs.js";
import type { Cloned } from "./clone.js";
import { CompressedLayers } from "./compressed-layers.js";
import { DirectoryIndex } from "./directory-index.js";
import { fileStampAtOnce } from "./file-stamp.js";
import { CHUNK_SIZE, makeDirectory, readSmallFile } from "./files.js";
import { WORTH_A_THREAD } from "./hash-threads.js";
import type { UpdateOptions } from "./index-file.js";
import { type LayoutIndex, MAXIMUM_INDEX_SIZE } from "./index-json.js";
import type { CheckOptions } from "./indexed-source.js";
import { type IndexChange, IndexedTarget, type WriteOptions } from "./indexed-target.js";
import { initialize } from "./initialize.js";
import { checkLayoutFile } from "./layout-version.js";
import { type Oddity, oddFiles, oddities } from "./oddities.js";
import { checkOwnDirectories, namesOfFiles } from "./own-directories.js";
import { SHARED, type SharedBlobs, sharedBlobs } from "./shared-blobs.js";
import { removeBlob, restoreTaken, type SweepOptions, type SweepReport, sweep } from "./sweep.js";
import type { OpenBlob } from "./verified-blobs.js";

/** The options of {@link Layout.open} and {@link Layout.create}. */
export interface LayoutOptions {
  /** How long a change of index.json waits for another process that is changing it, in ms. Default: ten minutes. */
  readonly lockTimeout?: number;
  /**
   * A directory of blobs that is shared with other layouts, `ALGORITHM/ENCODED` as below `blobs` of a layout. Content that
   * it has is verified and linked from there, as a reflink, or else a hard link, or else a copy; content that is new goes
   * there too. Made where it is not there. Default: none.
   */
  readonly blobs?: string;
  /**
   * Content that comes from another layout on the same file system may become a hard link to its blob, where the file
   * system has no reflinks. Neither is ever written in place by this program; another one that does so damages both.
   * Default: false; then it is copied.
   */
  readonly hardlink?: boolean;
  /** Directories that a blob which is a symbolic link may lead into, as `/nix/store`. Default: none; such a blob is refused with `DENIED`. */
  readonly allowRoots?: readonly string[];
}

/**
 * An OCI image layout in a directory. image-spec v1.1.1, image-layout.md.
 *
 * Any number of processes may read and write it at once: `index.json` is replaced whole under a lock, a blob appears
 * under its digest only when it is complete. A process that is killed loses at most the change it was making.
 */
export class Layout extends IndexedTarget {
  readonly path: string;
  readonly name: string;
  /** The uploads into it. They outlive the process. */
  readonly uploads: BlobUploads;
  /** The layers that were made here by compressing a tar. */
  readonly compressedLayers: CompressedLayers;
  readonly #directory: string;
  readonly #blobs: BlobDirectory;
  readonly #index: DirectoryIndex;
  readonly #lockTimeout: number | undefined;
  readonly #shared: SharedBlobs | undefined;
  /** How content is taken from other layouts, before it is read from there. */
  readonly #fromLayouts: readonly Cloned[];
  #delta: Delta | undefined;

  private constructor(path: string, directory: string, options: LayoutOptions) {
    super();
    this.path = path;
    this.name = `oci:${path}`;
    this.#directory = directory;
    this.#blobs = new BlobDirectory(directory, new AllowedRoots(options.allowRoots));
    this.compressedLayers = new CompressedLayers(directory, this.#blobs);
    this.#shared = sharedBlobs(options.blobs);
    this.#fromLayouts = options.hardlink === true ? ["reflink", "hardlink"] : ["reflink"];
    this.#index = DirectoryIndex.of(directory, this.#blobs);
    this.#lockTimeout = options.lockTimeout;
    this.uploads = new FileUploads(this.#blobs.ingest, async (path, digest) => {
      await this.#blobs.place(path, digest);
      await this.#share(digest);
    });
  }

  /**
   * Opens the layout that is there and changes nothing. Fails with `NOT_FOUND` where the path does not exist and with
   * `INVALID` where it is no layout, or one of an unknown version, and with `DENIED` where a part of it is a symbolic link
   * or no regular file.
   */
  static async open(path: string, options: LayoutOptions = {}): Promise<Layout> {
    let directory: string;
    try {
      directory = await realpath(path);
    } catch (error) {
      throw systemError(error, `cannot open the layout ${path}`);
    }
    await checkLayoutFile(path);
    await checkOwnDirectories(directory);
    const layout = new Layout(path, directory, options);
    try {
      await layout.#index.check();
      layout.#delta = await readDeltaFile(directory);
    } catch (error) {
      if (!isOciError(error, "NOT_FOUND")) throw error;
      throw new OciError("INVALID", `${path} is no OCI image layout: it has no file index.json`, { cause: error });
    }
    return layout;
  }

  /**
   * Opens the layout that is there, or makes an empty one, with its parent directories. Fails with `CONFLICT`, and touches
   * nothing, where the directory holds anything else.
   */
  static async create(path: string, options: LayoutOptions = {}): Promise<Layout> {
    try {
      await initialize(path, options.lockTimeout);
      return await Layout.open(path, options);
    } catch (error) {
      throw systemError(error, `cannot make the layout ${path}`);
    }
  }

  async index(options: Abortable = {}): Promise<LayoutIndex> {
    options.signal?.throwIfAborted();
    return this.#index.file.read();
  }

  /**
   * What is odd about the layout and was tolerated: in index.json as it stands on the disk, and among the names of the
   * directory. Empty for a layout that only Stowage wrote, names that its user chose apart. Fails as {@link Layout.open} does.
   */
  async oddities(): Promise<readonly Oddity[]> {
    try {
      const { path } = this.#index.file;
      const index = parseJson(await readSmallFile(path, MAXIMUM_INDEX_SIZE), path);
      return [...oddities(index), ...oddFiles(await namesOfFiles(this.#directory))];
    } catch (error) {
      throw systemError(error, `cannot look into the layout ${this.path}`);
    }
  }

  protected override about(
    reference: string,
    purpose: "entry" | "referrers",
    options: Abortable,
  ): Promise<LayoutIndex> {
    return purpose === "entry" ? this.#index.about(reference) : this.#index.aboutReferrers(reference, options);
  }

  protected override namedEntries(): Promise<LayoutIndex> {
    return this.#index.named();
  }

  protected override touching(references: readonly string[]): Promise<LayoutIndex> {
    return this.#index.touching(references);
  }

  async update(change: IndexChange, options: Abortable = {}): Promise<LayoutIndex> {
    return (await this.#change(change, { signal: options.signal })) as LayoutIndex;
  }

  protected override async updateTouching(
    references: readonly string[],
    change: IndexChange,
    options: Abortable,
  ): Promise<void> {
    await this.#change(change, { signal: options.signal, references });
  }

  async #change(change: IndexChange, options: UpdateOptions): Promise<LayoutIndex | undefined> {
    options.signal?.throwIfAborted();
    try {
      await makeDirectory(this.#blobs.ingest);
      return await this.#index.file.update(change, { ...options, timeout: this.#lockTimeout });
    } catch (error) {
      throw systemError(error, `cannot change ${this.#index.file.path}`);
    }
  }

  /** As every target. What it says yes to is spared by collections that start within their grace time. */
  override async has(descriptor: Descriptor, options: Abortable = {}): Promise<boolean> {
    options.signal?.throwIfAborted();
    return (await this.#blobs.claim(descriptor.digest)) === descriptor.size;
  }

  /**
   * Stores the content anew, in place of whatever stands under its digest, damaged or not. Fails with `MISMATCH` where the
   * bytes are not what the descriptor says; then what was there stays.
   */
  async restore(content: Content, options: PushOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    await this.store(content, options);
  }

  /**
   * Removes blobs and leftovers while no other process changes the index: those that `decide`, given the index as it stands
   * on the disk, does not want to keep. It is for a collection; a caller that decides wrongly loses content.
   */
  async sweep(
    decide: (index: LayoutIndex) => Promise<(digest: Digest) => boolean>,
    options: SweepOptions,
  ): Promise<SweepReport> {
    const run = async (): Promise<SweepReport> => {
      // Before it is decided what is needed: a manifest among them tells of more.
      if (options.dryRun !== true) await restoreTaken(this.#blobs);
      const report = await sweep(this.#blobs, await decide(await this.#index.file.read()), options);
      if (options.dryRun !== true) await this.compressedLayers.sweep();
      return report;
    };
    try {
      if (options.dryRun === true) return await run();
      await makeDirectory(this.#blobs.ingest);
      return await this.#index.file.lock.run(run, { signal: options.signal, timeout: this.#lockTimeout });
    } catch (error) {
      throw systemError(error, `cannot sweep ${this.path}`);
    }
  }

  /**
   * Removes a blob while nobody else changes the index, unless it is `needed`, given the index as it stands then. True where it
   * was removed. A caller that decides wrongly loses content.
   */
  async discard(digest: Digest, needed: (index: LayoutIndex) => Promise<boolean>): Promise<boolean> {
    const run = async (): Promise<boolean> => {
      if (await needed(await this.#index.file.read())) return false;
      return (await removeBlob(this.#blobs, digest, Number.POSITIVE_INFINITY))?.removed === true;
    };
    try {
      await makeDirectory(this.#blobs.ingest);
      return await this.#index.file.lock.run(run, { timeout: this.#lockTimeout });
    } catch (error) {
      throw systemError(error, `cannot remove ${digest} from ${this.path}`);
    }
  }

  size(digest: Digest): Promise<number | undefined> {
    return this.#blobs.size(digest);
  }

  /** The path of the blob with this digest, whether it is there or not. */
  blobPath(digest: Digest): string {
    return this.#blobs.path(digest);
  }

  override peek(digest: Digest): Uint8Array | undefined {
    return this.#blobs.peek(digest);
  }

  override async check(descriptor: Descriptor, options: CheckOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    return descriptor.size < WORTH_A_THREAD ? super.check(descriptor, options) : this.#blobs.check(descriptor, options);
  }

  async *fetch(descriptor: Descriptor, options: FetchOptions = {}): AsyncIterable<Uint8Array> {
    options.signal?.throwIfAborted();
    const small = options.from === undefined ? this.#blobs.readSmall(descriptor) : undefined;
    if (small !== undefined) {
      if (small.byteLength > 0) yield small;
      return;
    }
    try {
      yield* this.#blobs.read(descriptor, options);
    } catch (error) {
      if (isOciError(error, "NOT_FOUND")) {
        throw new OciError("NOT_FOUND", `${this.name} has no blob ${descriptor.digest}`, { cause: error });
      }
      throw error;
    }
  }

  /**
   * Tells what changes whenever `index.json` or the blob does, in the words of the file system; undefined where that cannot be told,
   * or where {@link has} would have to be asked so that a collection spares the blob. A call takes microseconds and gives way to nobody.
   */
  stampOf(digest: Digest): () => string | undefined {
    const [index, blob] = [this.#index.file.path, this.#blobs.path(digest)];
    return () => {
      const ofIndex = fileStampAtOnce(index);
      const ofBlob = ofIndex === undefined ? undefined : fileStampAtOnce(blob, Date.now() - REFRESH_AFTER);
      return ofBlob === undefined ? undefined : `${ofIndex} ${ofBlob}`;
    };
  }

  /** Opens a blob to be read into the reader's own memory. Fails with `NOT_FOUND`, and with `MISMATCH` for a wrong size. */
  async openBlob(descriptor: Descriptor, options: Abortable = {}): Promise<OpenBlob> {
    options.signal?.throwIfAborted();
    return this.#blobs.open(descriptor, options);
  }

  async write(bytes: Bytes, mediaType: string, options: WriteOptions = {}): Promise<Descriptor> {
    options.signal?.throwIfAborted();
    const { digest, size } = await this.#blobs.write(bytes, options.algorithm ?? "sha256", options);
    const descriptor = { mediaType, digest, size };
    // What was written is there already where the shared blobs have it; then one of the two is enough.
    if (this.#shared !== undefined && !(await this.#takeShared(descriptor, options))) await this.#share(digest);
    return descriptor;
  }

  /** As every target. Whether blocks can be shared with another layout only an attempt would show; that counts as `written`. */
  async foresee({ descriptor, origin }: Content): Promise<Presence> {
    if ((await this.size(descriptor.digest)) === descriptor.size) return "present";
    const size = (path: string): Promise<number | undefined> =>
      lstat(path).then(
        (stat) => (stat.isFile() ? stat.size : undefined),
        () => undefined,
      );
    if (this.#shared !== undefined && (await size(this.#shared.path(descriptor.digest))) === descriptor.size)
      return "linked";
    if (!(origin instanceof Layout) || origin === this || this.#fromLayouts.length === 1) return "written";
    const devices = await Promise.all([this, origin].map((layout) => lstat(layout.#directory)));
    return devices[0]?.dev === devices[1]?.dev ? "linked" : "written";
  }

  /** What copies have left to a base, and has not come since. */
  override get delta(): Delta | undefined {
    return this.#delta;
  }

  /** Nobody has it here; whoever takes the layout in has to. */
  override get needs(): readonly SizedDigest[] {
    return [];
  }

  /** Notes what is left to a base in a file beside `index.json`, so that {@link delta} tells a sparse layout from a damaged one. */
  async leave(since: readonly ReceiptRoot[], blobs: readonly SizedDigest[]): Promise<void> {
    await this.update(async (index) => {
      const before = await readDeltaFile(this.#directory);
      const missing: SizedDigest[] = [];
      for (const blob of [...(before?.needs ?? []), ...blobs])
        if ((await this.size(blob.digest)) !== blob.size) missing.push(blob);
      this.#delta = deltaOf([...(before?.since ?? []), ...since], missing);
      await writeDeltaFile(this.#directory, this.#delta);
      return index;
    });
  }

  protected async store(content: Content, options: PushOptions): Promise<Presence> {
    const { descriptor } = content;
    if (await this.#takeShared(descriptor, options)) return "linked";
    const presence = (await this.#takeFrom(content.origin, descriptor, options)) ? "linked" : "written";
    if (presence === "written" && !(await this.#copyFrom(content.origin, descriptor, options))) {
      const openFrom = content.openFrom?.bind(content);
      await this.#blobs.store(descriptor, () => content.open(), { ...options, openFrom });
    }
    await this.#share(descriptor.digest);
    return presence;
  }

  async #takeShared(descriptor: Descriptor, { signal }: Abortable): Promise<boolean> {
    if (this.#shared === undefined || !isVerifiable(descriptor.digest)) return false;
    return this.#blobs.adopt(descriptor, this.#shared.path(descriptor.digest), SHARED, signal);
  }

  async #takeFrom(origin: Source | undefined, descriptor: Descriptor, { signal }: Abortable): Promise<boolean> {
    if (!(origin instanceof Layout) || origin === this || !isVerifiable(descriptor.digest)) return false;
    // For a few blocks it is not worth asking the file system whether it can share them.
    if (this.#fromLayouts.length === 1 && descriptor.size < CHUNK_SIZE) return false;
    return this.#blobs.adopt(descriptor, origin.blobPath(descriptor.digest), this.#fromLayouts, signal);
  }

  async #copyFrom(origin: Source | undefined, descriptor: Descriptor, options: PushOptions): Promise<boolean> {
    if (!(origin instanceof Layout) || origin === this || !isVerifiable(descriptor.digest)) return false;
    if (descriptor.size < WORTH_A_THREAD) return false;
    return this.#blobs.copy(descriptor, origin.blobPath(descriptor.digest), options);
  }

  async #share(digest: Digest): Promise<void> {
    await this.#shared?.add(this.#blobs.path(digest), digest);
  }
}
