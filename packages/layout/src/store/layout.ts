import { readdir, realpath } from "node:fs/promises";
import { join, resolve as resolvePath } from "node:path";
import type { Abortable, Bytes, Content, FetchOptions, Presence, PushOptions } from "../content.js";
import type { Descriptor } from "../model/descriptor.js";
import { type Digest, Hasher } from "../model/digest.js";
import { isOciError, OciError, systemError } from "../model/errors.js";
import { parseJson } from "../model/json.js";
import { encodeJson } from "../model/manifest.js";
import { BlobDirectory } from "./blobs.js";
import { makeDirectory, readSmallFile, replaceFile } from "./files.js";
import { IndexFile, writeSynced } from "./index-file.js";
import { emptyIndex, type LayoutIndex, MAXIMUM_INDEX_SIZE } from "./index-json.js";
import { type IndexChange, IndexedTarget, type WriteOptions } from "./indexed-target.js";
import { checkLayoutVersion, LAYOUT_VERSION, MAXIMUM_LAYOUT_FILE_SIZE } from "./layout-version.js";
import { type Oddity, oddFiles, oddities } from "./oddities.js";
import { checkOwnDirectories } from "./own-directories.js";
import { type SweepOptions, type SweepReport, sweep } from "./sweep.js";

/** The options of {@link Layout.open} and {@link Layout.create}. */
export interface LayoutOptions {
  /** How long a change of index.json waits for another process that is changing it, in ms. Default: ten minutes. */
  readonly lockTimeout?: number;
}

/** What a directory may hold and still become a layout: the traces of a layout that is just being made. */
const OWN_NAMES: ReadonlySet<string> = new Set(["oci-layout", "index.json", "blobs", "ingest"]);

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

  private constructor(path: string, directory: string, options: LayoutOptions) {
    super();
    this.path = path;
    this.name = `oci:${path}`;
    this.#directory = directory;
    this.#blobs = new BlobDirectory(directory);
    this.#indexFile = sharedIndexFile(directory, this.#blobs, options);
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
      await layout.index();
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
    return { mediaType, digest, size };
  }

  protected async store(content: Content, options: PushOptions): Promise<Presence> {
    await this.#blobs.store(content.descriptor, () => content.open(), options);
    return "written";
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
