import type { ArchiveWriter } from "../archive/archive-writer.js";
import { blobPath } from "../archive/docker-manifest.js";
import type { TarFile } from "../archive/tar-writer.js";
import { ByteReader } from "../compression/byte-reader.js";
import type { Abortable, Bytes, Content } from "../content.js";
import type { CopyEvent } from "../copy.js";
import type { SizedDigest } from "../delta/sized-digest.js";
import { type Digest, digestOf, Hasher } from "../model/digest.js";
import { OciError } from "../model/errors.js";
import { collect, verified } from "../model/verified.js";
import { cut } from "./cut.js";
import {
  encodePart,
  encodePartList,
  PART_FILE,
  PART_LIST_FILE,
  type PartContent,
  type PartList,
  setOf,
} from "./part-list.js";
import { partPath, pieceDigestPath, piecePath } from "./part-names.js";

/** The options of {@link PartsFile}. */
export interface PartsOptions extends Abortable {
  /** The most bytes of a part. */
  readonly size: number;
  /** Told what is going to be written, which is known from the beginning, and then how it goes. */
  readonly onEvent?: ((event: CopyEvent) => void) | undefined;
}

/** A part of an archive that was written. */
export interface WrittenPart {
  readonly path: string;
  readonly content: readonly PartContent[];
}

/**
 * An archive that is cut into parts, each of which is a tar and a layout of its own, with the same index and manifests and other
 * blobs. What goes into it is gathered first, blobs unread; `finish` decides where to cut, then reads and writes them one
 * after the other. The parts get their names when all of them are complete. The same content makes the same bytes.
 */
export class PartsFile implements ArchiveWriter {
  readonly #path: string;
  readonly #options: PartsOptions;
  readonly #files = new Map<string, Uint8Array>();
  readonly #blobs = new Map<Digest, Content>();
  #parts: readonly TarFile[] = [];
  /** The parts that were written, after {@link finish}. */
  written: readonly WrittenPart[] = [];

  /** Fails with `UNSUPPORTED` where the archive would go to stdout. */
  constructor(path: string, options: PartsOptions) {
    if (path === "-") throw new OciError("UNSUPPORTED", "an archive in parts cannot go to stdout");
    this.#path = path;
    this.#options = options;
  }

  /** Adds a small file, which every part repeats. */
  async add(name: string, bytes: Uint8Array): Promise<void> {
    this.#files.set(name, bytes);
  }

  /** Adds a file as {@link add} does: it is in memory until the parts are written. */
  async addStream(name: string, size: number, bytes: Bytes): Promise<void> {
    await this.add(name, await collect(bytes, size, name));
  }

  /** Fails with `UNSUPPORTED` where a blob has another name than it has in a layout, as in an archive for Docker. */
  addLater(name: string, content: Content): void {
    if (name !== blobPath(content.descriptor.digest))
      throw new OciError(
        "UNSUPPORTED",
        "only an OCI layout can be cut into parts: loaders of other archives want one file",
      );
    this.#blobs.set(content.descriptor.digest, content);
  }

  /** What would stand in each part. */
  cut(): PartList {
    const files = [...this.#files].map(([name, bytes]) => ({ name, digest: digestOf(bytes), size: bytes.byteLength }));
    const blobs: SizedDigest[] = [...this.#blobs.values()].map(({ descriptor }) => descriptor);
    return cut(files, blobs, this.#options.size);
  }

  /** Writes the parts. Fails with `MISMATCH` where a blob is not what it should be; then there are no parts, or those that were there before. */
  async finish(): Promise<void> {
    const list = this.cut();
    const bytes = encodePartList(list);
    const paths = list.parts.map((_content, at) => partPath(this.#path, at + 1, list.parts.length));
    const reading = new Map<Digest, ByteReader>();
    for (const { descriptor } of this.#blobs.values()) this.#options.onEvent?.({ type: "start", descriptor });
    try {
      for (const [at, content] of list.parts.entries()) {
        const tar = await (await import("../archive/tar-writer.js")).TarFile.create(paths[at] as string);
        this.#parts = [...this.#parts, tar];
        await tar.add(PART_FILE, encodePart({ set: setOf(bytes), number: at + 1 }));
        await tar.add(PART_LIST_FILE, bytes);
        for (const [name, file] of this.#files) await tar.add(name, file);
        for (const one of content) await this.#write(tar, one, reading);
      }
      for (const tar of this.#parts) await tar.finish();
    } finally {
      for (const reader of reading.values()) await reader.close();
    }
    this.written = list.parts.map((content, at) => ({ path: paths[at] as string, content }));
  }

  /** Gives up what is not complete. */
  async discard(): Promise<void> {
    for (const tar of this.#parts) await tar.discard();
  }

  async #write(tar: TarFile, { digest, size, piece }: PartContent, reading: Map<Digest, ByteReader>): Promise<void> {
    if (piece === undefined) return tar.addStream(blobPath(digest), size, this.#read(digest));
    const reader = reading.get(digest) ?? new ByteReader(this.#read(digest), digest, this.#options);
    reading.set(digest, reader);
    const hasher = new Hasher();
    const end = piece.from + piece.length;
    await tar.addStream(piecePath(digest, piece.from), piece.length, hashed(reader.until(end), hasher));
    // Behind the piece, since it is known only then. It tells a piece that is damaged from those that are not.
    await tar.add(pieceDigestPath(digest, piece.from), Buffer.from(hasher.digest()));
  }

  async *#read(digest: Digest): AsyncGenerator<Uint8Array> {
    const { signal, onEvent } = this.#options;
    const content = this.#blobs.get(digest) as Content;
    const { descriptor } = content;
    for await (const chunk of verified(content.open(), descriptor)) {
      signal?.throwIfAborted();
      onEvent?.({ type: "bytes", descriptor, bytes: chunk.byteLength });
      yield chunk;
    }
    onEvent?.({ type: "done", descriptor, presence: "written" });
  }
}

async function* hashed(bytes: Bytes, hasher: Hasher): AsyncGenerator<Uint8Array> {
  for await (const chunk of bytes) {
    hasher.update(chunk);
    yield chunk;
  }
}
