import { type Abortable, type Bytes, type Descriptor, OciError, type Source } from "@stowage/layout";
import type { Image } from "./image.js";
import { type LayerLimits, MAXIMUM_IMAGE_SIZE, openLayer } from "./open-layer.js";
import { type ReadAhead, readAhead } from "./read-ahead.js";

/** The options of {@link readLayers}. */
export interface ReadLayersOptions extends Abortable, LayerLimits {
  /** Which layers, by their number; the lowest is 0. Default: all. */
  readonly only?: ReadonlySet<number> | undefined;
  /** Told of bytes of tar that were taken in. */
  readonly onBytes?: ((count: number) => void) | undefined;
}

/** A layer under way. */
export interface OpenedLayer {
  /** The lowest is 0. */
  readonly at: number;
  /** Names it in messages. */
  readonly what: string;
  readonly tar: Bytes;
}

/** How many layers are fetched and decompressed at once, and how many bytes of each are kept until it is its turn. */
const LAYERS_AHEAD = 3;
const BYTES_AHEAD = 8 * 1024 ** 2;

/**
 * The layers of an image, one after the other, the lowest first, each verified against its descriptor and diff_id as
 * {@link openLayer} does, while those after it are fetched and decompressed already. Each must be read to its end before
 * the next is asked for. Fails with `LIMIT` where all of them together come to more than `options.size`.
 */
export async function* readLayers(
  source: Pick<Source, "fetch">,
  image: Pick<Image, "layers" | "config">,
  options: ReadLayersOptions = {},
): AsyncGenerator<OpenedLayer, void, undefined> {
  const { layers, config } = image;
  const wanted = [...layers.keys()].filter((at) => options.only?.has(at) ?? true);
  const counted = counter(options);
  const ended = new AbortController();
  const signal = options.signal === undefined ? ended.signal : AbortSignal.any([options.signal, ended.signal]);
  const open = (at: number): OpenedLayer & { readonly tar: ReadAhead } => {
    const layer = layers[at] as Descriptor;
    const what = `layer ${at + 1} of ${layers.length} (${layer.digest})`;
    const tar = openLayer(source, layer, what, { ...options, signal, diffId: config.rootfs.diff_ids[at] });
    return { at, what, tar: readAhead(counted(tar), BYTES_AHEAD) };
  };
  const opened: ReturnType<typeof open>[] = [];
  try {
    for (let done = 0; done < wanted.length; done++) {
      while (opened.length < Math.min(wanted.length - done, LAYERS_AHEAD))
        opened.push(open(wanted[done + opened.length] as number));
      yield opened[0] as OpenedLayer;
      opened.shift();
    }
  } finally {
    // A layer that is slow to come is not waited for where one before it was refused.
    ended.abort();
    await Promise.all(opened.map(({ tar }) => tar.giveUp()));
  }
}

/**
 * Counts the bytes of all layers that pass through it: one small layer may stand in an image thousands of times. Fails with
 * `LIMIT` where they come to more than `options.size`.
 */
export function counter(options: ReadLayersOptions): (bytes: Bytes) => AsyncGenerator<Uint8Array, void, undefined> {
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
