import { lstat, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { decompress } from "../compression/decompress.js";
import type { Abortable } from "../content.js";
import { type Descriptor, parseDescriptor } from "../model/descriptor.js";
import { type Digest, digestEncoded, Hasher, parseDigest } from "../model/digest.js";
import { isOciError, systemErrorCode } from "../model/errors.js";
import { isJsonObject, parseJson } from "../model/json.js";
import { mediaTypes } from "../model/media-types.js";
import type { BlobDirectory } from "./blobs.js";
import { fileStamp } from "./file-stamp.js";
import { makeDirectory, readSmallFile, removeFile, replaceFile } from "./files.js";

/** The name of the directory in the root of a layout. Other tools leave names alone that they do not know. */
export const COMPRESSED_LAYERS = ".stowage-layers";
/** No record is larger, in bytes. */
const MAXIMUM_RECORD = 4096;
/** Records beyond these are not looked at. */
const MAXIMUM_RECORDS = 100_000;

/** A tar that was compressed, and the layer it became. */
export interface CompressedLayer {
  /** The digest of the tar. image-spec v1.1.1, config.md "Layer DiffID". */
  readonly diffId: Digest;
  /** Bytes of the tar. */
  readonly size: number;
  /** What compressed it, with its version and level where they matter: the same compressor makes the same bytes of the same tar. */
  readonly compressor: string;
  readonly descriptor: Descriptor;
}

interface RecordedLayer extends CompressedLayer {
  /** Of the file of the layer, when it was known to be the right one. */
  readonly stamp?: string;
}

/** What is asked for: the tar by its digest, or at least by its size. */
export type CompressedLayerQuery = Pick<CompressedLayer, "compressor"> &
  (Pick<CompressedLayer, "diffId"> | Pick<CompressedLayer, "size">);

/**
 * The directory `.stowage-layers` of a layout: which layers were made by compressing which tars, so that no tar is compressed
 * twice by the same compressor. One file for each, named after compressor, digest and size, and replaced whole: any number of
 * processes may write at once. It is derived, so whoever removes it loses time; a collection removes the records of layers that
 * are gone. A record is only a hint: {@link verify} tells whether the layer is what the record says.
 */
export class CompressedLayers {
  readonly #directory: string;
  readonly #blobs: BlobDirectory;

  constructor(root: string, blobs: BlobDirectory) {
    this.#directory = join(root, COMPRESSED_LAYERS);
    this.#blobs = blobs;
  }

  /** The records that fit, in bytewise order of their digests. Not verified. Nothing where they cannot be read. */
  async find(query: CompressedLayerQuery): Promise<readonly CompressedLayer[]> {
    const start = `${query.compressor}-${"diffId" in query ? `${digestEncoded(query.diffId)}-` : ""}`;
    const end = "size" in query ? `-${query.size}` : "";
    const names = (await this.#names()).filter((name) => name.startsWith(start) && name.endsWith(end));
    const found = await Promise.all(names.sort().map((name) => this.#read(name)));
    return found.filter((one) => one !== undefined && one.compressor === query.compressor) as CompressedLayer[];
  }

  /**
   * True if the layer is there and decompresses to the tar of the record; then collections that start within their grace time
   * spare it. All of it is read and decompressed, unless its file is still the very file that was recorded, unchanged since:
   * a layout that was copied or restored from a cache is verified once.
   */
  async verify(layer: CompressedLayer, options: Abortable = {}): Promise<boolean> {
    const { digest, size } = layer.descriptor;
    const before = await this.#stampOf(digest);
    if ((await this.#blobs.claim(digest)) !== size) return false;
    const recorded = (await this.#read(nameOf(layer)))?.stamp;
    if ((before === undefined || before !== recorded) && !(await this.#decompressesTo(layer, options))) return false;
    // Claiming it may have changed its times.
    if ((await this.#stampOf(digest)) !== recorded) await this.record(layer);
    return true;
  }

  async #decompressesTo({ diffId, size, descriptor }: CompressedLayer, options: Abortable): Promise<boolean> {
    try {
      if (descriptor.mediaType === mediaTypes.layerGzip)
        return await this.#blobs.isGzipOf(descriptor, { diffId, size }, options);
      const hasher = Hasher.for(diffId);
      let length = 0;
      const blob = this.#blobs.read(descriptor, { signal: options.signal });
      for await (const chunk of decompress(blob, descriptor.digest, options)) {
        length += chunk.byteLength;
        if (length > size) return false;
        hasher.update(chunk);
      }
      return length === size && hasher.digest() === diffId;
    } catch (error) {
      options.signal?.throwIfAborted();
      if (isOciError(error)) return false;
      throw error;
    }
  }

  /** Keeps a record, where that can be done: a layout that is read-only or a disk that is full is no failure. */
  async record({ diffId, size, compressor, descriptor }: CompressedLayer): Promise<void> {
    const { mediaType, digest, size: compressed } = descriptor;
    const temporary = this.#blobs.temporary();
    const layer = { diffId, size, compressor, descriptor: { mediaType, digest, size: compressed } };
    try {
      await makeDirectory(this.#directory);
      await makeDirectory(this.#blobs.ingest);
      await writeFile(temporary, `${JSON.stringify({ ...layer, stamp: await this.#stampOf(digest) })}\n`);
      await replaceFile(temporary, join(this.#directory, nameOf(layer)));
    } catch (error) {
      await removeFile(temporary).catch(() => {});
      if (systemErrorCode(error) === undefined) throw error;
    }
  }

  /** What changes whenever the file of a blob does; undefined where it is no file of the layout itself. */
  async #stampOf(digest: Digest): Promise<string | undefined> {
    const path = this.#blobs.path(digest);
    try {
      return (await lstat(path)).isFile() ? await fileStamp(path) : undefined;
    } catch (error) {
      if (systemErrorCode(error) === undefined) throw error;
      return undefined;
    }
  }

  /** Removes the records that cannot be read, and those of layers that are not there. */
  async sweep(): Promise<void> {
    for (const name of await this.#names()) {
      const record = await this.#read(name);
      if (record === undefined || (await this.#blobs.size(record.descriptor.digest)) === undefined)
        await removeFile(join(this.#directory, name));
    }
  }

  async #names(): Promise<string[]> {
    try {
      return (await readdir(this.#directory)).slice(0, MAXIMUM_RECORDS);
    } catch (error) {
      if (systemErrorCode(error) === undefined) throw error;
      return [];
    }
  }

  /** Undefined where the file is no record of this name. */
  async #read(name: string): Promise<RecordedLayer | undefined> {
    try {
      const value = parseJson(await readSmallFile(join(this.#directory, name), MAXIMUM_RECORD), name);
      if (!isJsonObject(value)) return undefined;
      const { size, compressor, stamp } = value;
      const descriptor = parseDescriptor(value.descriptor, name);
      const record = { diffId: parseDigest(value.diffId), size, compressor, descriptor, stamp } as RecordedLayer;
      return nameOf(record) === name ? record : undefined;
    } catch (error) {
      if (isOciError(error) || systemErrorCode(error) !== undefined) return undefined;
      throw error;
    }
  }
}

function nameOf({ compressor, diffId, size }: Omit<CompressedLayer, "descriptor">): string {
  return `${compressor}-${digestEncoded(diffId)}-${size}`;
}
