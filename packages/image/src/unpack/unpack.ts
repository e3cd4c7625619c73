import {
  type Abortable,
  type Bytes,
  type Descriptor,
  type Digest,
  OciError,
  type Platform,
  type Source,
} from "@stowage/layout";
import { readImage } from "../image.js";
import { type LayerLimits, MAXIMUM_IMAGE_SIZE, openLayer } from "../open-layer.js";
import { prepareDestination } from "./destination.js";
import type { Written } from "./file-writer.js";
import { LayerWriter, type LayerWriterOptions } from "./layer-writer.js";
import { type ReadAhead, readAhead } from "./read-ahead.js";

/** The options of {@link unpack}. */
export interface UnpackOptions extends LayerWriterOptions, LayerLimits, Abortable {
  /** Which image of an index. Default: Linux on this machine's processor. */
  readonly platform?: Platform | undefined;
  /** Let there be something in the directory; the image goes on top of it. Default: false. */
  readonly force?: boolean | undefined;
  /** Told of bytes of tar that were taken in. */
  readonly onBytes?: ((count: number) => void) | undefined;
}

/** What {@link unpack} did. */
export interface UnpackResult extends Readonly<Written> {
  /** Of the image itself, also where it was found through an index. */
  readonly descriptor: Descriptor;
  readonly directory: string;
  readonly layers: number;
}

/** How many layers are fetched and decompressed at once, and how many bytes of each are kept until it is its turn. */
const LAYERS_AHEAD = 3;
const BYTES_AHEAD = 16 * 1024 ** 2;

/**
 * Unpacks an image into a directory, its layers one onto the other, as {@link LayerWriter} says. Layers are verified while
 * they stream, against their descriptors and diff_ids. A directory that did not exist is there in the end whole or not at
 * all. Nothing is written outside of it, whatever the image holds; hostile names, links, devices and sizes fail with
 * `INVALID` or `LIMIT` and are named. Memory grows with the number of directories, not with the size of the image.
 */
export async function unpack(
  source: Source,
  reference: string | Descriptor,
  directory: string,
  options: UnpackOptions = {},
): Promise<UnpackResult> {
  const image = await readImage(source, reference, options.platform, options);
  const destination = prepareDestination(directory, options.force ?? false);
  const writer = new LayerWriter(destination.path, options);
  try {
    if (destination.isNew) writer.begin();
    await applyLayers(source, image.layers, image.config.rootfs.diff_ids, writer, options);
    await writer.finish();
    destination.commit();
  } catch (error) {
    destination.abandon(() => writer.clear());
    throw error;
  } finally {
    writer.close();
  }
  return { descriptor: image.descriptor, directory, layers: image.layers.length, ...writer.written };
}

async function applyLayers(
  source: Source,
  layers: readonly Descriptor[],
  diffIds: readonly Digest[],
  writer: LayerWriter,
  options: UnpackOptions,
): Promise<void> {
  const count = counter(options);
  const what = (at: number): string => `layer ${at + 1} of ${layers.length} (${(layers[at] as Descriptor).digest})`;
  const open = (at: number): ReadAhead => {
    const bytes = openLayer(source, layers[at] as Descriptor, what(at), { ...options, diffId: diffIds[at] });
    return readAhead(count(bytes), BYTES_AHEAD);
  };
  const opened: ReadAhead[] = [];
  try {
    for (const at of layers.keys()) {
      while (opened.length < Math.min(layers.length - at, LAYERS_AHEAD)) opened.push(open(at + opened.length));
      await writer.apply(opened[0] as ReadAhead, what(at));
      opened.shift();
    }
  } finally {
    await Promise.all(opened.map((bytes) => bytes.giveUp()));
  }
}

/** Counts the bytes of all layers: one small layer may stand in an image thousands of times. */
function counter(options: UnpackOptions): (bytes: Bytes) => AsyncGenerator<Uint8Array, void, undefined> {
  const most = options.size ?? MAXIMUM_IMAGE_SIZE;
  let size = 0;
  return async function* (bytes) {
    for await (const chunk of bytes) {
      size += chunk.byteLength;
      if (size > most) throw new OciError("LIMIT", `the image unpacks to more than ${most} bytes`);
      options.onBytes?.(chunk.byteLength);
      yield chunk;
    }
  };
}
