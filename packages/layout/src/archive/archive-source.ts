import type { Abortable, FetchOptions, Target } from "../content.js";
import { missingAt } from "../delta/check-needs.js";
import { DELTA_FILE, type Delta, parseDelta } from "../delta/delta.js";
import { MAXIMUM_RECEIPT_SIZE } from "../delta/receipt.js";
import { type Descriptor, formatDescriptor } from "../model/descriptor.js";
import type { Digest } from "../model/digest.js";
import { isOciError, OciError } from "../model/errors.js";
import { verified } from "../model/verified.js";
import { openArchive } from "../parts/open-parts.js";
import { PartFiles } from "../parts/part-files.js";
import { emptyIndex, type LayoutIndex, MAXIMUM_INDEX_SIZE } from "../store/index-json.js";
import { IndexedSource } from "../store/indexed-source.js";
import { checkLayoutVersion, MAXIMUM_LAYOUT_FILE_SIZE } from "../store/layout-version.js";
import { readIndex } from "../store/read-index.js";
import type { ArchiveFiles } from "./archive-files.js";
import { withFullNames } from "./archive-names.js";
import { type DockerArchive, readDockerArchive, readFile } from "./docker-archive.js";
import { blobPath } from "./docker-manifest.js";
import { withHiddenEntries } from "./hidden-entries.js";

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
  #delta: Delta | undefined;

  private constructor(path: string, files: ArchiveFiles) {
    super();
    this.#name = `oci-archive:${path}`;
    this.#files = files;
  }

  /**
   * Opens and indexes the archive; `-` is stdin. Where it holds an OCI layout and what `docker load` reads, as Docker writes
   * it since version 25, the layout counts: only there digests are what they were. An archive in parts is named by one of them,
   * by the directory they are in, or by all of them; parts may be missing. Fails as {@link openArchive} does, and with `INVALID` where there is neither in it.
   */
  static async open(path: string | readonly string[], options: Abortable = {}): Promise<ArchiveSource> {
    const files = await openArchive(path, options);
    const name = typeof path === "string" ? path : (path[0] as string);
    try {
      const source = new ArchiveSource(name, files);
      await source.#read(name);
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

  override get delta(): Delta | undefined {
    return this.#delta;
  }

  async size(digest: Digest): Promise<number | undefined> {
    return this.#docker?.made.get(digest)?.byteLength ?? this.#files.size(this.#fileOf(digest));
  }

  async *fetch(descriptor: Descriptor, options: FetchOptions = {}): AsyncIterable<Uint8Array> {
    try {
      yield* this.#fetch(descriptor, options);
    } catch (error) {
      if (isOciError(error) && this.#files instanceof PartFiles) this.#files.lost(descriptor.digest);
      throw error;
    }
  }

  /** What stood in a part that is lost is missing by accident. */
  override async lacks(digest: Digest): Promise<boolean> {
    if (this.#files instanceof PartFiles && this.#files.lists(digest)) return false;
    return super.lacks(digest);
  }

  /** True where it was cut into parts, which may be missing or damaged. */
  get isInParts(): boolean {
    return this.#files instanceof PartFiles;
  }

  /** Where content was lost because of damaged parts, all the parts that have to be fetched again, instead of the first thing noticed. */
  override async explain(error: unknown, target: Target, options: Abortable = {}): Promise<unknown> {
    if (!(this.#files instanceof PartFiles) || !this.#files.isDamaged || !isOciError(error)) return error;
    return this.#files.survey(async (one) => (await missingAt(target, [one], options)).length === 0, error, options);
  }

  async *#fetch(descriptor: Descriptor, options: FetchOptions): AsyncIterable<Uint8Array> {
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
      if (!(await this.#readDocker(path, where))) {
        const missing = this.#files.size("oci-layout") === undefined ? "oci-layout" : "index.json";
        throw new OciError("INVALID", `${where} holds no OCI layout: it has no ${missing}`, {
          hint: "Nor is it what docker save writes: it has no manifest.json.",
        });
      }
      return;
    }
    const version = await readFile(this.#files, "oci-layout", where, MAXIMUM_LAYOUT_FILE_SIZE);
    checkLayoutVersion(version, `oci-layout in ${where}`);
    if (this.#files.size(DELTA_FILE) !== undefined) {
      const delta = await readFile(this.#files, DELTA_FILE, where, MAXIMUM_RECEIPT_SIZE);
      this.#delta = parseDelta(delta, `${DELTA_FILE} in ${where}`);
    }
    const index = await readFile(this.#files, "index.json", where, MAXIMUM_INDEX_SIZE);
    const read = await readIndex(index, `index.json in ${where}`, this);
    this.#index = withFullNames(await withHiddenEntries(read, this, where));
    // Some versions of Docker list nothing there, and the image beside it.
    if (this.#index.manifests.length === 0) await this.#readDocker(path, where);
  }

  /** Reads what docker load would. False where there is nothing for it. */
  async #readDocker(path: string, where: string): Promise<boolean> {
    this.#docker = await readDockerArchive(this.#files, where);
    if (this.#docker === undefined) return false;
    this.#name = `docker-archive:${path}`;
    this.#index = this.#docker.index;
    return true;
  }

  #fileOf(digest: Digest): string {
    return this.#docker?.files.get(digest) ?? blobPath(digest);
  }
}
