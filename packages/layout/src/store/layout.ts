import { mkdir, readdir, realpath } from "node:fs/promises";
import { join, resolve as resolvePath } from "node:path";
import type { Abortable, Bytes, Content, FetchOptions, Presence, PushOptions } from "../content.js";
import type { Descriptor } from "../model/descriptor.js";
import { type Digest, Hasher } from "../model/digest.js";
import { isOciError, OciError, systemError, systemErrorCode } from "../model/errors.js";
import { encodeJson, type Manifest } from "../model/manifest.js";
import { readManifest } from "../model/verified.js";
import { BlobDirectory } from "./blobs.js";
import { DERIVED_INDEX, DerivedFile, WORTHWHILE } from "./derived-file.js";
import type { DerivedIndex } from "./derived-index.js";
import { readSmallFile, replaceFile } from "./files.js";
import { IndexFile, writeSynced } from "./index-file.js";
import { emptyIndex, type LayoutIndex } from "./index-json.js";
import { type IndexChange, IndexedTarget, type WriteOptions } from "./indexed-target.js";
import { checkLayoutVersion, LAYOUT_VERSION, MAXIMUM_LAYOUT_FILE_SIZE } from "./layout-version.js";

/** The options of {@link Layout.open} and {@link Layout.create}. */
export interface LayoutOptions {
  /** How long a change of index.json waits for another process that is changing it, in ms. Default: ten minutes. */
  readonly lockTimeout?: number;
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
  readonly #blobs: BlobDirectory;
  readonly #indexFile: IndexFile;
  readonly #derivedFile: DerivedFile;

  private constructor(path: string, directory: string, options: LayoutOptions) {
    super();
    this.path = path;
    this.name = `oci:${path}`;
    this.#blobs = new BlobDirectory(directory);
    this.#indexFile = sharedIndexFile(directory, this.#blobs.ingest, options);
    this.#derivedFile = new DerivedFile(directory, this.#blobs.ingest);
  }

  /**
   * Opens the layout that is there and changes nothing. Fails with `NOT_FOUND` where the path does not exist and with
   * `INVALID` where it is no layout, or one of an unknown version.
   */
  static async open(path: string, options: LayoutOptions = {}): Promise<Layout> {
    let directory: string;
    try {
      directory = await realpath(path);
    } catch (error) {
      throw systemError(error, `cannot open the layout ${path}`);
    }
    await checkVersion(path);
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
      await mkdir(path, { recursive: true });
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
      await mkdir(this.#blobs.ingest, { recursive: true });
      return await this.#indexFile.update(change, options);
    } catch (error) {
      throw systemError(error, `cannot change ${this.#indexFile.path}`);
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
    return { mediaType, digest, size };
  }

  protected async store(content: Content, options: PushOptions): Promise<Presence> {
    await this.#blobs.store(content.descriptor, () => content.open(), options);
    return "written";
  }
}

function sharedIndexFile(directory: string, ingest: string, options: LayoutOptions): IndexFile {
  const known = indexFiles.get(directory)?.deref();
  if (known !== undefined) return known;
  const made = new IndexFile(directory, ingest, options.lockTimeout);
  indexFiles.set(directory, new WeakRef(made));
  return made;
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
  const blobs = new BlobDirectory(directory);
  await mkdir(join(directory, "blobs", "sha256"), { recursive: true });
  await mkdir(blobs.ingest, { recursive: true });
  await new IndexFile(directory, blobs.ingest, options.lockTimeout).locked(async () => {
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
