import { lstat, readdir, realpath } from "node:fs/promises";
import { join, resolve as resolvePath } from "node:path";
import type { Abortable, Bytes, Content, FetchOptions, Presence, PushOptions, Source } from "../content.js";
import type { Descriptor } from "../model/descriptor.js";
import { type Digest, Hasher, isVerifiable } from "../model/digest.js";
import { isOciError, OciError, systemError, systemErrorCode } from "../model/errors.js";
import { parseJson } from "../model/json.js";
import { encodeJson, type Manifest } from "../model/manifest.js";
import { readManifest } from "../model/verified.js";
import { AllowedRoots } from "./allowed-roots.js";
import { BlobDirectory } from "./blobs.js";
import type { Cloned } from "./clone.js";
import { DERIVED_INDEX, DerivedFile, WORTHWHILE } from "./derived-file.js";
import type { DerivedIndex } from "./derived-index.js";
import { CHUNK_SIZE, makeDirectory, readSmallFile, replaceFile } from "./files.js";
import { IndexFile, writeSynced } from "./index-file.js";
import { emptyIndex, type LayoutIndex, MAXIMUM_INDEX_SIZE } from "./index-json.js";
import { type IndexChange, IndexedTarget, type WriteOptions } from "./indexed-target.js";
import { checkLayoutVersion, LAYOUT_VERSION, MAXIMUM_LAYOUT_FILE_SIZE } from "./layout-version.js";
import { type Oddity, oddFiles, oddities } from "./oddities.js";
import { checkOwnDirectories } from "./own-directories.js";
import { SHARED, type SharedBlobs, sharedBlobs } from "./shared-blobs.js";
import { type SweepOptions, type SweepReport, sweep } from "./sweep.js";

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

/** What a directory may hold and still become a layout: the traces of a layout that is just being made. */
const OWN_NAMES: ReadonlySet<string> = new Set(["oci-layout", "index.json", "blobs", "ingest", DERIVED_INDEX]);

/** One file object per directory, so that all changes of this process queue up in one place. */
const indexFiles = new Map<string, WeakRef<IndexFile>>();

/**
 * An OCI image layout in a directory. image-spec v1.1.1, image-layout.md.
 *
 * Any number of processes may read and write it at once: `index.json` is replaced whole under a lock, a blob appears
 * under its digest only when it is complete. A process that is killed loses at most the change it was making.
 */
export class Layout extends IndexedTarget {
  readonly path: string;
  readonly name: string;
  readonly #directory: string;
  readonly #blobs: BlobDirectory;
  readonly #indexFile: IndexFile;
  readonly #derivedFile: DerivedFile;
  readonly #shared: SharedBlobs | undefined;
  /** How content is taken from other layouts, before it is read from there. */
  readonly #fromLayouts: readonly Cloned[];

  private constructor(path: string, directory: string, options: LayoutOptions) {
    super();
    this.path = path;
    this.name = `oci:${path}`;
    this.#directory = directory;
    this.#blobs = new BlobDirectory(directory, new AllowedRoots(options.allowRoots));
    this.#shared = sharedBlobs(options.blobs);
    this.#fromLayouts = options.hardlink === true ? ["reflink", "hardlink"] : ["reflink"];
    this.#indexFile = sharedIndexFile(directory, this.#blobs, options);
    this.#derivedFile = new DerivedFile(directory, this.#blobs);
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
    await checkVersion(path);
    await checkOwnDirectories(directory);
    const layout = new Layout(path, directory, options);
    try {
      // What was derived from index.json was derived after it had been checked.
      if ((await layout.#derivedFile.current()) === undefined) await layout.index();
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
      await makeDirectory(path);
      const names = await readdir(path);
      if (!names.includes("oci-layout") || !names.includes("index.json")) {
        const foreign = names.find((name) => !OWN_NAMES.has(name));
        if (foreign !== undefined) {
          throw new OciError(
            "CONFLICT",
            `cannot make a layout of ${path}: it is no layout and holds ${JSON.stringify(foreign)}`,
            {
              hint: "Name a directory that is empty or does not exist yet.",
            },
          );
        }
        await initialize(path, options);
      }
      return await Layout.open(path, options);
    } catch (error) {
      throw systemError(error, `cannot make the layout ${path}`);
    }
  }

  async index(options: Abortable = {}): Promise<LayoutIndex> {
    options.signal?.throwIfAborted();
    return this.#indexFile.read();
  }

  /**
   * What is odd about the layout and was tolerated: in index.json as it stands on the disk, and among the names of the
   * directory. Empty for a layout that only Stowage wrote, names that its user chose apart. Fails as {@link Layout.open} does.
   */
  async oddities(): Promise<readonly Oddity[]> {
    try {
      const { path } = this.#indexFile;
      const index = parseJson(await readSmallFile(path, MAXIMUM_INDEX_SIZE), path);
      return [...oddities(index), ...oddFiles(await namesOfFiles(this.#directory))];
    } catch (error) {
      throw systemError(error, `cannot look into the layout ${this.path}`);
    }
  }

  protected override async about(
    reference: string,
    purpose: "entry" | "referrers",
    options: Abortable,
  ): Promise<LayoutIndex> {
    const found = await this.#fromDerived((derived) => derived.about(reference));
    if (found !== undefined) return found;
    const index = await this.index(options);
    if (purpose === "entry" || index.manifests.length < WORTHWHILE) return index;
    await this.#derivedFile.refresh(
      () => this.#indexFile.readBytes(),
      async (descriptor) => {
        options.signal?.throwIfAborted();
        return this.#manifest(descriptor);
      },
    );
    return (await this.#fromDerived((derived) => derived.about(reference))) ?? index;
  }

  protected override async namedEntries(options: Abortable): Promise<LayoutIndex> {
    return (await this.#fromDerived((derived) => derived.named())) ?? this.index(options);
  }

  /** What the derived index answers, or undefined where there is none for index.json as it stands. */
  async #fromDerived(ask: (derived: DerivedIndex) => Promise<LayoutIndex>): Promise<LayoutIndex | undefined> {
    const derived = await this.#derivedFile.current();
    if (derived === undefined) return undefined;
    try {
      return await ask(derived);
    } catch (error) {
      // Another process has just replaced it, or somebody has tampered with it.
      if (isOciError(error) || systemErrorCode(error) !== undefined) return undefined;
      throw error;
    }
  }

  /** A manifest, or undefined where it is absent or damaged. */
  async #manifest(descriptor: Descriptor): Promise<Manifest | undefined> {
    try {
      return (await readManifest(this, descriptor)).manifest;
    } catch (error) {
      if (isOciError(error)) return undefined;
      throw error;
    }
  }

  async update(change: IndexChange, options: Abortable = {}): Promise<LayoutIndex> {
    options.signal?.throwIfAborted();
    try {
      await makeDirectory(this.#blobs.ingest);
      return await this.#indexFile.update(change, options);
    } catch (error) {
      throw systemError(error, `cannot change ${this.#indexFile.path}`);
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
    const run = async (): Promise<SweepReport> =>
      sweep(this.#blobs, await decide(await this.#indexFile.read()), options);
    try {
      if (options.dryRun === true) return await run();
      await makeDirectory(this.#blobs.ingest);
      return await this.#indexFile.locked(run, { signal: options.signal });
    } catch (error) {
      throw systemError(error, `cannot sweep ${this.path}`);
    }
  }

  size(digest: Digest): Promise<number | undefined> {
    return this.#blobs.size(digest);
  }

  /** The path of the blob with this digest, whether it is there or not. */
  blobPath(digest: Digest): string {
    return this.#blobs.path(digest);
  }

  async *fetch(descriptor: Descriptor, options: FetchOptions = {}): AsyncIterable<Uint8Array> {
    options.signal?.throwIfAborted();
    const small = options.from === undefined ? this.#blobs.readSmall(descriptor) : undefined;
    if (small !== undefined) {
      if (small.byteLength > 0) yield small;
      return;
    }
    try {
      yield* this.#blobs.read(descriptor, options.from ?? 0, options.signal);
    } catch (error) {
      if (isOciError(error, "NOT_FOUND")) {
        throw new OciError("NOT_FOUND", `${this.name} has no blob ${descriptor.digest}`, { cause: error });
      }
      throw error;
    }
  }

  async write(bytes: Bytes, mediaType: string, options: WriteOptions = {}): Promise<Descriptor> {
    options.signal?.throwIfAborted();
    const { digest, size } = await this.#blobs.write(bytes, new Hasher(options.algorithm), options);
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

  protected async store(content: Content, options: PushOptions): Promise<Presence> {
    const { descriptor } = content;
    if (await this.#takeShared(descriptor, options)) return "linked";
    const presence = (await this.#takeFrom(content.origin, descriptor, options)) ? "linked" : "written";
    if (presence === "written") {
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

  async #share(digest: Digest): Promise<void> {
    await this.#shared?.add(this.#blobs.path(digest), digest);
  }
}

function sharedIndexFile(directory: string, blobs: BlobDirectory, options: LayoutOptions): IndexFile {
  const known = indexFiles.get(directory)?.deref();
  if (known !== undefined) return known;
  const made = indexFileOf(directory, blobs, options);
  indexFiles.set(directory, new WeakRef(made));
  return made;
}

function indexFileOf(directory: string, blobs: BlobDirectory, options: LayoutOptions): IndexFile {
  const content = { fetch: (descriptor: Descriptor) => blobs.read(descriptor, 0) };
  return new IndexFile(directory, blobs.ingest, content, options.lockTimeout);
}

async function checkVersion(path: string): Promise<void> {
  const file = join(path, "oci-layout");
  let bytes: Uint8Array;
  try {
    bytes = await readSmallFile(file, MAXIMUM_LAYOUT_FILE_SIZE);
  } catch (error) {
    if (!isOciError(error, "NOT_FOUND") && !isOciError(error, "INVALID")) throw error;
    throw new OciError("INVALID", `${path} is no OCI image layout: it has no file oci-layout`, { cause: error });
  }
  checkLayoutVersion(bytes, file);
}

/** Makes what is missing, under the lock: two processes may make the same layout at once, and neither may empty the other's index. */
async function initialize(path: string, options: LayoutOptions): Promise<void> {
  const directory = resolvePath(path);
  await checkOwnDirectories(directory);
  const blobs = new BlobDirectory(directory);
  await makeDirectory(join(directory, "blobs", "sha256"));
  await makeDirectory(blobs.ingest);
  await indexFileOf(directory, blobs, options).locked(async () => {
    const names = new Set(await readdir(directory));
    for (const [name, value] of [
      ["index.json", emptyIndex],
      ["oci-layout", { imageLayoutVersion: LAYOUT_VERSION }],
    ] as const) {
      if (names.has(name)) continue;
      const temporary = blobs.temporary();
      await writeSynced(temporary, encodeJson(value));
      await replaceFile(temporary, join(directory, name));
    }
  });
}

/** The files in a layout directory, and the directories in which no layout keeps anything. */
async function namesOfFiles(directory: string): Promise<string[]> {
  const below = async (parts: readonly string[]): Promise<string[]> => {
    const found: string[] = [];
    for (const entry of await readdir(join(directory, ...parts), { withFileTypes: true })) {
      const path = [...parts, entry.name];
      const holdsBlobs = entry.isDirectory() && path[0] === "blobs" && path.length <= 2;
      if (holdsBlobs) found.push(...(await below(path)));
      else found.push(path.join("/"));
    }
    return found;
  };
  return (await below([])).sort();
}
