import {
  type Annotations,
  attestedDigest,
  type Descriptor,
  type Digest,
  formatDescriptor,
  formatPlatform,
  isAttestation,
  isImageConfigType,
  isIndexType,
  MAXIMUM_DEPTH,
  type Manifest,
  normalizePlatform,
  OciError,
  type Platform,
  plainDescriptor,
  platformOfConfig,
  readManifest,
  type Source,
} from "@stowage/layout";

/** Something to list in an index: a manifest or index, and where it is. */
export interface IndexPart {
  readonly source: Source;
  readonly descriptor: Descriptor;
  /** What it is called in messages. */
  readonly name: string;
  /** Used instead of the platform that the image's config names. */
  readonly platform?: Platform | undefined;
}

/** An entry of an index to be, and the part that it comes from. */
export interface IndexEntry {
  readonly entry: Descriptor;
  readonly part: IndexPart;
}

/** The entries that parts become, and the indexes that were taken apart for them. */
export interface ReadParts {
  readonly entries: readonly IndexEntry[];
  readonly dissolved: readonly IndexEntry[];
}

/** The options of {@link readParts}. */
export interface ReadPartsOptions {
  /** Take the entries of an index, and those of indexes in it, instead of the index itself. */
  readonly flatten: boolean;
  /** Added to every entry. */
  readonly annotations?: Annotations | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads what `parts` are and makes entries of them. The platform of an image is the one that its config names; where an
 * entry of an index says more (a variant, features), that is kept. Fails with `CONFLICT` where the two disagree, with
 * `INVALID` where neither names a platform, and as reading does.
 */
export async function readParts(parts: readonly IndexPart[], options: ReadPartsOptions): Promise<ReadParts> {
  const entries: IndexEntry[] = [];
  const dissolved: IndexEntry[] = [];
  for (const part of parts) await readPart(part, plainDescriptor(part.descriptor), 0);
  return { entries, dissolved };

  async function readPart(part: IndexPart, entry: Descriptor, depth: number): Promise<void> {
    options.signal?.throwIfAborted();
    if (depth > MAXIMUM_DEPTH)
      throw new OciError(
        "LIMIT",
        `${part.name}: ${formatDescriptor(entry)} is nested deeper than ${MAXIMUM_DEPTH} levels`,
      );
    // Met before by another way: what is in it is listed already.
    if (dissolved.some((one) => one.entry.digest === entry.digest)) return;
    const { manifest } = await readManifest(part.source, entry, { signal: options.signal });
    if (options.flatten && isIndexType(entry.mediaType) && manifest.kind === "index") {
      dissolved.push({ entry, part });
      for (const child of manifest.manifests) await readPart(part, child, depth + 1);
      return;
    }
    entries.push({ entry: await completed(part, entry, manifest, options), part });
  }
}

/** The entry with the platform and the artifactType of the manifest. */
async function completed(
  part: IndexPart,
  entry: Descriptor,
  manifest: Manifest,
  options: ReadPartsOptions,
): Promise<Descriptor> {
  const { platform: stated, ...rest } = entry;
  const platform = isAttestation(entry) ? stated : await platformFor(part, entry, manifest, options.signal);
  const annotations = { ...entry.annotations, ...options.annotations };
  return {
    ...rest,
    ...(rest.artifactType === undefined && manifest.artifactType !== undefined
      ? { artifactType: manifest.artifactType }
      : {}),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
    ...(platform === undefined ? {} : { platform }),
  };
}

async function platformFor(
  part: IndexPart,
  entry: Descriptor,
  manifest: Manifest,
  signal: AbortSignal | undefined,
): Promise<Platform | undefined> {
  if (part.platform !== undefined) return part.platform;
  const stated = entry.platform;
  if (manifest.kind !== "image" || !isImageConfigType(manifest.config.mediaType)) return stated;
  const own = await platformOfConfig(part.source, manifest.config, { signal });
  if (own === undefined) {
    if (stated !== undefined) return stated;
    throw new OciError("INVALID", `${part.name}: the config of ${entry.digest} names no platform`, {
      hint: "Add it by itself and say its platform: stowage index add LOCATION PART --platform OS/ARCH.",
    });
  }
  if (stated === undefined) return own;
  const [one, other] = [normalizePlatform(own), normalizePlatform(stated)];
  const variantDiffers = own.variant !== undefined && stated.variant !== undefined && one.variant !== other.variant;
  if (one.os !== other.os || one.architecture !== other.architecture || variantDiffers) {
    throw new OciError(
      "CONFLICT",
      `${part.name}: ${entry.digest} is listed for ${formatPlatform(stated)}, but its config says ${formatPlatform(own)}`,
      { hint: "Add it by itself and say which one is right: stowage index add LOCATION PART --platform OS/ARCH." },
    );
  }
  return { ...own, ...stated };
}

/**
 * The entries in an order that does not depend on the order of the parts: images by platform, then what has none, then
 * attestations in the order of the images they are about. The same manifest stands once. Fails with `CONFLICT`, naming
 * both parts, where two images are for one platform; what `existing` holds twice may stay so.
 */
export function arrange(entries: readonly IndexEntry[], existing?: IndexPart): readonly IndexEntry[] {
  const images = new Map<string, IndexEntry>();
  const attestations = new Map<Digest, IndexEntry>();
  for (const one of entries) {
    if (isAttestation(one.entry)) {
      attestations.set(one.entry.digest, one);
      continue;
    }
    const key = platformKey(one.entry);
    const taken = images.get(key);
    if (taken !== undefined && taken.entry.digest !== one.entry.digest) {
      if (existing !== undefined && taken.part === existing && one.part === existing) {
        images.set(`${key} ${one.entry.digest}`, one);
        continue;
      }
      throw new OciError(
        "CONFLICT",
        `two images for ${formatPlatform(one.entry.platform as Platform)}: ${taken.entry.digest} of ${taken.part.name} and ${one.entry.digest} of ${one.part.name}`,
        { hint: "An index holds one image for each platform. Leave one of them out." },
      );
    }
    images.set(key, taken ?? one);
  }
  const first = [...images].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, entry]) => entry);
  const place = new Map(first.map(({ entry }, at) => [entry.digest, at]));
  const placeOf = ({ entry }: IndexEntry): number => place.get(attestedDigest(entry) as Digest) ?? first.length;
  const last = [...attestations.values()].sort(
    (one, other) => placeOf(one) - placeOf(other) || (one.entry.digest < other.entry.digest ? -1 : 1),
  );
  return [...first, ...last];
}

/** Images of one platform have the same key; what has no platform has one of its own, behind all platforms. */
export function platformKey({ platform, digest }: Pick<Descriptor, "platform" | "digest">): string {
  return platform === undefined ? `~ ${digest}` : keyOfPlatform(platform);
}

/** The same for the same platform, whatever it is called. Keys sort as indexes list images. */
export function keyOfPlatform(platform: Platform): string {
  const features = [...(platform["os.features"] ?? [])].sort().join(",");
  return `${formatPlatform(normalizePlatform(platform))} ${features}`;
}
