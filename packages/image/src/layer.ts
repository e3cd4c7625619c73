import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { resolve } from "node:path";
import {
  type Abortable,
  type Bytes,
  type Descriptor,
  type Digest,
  gunzip,
  Hasher,
  mediaTypes,
  OciError,
  systemError,
} from "@stowage/layout";
import { type Compression, compress, layerMediaType } from "./compression.js";
import type { ContentWriter } from "./content-writer.js";
import { type FileTreeOptions, fileTree } from "./file-tree.js";
import type { LowerEntry } from "./lower-paths.js";
import type { FileMapping } from "./mapping.js";
import { writeTar } from "./tar.js";
import { checkTar } from "./tar-reader.js";

/** What a layer is made from: files, directories and patterns, or a tar archive that is taken as it is. */
export type LayerSource =
  | {
      /** `SRC[:DEST]`, or the same as an object. */
      readonly files: readonly (string | FileMapping)[];
    }
  | {
      /** The path of a tar archive, relative to the context. */
      readonly tar: string;
    };

/** A layer that is stored. */
export interface Layer {
  readonly descriptor: Descriptor;
  /** The digest of the uncompressed tar. image-spec v1.1.1, config.md "Layer DiffID". */
  readonly diffId: Digest;
}

/** The options of {@link writeLayer}. */
export interface LayerOptions extends FileTreeOptions {
  /** Default: `gzip`. A tar archive that is compressed already stays as it is. */
  readonly compression?: Compression | undefined;
  /** Told how many bytes of uncompressed tar were taken in. */
  readonly onBytes?: ((count: number) => void) | undefined;
}

/**
 * Bytes read at once from an archive. With 1 MiB it is no faster, and the pieces pile up before they are collected: 35 MB
 * more on Node 24.
 */
const CHUNK = 65536;

/**
 * Makes a layer, stores it in `target`, and puts it on top of `options.below`. The same files give the same digest on every machine: order, times, owners
 * and modes do not come from the disk (see {@link fileTree} and {@link FileTreeOptions}). Memory does not grow with the size.
 *
 * A tar archive is not changed: it is read once to check it and a second time to store it, plain tar compressed as asked,
 * gzip byte for byte. Fails with `INVALID` where it is no tar or holds a name that is absolute or has `..` in it, with
 * `UNSUPPORTED` where it is compressed in another way, with `CONFLICT` where it changes meanwhile.
 */
export async function writeLayer(
  target: ContentWriter,
  source: LayerSource,
  options: LayerOptions = {},
): Promise<Layer> {
  if ("tar" in source) return writeTarLayer(target, resolve(options.cwd ?? ".", source.tar), options);
  const entries = await fileTree(source.files, options);
  // Both compressors copy what they get into blocks of their own; without one, the target may keep a chunk for a while.
  const tar = writeTar(entries, { signal: options.signal, reuseChunks: options.compression !== "none" });
  const layer = await writeCompressed(target, tar, options);
  options.below?.apply(entries);
  return layer;
}

/** Stores a tar archive as a layer, compressed as asked. */
export async function writeCompressed(target: ContentWriter, tar: Bytes, options: LayerOptions = {}): Promise<Layer> {
  const compression = options.compression ?? "gzip";
  const hasher = new Hasher();
  const bytes = compress(tap(tar, hasher, options.onBytes), compression, options);
  const descriptor = await target.write(bytes, layerMediaType(compression), { signal: options.signal });
  return { descriptor, diffId: hasher.digest() };
}

async function writeTarLayer(target: ContentWriter, path: string, options: LayerOptions): Promise<Layer> {
  const isGzip = await detectGzip(path);
  const raw = new Hasher();
  const inner = new Hasher();
  const file = tap(readArchive(path, options), raw);
  const entries: LowerEntry[] = [];
  const onEntry = (header: LowerEntry): void => {
    entries.push(header);
  };
  await checkTar(tap(isGzip ? gunzip(file, path, options) : file, inner), path, {
    signal: options.signal,
    ...(options.below === undefined ? {} : { onEntry }),
  });
  const checked = raw.digest();
  const layer = isGzip
    ? {
        descriptor: await target.write(
          tap(readArchive(path, options), undefined, options.onBytes),
          mediaTypes.layerGzip,
          { signal: options.signal },
        ),
        diffId: inner.digest(),
      }
    : await writeCompressed(target, readArchive(path, options, CHUNK, options.compression !== "none"), options);
  if ((isGzip ? layer.descriptor.digest : layer.diffId) !== checked) {
    throw new OciError("CONFLICT", `${path} changed while it was being read`);
  }
  options.below?.apply(entries);
  return layer;
}

const MAGIC = [
  { name: "zstd", bytes: [0x28, 0xb5, 0x2f, 0xfd] },
  { name: "xz", bytes: [0xfd, 0x37, 0x7a, 0x58, 0x5a] },
  { name: "bzip2", bytes: [0x42, 0x5a, 0x68] },
];

async function detectGzip(path: string): Promise<boolean> {
  for await (const head of readArchive(path, {}, 16)) {
    const other = MAGIC.find(({ bytes }) => bytes.every((byte, index) => head[index] === byte));
    if (other !== undefined) {
      throw new OciError("UNSUPPORTED", `cannot take ${path} as a layer: it is compressed with ${other.name}`, {
        hint: `Decompress it first; plain tar and gzip are taken.`,
      });
    }
    return head[0] === 0x1f && head[1] === 0x8b;
  }
  return false;
}

async function* readArchive(
  path: string,
  { signal }: Abortable,
  length = CHUNK,
  reuse = false,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    const file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    try {
      if (!(await file.stat()).isFile())
        throw new OciError("INVALID", `cannot take ${path} as a layer: it is not a file`);
      // A compressor copies what it is given before it asks for more, so one buffer serves it all along.
      const memory = Buffer.allocUnsafe(length);
      for (;;) {
        signal?.throwIfAborted();
        const { bytesRead, buffer } = await file.read(reuse ? memory : Buffer.allocUnsafe(length), 0, length);
        if (bytesRead === 0) return;
        yield buffer.subarray(0, bytesRead);
      }
    } finally {
      await file.close();
    }
  } catch (error) {
    throw systemError(error, `cannot read ${path}`);
  }
}

async function* tap(
  bytes: Bytes,
  hasher: Hasher | undefined,
  onBytes?: (count: number) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of bytes) {
    hasher?.update(chunk);
    onBytes?.(chunk.byteLength);
    yield chunk;
  }
}
