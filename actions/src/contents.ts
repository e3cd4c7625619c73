import {
  type Abortable,
  type Descriptor,
  formatPlatform,
  IndexedSource,
  platformsOf,
  type Source,
  tree,
  walk,
} from "@stowage/layout";
import { type Bar, graphPicture, sizePicture } from "./picture.js";

/** What an image or index consists of, for outputs and summaries. */
export interface Contents {
  /** `os/architecture[/variant]` to the digest of the image for it. Empty for an artifact. */
  readonly platforms: Readonly<Record<string, string>>;
  /** Bytes of everything in it, what two images share once. */
  readonly size: number;
  /** Of one image its layers, of an index the images in it, with their bytes. */
  readonly parts: readonly Bar[];
}

/** Reads the manifests below a descriptor; no layer. */
export async function contentsOf(source: Source, root: Descriptor, options: Abortable): Promise<Contents> {
  const platforms = new Map<string, string>();
  const images = new Map<string, Bar>();
  const layers: Bar[] = [];
  let size = 0;
  for await (const { descriptor, parent, path } of walk(source, [root], { ...options, referrers: false })) {
    size += descriptor.size;
    const { platform, digest } = descriptor;
    const image = parent === undefined ? undefined : images.get(parent.digest);
    if (image !== undefined) image.bytes += descriptor.size;
    if (parent?.digest === root.digest && path.at(-1)?.startsWith("layers[") === true)
      layers.push({ label: `${layers.length + 1} ${digest.slice(0, 19)}`, bytes: descriptor.size });
    // BuildKit lists attestations as images for an unknown system.
    if (digest === root.digest || platform === undefined || platform.os === "unknown") continue;
    const name = formatPlatform(platform);
    images.set(digest, { label: name, bytes: descriptor.size });
    if (!platforms.has(name)) platforms.set(name, digest);
  }
  if (platforms.size === 0) {
    const [own] = await platformsOf(source, root, options);
    if (own !== undefined) platforms.set(own, root.digest);
  }
  return { platforms: Object.fromEntries(platforms), size, parts: images.size > 0 ? [...images.values()] : layers };
}

/**
 * The pictures of an image for the summary: the sizes of its parts, and what refers to what. A registry would have to be asked again for
 * each manifest, so of what is only there just the sizes are shown.
 */
export async function picturesOf(
  source: Source,
  root: Descriptor,
  { parts }: Contents,
  options: Abortable,
): Promise<string[]> {
  const sizes = sizePicture(parts);
  if (!(source instanceof IndexedSource)) return [sizes];
  return [sizes, graphPicture(await tree(source, root, options))];
}
