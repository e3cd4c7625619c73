import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { resolve } from "node:path";
import { type Abortable, type Bytes, decompress, Hasher, mediaTypes, OciError, systemError } from "@stowage/layout";
import { type CompressLayerOptions, type Layer, tap, writeCompressedOnce } from "./compress-layer.js";
import { checkLevel } from "./compression.js";
import type { ContentWriter } from "./content-writer.js";
import { type FileTreeOptions, fileTree } from "./file-tree.js";
import type { LayerSource } from "./layer-source.js";
import type { LowerEntry } from "./lower-paths.js";
import { tarSize, writeTar } from "./tar.js";
import { checkTar } from "./tar-reader.js";

/** The options of {@link writeLayer}. A tar archive that is compressed already stays as it is. */
export interface LayerOptions extends FileTreeOptions, CompressLayerOptions {}

/**
 * Bytes read at once from an archive. With 1 MiB it is no faster, and the pieces pile up before they are collected: 35 MB
 * more on Node 24.
 */
const CHUNK = 65536;

/**
 * Makes a layer, stores it in `target`, and puts it on top of `options.below`. The same files give the same digest on every machine: order, times, owners
 * and modes do not come from the disk (see {@link fileTree} and {@link FileTreeOptions}). Memory does not grow with the size.
 * A layout that has the layer from an earlier time is not made to compress it again.
 *
 * A tar archive is not changed: it is read once to check it and a second time to store it, plain tar compressed as asked,
 * gzip and zstd byte for byte. Fails with `INVALID` where it is no tar or holds a name that is absolute or has `..` in it, with
 * `UNSUPPORTED` where it is compressed in another way, with `CONFLICT` where it changes meanwhile.
 */
export async function writeLayer(
  target: ContentWriter,
  source: LayerSource,
  options: LayerOptions = {},
): Promise<Layer> {
  checkLevel(options.compression ?? "gzip", options.level);
  if ("tar" in source) return writeTarLayer(target, resolve(options.cwd ?? ".", source.tar), options);
  const entries = await fileTree(source.files, options);
  // The compressors copy what they get into blocks of their own; without one, the target may keep a chunk for a while.
  const open = (): Bytes => writeTar(entries, { signal: options.signal, reuseChunks: options.compression !== "none" });
  const layer = await writeCompressedOnce(target, { open, size: () => tarSize(entries) }, options);
  options.below?.apply(entries);
  return layer;
}

async function writeTarLayer(target: ContentWriter, path: string, options: LayerOptions): Promise<Layer> {
  const mediaType = await detectLayerType(path);
  const raw = new Hasher();
  const inner = new Hasher();
  let size = 0;
  const count = (bytes: number): void => {
    size += bytes;
  };
  const entries: LowerEntry[] = [];
  const onEntry = (header: LowerEntry): void => {
    entries.push(header);
  };
  const file = tap(readArchive(path, options), raw);
  await checkTar(tap(decompress(file, path, options), inner, count), path, {
    signal: options.signal,
    ...(options.below === undefined ? {} : { onEntry }),
  });
  const checked = raw.digest();
  const diffId = inner.digest();
  let layer: Layer;
  if (mediaType === mediaTypes.layer) {
    const open = (): Bytes => readArchive(path, options, CHUNK, options.compression !== "none");
    layer = await writeCompressedOnce(target, { open, size: () => size, diffId }, options);
  } else {
    const bytes = tap(readArchive(path, options), undefined, options.onBytes);
    layer = { descriptor: await target.write(bytes, mediaType, { signal: options.signal }), diffId };
  }
  if ((mediaType === mediaTypes.layer ? layer.diffId : layer.descriptor.digest) !== checked) {
    throw new OciError("CONFLICT", `${path} changed while it was being read`);
  }
  options.below?.apply(entries);
  return layer;
}

const REFUSED = [
  { name: "xz", bytes: [0xfd, 0x37, 0x7a, 0x58, 0x5a] },
  { name: "bzip2", bytes: [0x42, 0x5a, 0x68] },
];

/** The media type of the layer that a file is, told by its first bytes. */
async function detectLayerType(path: string): Promise<string> {
  for await (const head of readArchive(path, {}, 16)) {
    const other = REFUSED.find(({ bytes }) => bytes.every((byte, index) => head[index] === byte));
    if (other !== undefined) {
      throw new OciError("UNSUPPORTED", `cannot take ${path} as a layer: it is compressed with ${other.name}`, {
        hint: `Decompress it first; plain tar, gzip and zstd are taken.`,
      });
    }
    const [a, b, c, d] = head;
    if (a === 0x1f && b === 0x8b) return mediaTypes.layerGzip;
    // A frame, or one to skip. RFC 8878, sections 3.1.1 and 3.1.2.
    const isZstd = (a === 0x28 && b === 0xb5 && c === 0x2f) || (((a ?? 0) & 0xf0) === 0x50 && b === 0x2a && c === 0x4d);
    return isZstd && (d === 0xfd || d === 0x18) ? mediaTypes.layerZstd : mediaTypes.layer;
  }
  return mediaTypes.layer;
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
