import type { Abortable, FetchOptions } from "../content.js";
import { type Descriptor, formatDescriptor } from "../model/descriptor.js";
import type { Digest } from "../model/digest.js";
import { OciError } from "../model/errors.js";
import { verified } from "../model/verified.js";
import { emptyIndex, type LayoutIndex, MAXIMUM_INDEX_SIZE } from "../store/index-json.js";
import { IndexedSource } from "../store/indexed-source.js";
import { checkLayoutVersion, MAXIMUM_LAYOUT_FILE_SIZE } from "../store/layout-version.js";
import { readIndex } from "../store/read-index.js";
import type { ArchiveFiles } from "./archive-files.js";
import { withFullNames } from "./archive-names.js";
import { type DockerArchive, readDockerArchive, readFile } from "./docker-archive.js";
import { blobPath } from "./docker-manifest.js";
import { withHiddenEntries } from "./hidden-entries.js";
import { openArchiveFiles } from "./open-files.js";

/**
 * Images in one file: an OCI layout in a tar or zip, or what `docker save` writes, whatever its age. The archive is indexed
 * once; blobs are read where they stand. Call `close` when done with it.
 */
export class ArchiveSource extends IndexedSource {
  /** Docker saves an index with what it has of it. */
  override readonly sparse = true;
  #name: string;
  readonly #files: ArchiveFiles;
  #index: LayoutIndex = emptyIndex;
  #docker: DockerArchive | undefined;

  private constructor(path: string, files: ArchiveFiles) {
    super();
    this.#name = `oci-archive:${path}`;
    this.#files = files;
  }

  /**
   * Opens and indexes the archive; `-` is stdin. Where it holds an OCI layout and what `docker load` reads, as Docker writes
   * it since version 25, the layout counts: only there digests are what they were. Fails as {@link openArchiveFiles} does, and
   * with `INVALID` where there is neither in it.
   */
  static async open(path: string, options: Abortable = {}): Promise<ArchiveSource> {
    const files = await openArchiveFiles(path, options);
    try {
      const source = new ArchiveSource(path, files);
      await source.#read(path);
      return source;
    } catch (error) {
      await files.close();
      throw error;
    }
  }

  get name(): string {
    return this.#name;
  }

  async index(): Promise<LayoutIndex> {
    return this.#index;
  }

  async size(digest: Digest): Promise<number | undefined> {
    return this.#docker?.made.get(digest)?.byteLength ?? this.#files.size(this.#fileOf(digest));
  }

  async *fetch(descriptor: Descriptor, options: FetchOptions = {}): AsyncIterable<Uint8Array> {
    const { digest } = descriptor;
    const size = await this.size(digest);
    if (size === undefined) throw new OciError("NOT_FOUND", `${this.name} has no ${formatDescriptor(descriptor)}`);
    if (size !== descriptor.size)
      throw new OciError(
        "MISMATCH",
        `${digest} in ${this.name} has ${size} bytes; its descriptor says ${descriptor.size}`,
      );
    const from = options.from ?? 0;
    const made = this.#docker?.made.get(digest);
    const bytes =
      made === undefined ? this.#files.read(this.#fileOf(digest), from, options.signal) : [made.subarray(from)];
    yield* from === 0 ? verified(bytes, descriptor) : bytes;
  }

  async close(): Promise<void> {
    await this.#files.close();
  }

  async #read(path: string): Promise<void> {
    const where = path === "-" ? "the archive on stdin" : path;
    if (this.#files.size("oci-layout") === undefined || this.#files.size("index.json") === undefined) {
      this.#docker = await readDockerArchive(this.#files, where);
      if (this.#docker === undefined) {
        const missing = this.#files.size("oci-layout") === undefined ? "oci-layout" : "index.json";
        throw new OciError("INVALID", `${where} holds no OCI layout: it has no ${missing}`, {
          hint: "Nor is it what docker save writes: it has no manifest.json.",
        });
      }
      this.#name = `docker-archive:${path}`;
      this.#index = this.#docker.index;
      return;
    }
    const version = await readFile(this.#files, "oci-layout", where, MAXIMUM_LAYOUT_FILE_SIZE);
    checkLayoutVersion(version, `oci-layout in ${where}`);
    const index = await readFile(this.#files, "index.json", where, MAXIMUM_INDEX_SIZE);
    const read = await readIndex(index, `index.json in ${where}`, this);
    this.#index = withFullNames(await withHiddenEntries(read, this, where));
  }

  #fileOf(digest: Digest): string {
    return this.#docker?.files.get(digest) ?? blobPath(digest);
  }
}
