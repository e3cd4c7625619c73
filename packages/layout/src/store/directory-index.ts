import type { Abortable } from "../content.js";
import type { Descriptor } from "../model/descriptor.js";
import { isOciError } from "../model/errors.js";
import { type Manifest, parseManifest } from "../model/manifest.js";
import { readManifest } from "../model/verified.js";
import type { BlobDirectory } from "./blobs.js";
import { DerivedFile, WORTHWHILE } from "./derived-file.js";
import { IndexFile } from "./index-file.js";
import type { LayoutIndex } from "./index-json.js";

/** One per directory, so that all changes of this process queue up in one place. */
const known = new Map<string, WeakRef<DirectoryIndex>>();

/** The index.json of a layout directory together with what is derived from it. */
export class DirectoryIndex {
  readonly file: IndexFile;
  readonly #derived: DerivedFile;

  private constructor(directory: string, blobs: BlobDirectory) {
    const manifest = (descriptor: Descriptor): Promise<Manifest | undefined> => manifestIn(blobs, descriptor);
    this.#derived = new DerivedFile(directory, blobs, manifest);
    this.file = new IndexFile(directory, blobs, this.#derived, manifest);
  }

  /** That of a directory, which has its real path. */
  static of(directory: string, blobs: BlobDirectory): DirectoryIndex {
    const there = known.get(directory)?.deref();
    if (there !== undefined) return there;
    const made = new DirectoryIndex(directory, blobs);
    known.set(directory, new WeakRef(made));
    return made;
  }

  /** Fails as reading the whole index does. What something was derived from was checked when it was derived. */
  async check(): Promise<void> {
    if ((await this.#derived.ask(async () => true)) !== true) await this.file.read();
  }

  /** The part of the index that can matter to the entry of a reference; all of it where nothing was derived from it. */
  async about(reference: string): Promise<LayoutIndex> {
    return (await this.#derived.ask((derived) => derived.about(reference))) ?? this.file.read();
  }

  /** The part of the index that can matter to the referrers of a digest. A large index is derived from first. */
  async aboutReferrers(subject: string, options: Abortable): Promise<LayoutIndex> {
    const find = (): Promise<LayoutIndex | undefined> =>
      this.#derived.ask(async (derived) => (derived.isSearched ? derived.about(subject) : undefined));
    const found = await find();
    if (found !== undefined) return found;
    const index = await this.file.read();
    if (index.manifests.length < WORTHWHILE) return index;
    await this.#derived.refresh(() => this.file.readBytes(), options);
    return (await find()) ?? index;
  }

  /** The part of the index that has names. */
  async named(): Promise<LayoutIndex> {
    return (await this.#derived.ask((derived) => derived.named())) ?? this.file.read();
  }

  /** The part of the index that a change of these names and digests can depend on. */
  async touching(references: readonly string[]): Promise<LayoutIndex> {
    const part = await this.#derived.ask((derived) => derived.touching(references));
    return part?.index ?? this.file.read();
  }
}

/** A manifest, or undefined where it is absent or damaged. */
async function manifestIn(blobs: BlobDirectory, descriptor: Descriptor): Promise<Manifest | undefined> {
  try {
    const small = descriptor.data === undefined ? blobs.readSmall(descriptor) : undefined;
    if (small !== undefined) return parseManifest(small, descriptor.mediaType, descriptor.digest);
    const source = { fetch: (one: Descriptor) => blobs.read(one) };
    return (await readManifest(source, descriptor)).manifest;
  } catch (error) {
    if (isOciError(error)) return undefined;
    throw error;
  }
}
