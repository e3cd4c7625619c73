import type { Descriptor } from "@stowage/layout";
import { isNondistributable } from "../base.js";
import type { Layer } from "../compress-layer.js";
import { findCompressed, type LayerContent, openTar, writeTarLayer } from "./layer-content.js";
import type { MutableImage, MutableLayer } from "./mutable-image.js";

/** Annotations about the bytes of a compressed layer, of eStargz and of zstd:chunked. */
const ABOUT_BYTES = /^(?:containerd\.io\/snapshot\/stargz\/|io\.github\.containers\.zstd-chunked\.)/;

/**
 * The image with every layer compressed as `run.compression` says. Their tars, and so the config, stay. Layers that may not be
 * distributed are not there to be compressed and stay.
 */
export async function recompress(run: LayerContent, image: MutableImage): Promise<MutableImage> {
  if (run.compression === undefined) return image;
  const layers: MutableLayer[] = [];
  for (const [at, layer] of image.layers.entries()) {
    const { descriptor, diffId } = layer;
    if (isNondistributable(descriptor) || run.fresh.has(descriptor.digest)) layers.push(layer);
    else {
      const found = await findCompressed(run, diffId);
      const made = found ?? (await writeTarLayer(run, `tar ${diffId}`, descriptor, () => openTar(run, image, at)));
      layers.push({ ...layer, descriptor: { ...made.descriptor, ...annotationsOf(descriptor, made) } });
    }
  }
  return { ...image, layers };
}

function annotationsOf({ digest, annotations = {} }: Descriptor, made: Layer): Pick<Descriptor, "annotations"> {
  const isSame = made.descriptor.digest === digest;
  const kept = Object.entries(annotations).filter(([key]) => isSame || !ABOUT_BYTES.test(key));
  return kept.length === 0 ? {} : { annotations: Object.fromEntries(kept) };
}
