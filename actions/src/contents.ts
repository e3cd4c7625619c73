import { type Abortable, type Descriptor, formatPlatform, platformsOf, type Source, walk } from "@stowage/layout";

/** What an image or index consists of, for outputs and summaries. */
export interface Contents {
  /** `os/architecture[/variant]` to the digest of the image for it. Empty for an artifact. */
  readonly platforms: Readonly<Record<string, string>>;
  /** Bytes of everything in it, what two images share once. */
  readonly size: number;
}

/** Reads the manifests below a descriptor; no layer. */
export async function contentsOf(source: Source, root: Descriptor, options: Abortable): Promise<Contents> {
  const platforms = new Map<string, string>();
  let size = 0;
  for await (const { descriptor } of walk(source, [root], { ...options, referrers: false })) {
    size += descriptor.size;
    const { platform, digest } = descriptor;
    // BuildKit lists attestations as images for an unknown system.
    if (digest === root.digest || platform === undefined || platform.os === "unknown") continue;
    const name = formatPlatform(platform);
    if (!platforms.has(name)) platforms.set(name, digest);
  }
  if (platforms.size === 0) {
    const [own] = await platformsOf(source, root, options);
    if (own !== undefined) platforms.set(own, root.digest);
  }
  return { platforms: Object.fromEntries(platforms), size };
}
