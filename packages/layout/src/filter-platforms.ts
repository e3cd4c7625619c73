import type { Abortable, Source } from "./content.js";
import { type Descriptor, descriptorOf, plainDescriptor } from "./model/descriptor.js";
import { OciError } from "./model/errors.js";
import { parseJsonObject } from "./model/json.js";
import { encodeJson } from "./model/manifest.js";
import { annotationKeys, isIndexType } from "./model/media-types.js";
import { formatPlatform, matchesPlatform, type Platform } from "./model/platform.js";
import { contentOf, readManifest } from "./model/verified.js";
import { selectPlatform } from "./select-platform.js";
import { attestedDigest, isAttestation } from "./store/conventions.js";
import { MemoryStore } from "./store/memory.js";
import { Overlay } from "./store/overlay.js";
import { checkDepth } from "./walk.js";

/** What becomes of an index of which only some platforms are copied: it stays as it is, or a new one is made. */
export type IndexChoice = "keep" | "filter";

/** What is left of an image when only some platforms are wanted. */
export interface FilteredImage {
  /** The root to copy. */
  readonly descriptor: Descriptor;
  /** Has what the source has, and the indexes that are new. */
  readonly source: Source;
  /** The manifests that are left out, attestations about them included. */
  readonly leftOut: readonly Descriptor[];
}

/**
 * Chooses the images for some platforms, with the attestations about them, in document order and nested indexes included.
 * With `keep` the index is the same and is sparse. With `filter` it names only what is chosen and, in an annotation, the
 * digest it had before; where everything is chosen it is the same. What names no platform is chosen. Fails with `NOT_FOUND`,
 * naming the platforms there are, where one that is wanted is missing. image-spec v1.1.1, image-index.md.
 */
export async function filterPlatforms(
  source: Source,
  root: Descriptor,
  platforms: readonly Platform[],
  index: IndexChoice,
  options: Abortable = {},
): Promise<FilteredImage> {
  const made = new MemoryStore(source.name);
  const run: Filter = { source, made, platforms, index, options, kept: new Set(), dropped: [], missing: new Set() };
  for (const platform of platforms) run.missing.add(formatPlatform(platform));
  const descriptor = isIndexType(root.mediaType) ? await filterIndex(run, root, []) : await filterImage(run, root);
  const [missing] = platforms.filter((platform) => run.missing.has(formatPlatform(platform)));
  // It finds nothing either, and says what there is.
  if (missing !== undefined) await selectPlatform(source, root, missing, options);
  if (missing !== undefined)
    throw new OciError("NOT_FOUND", `${source.name} has no ${formatPlatform(missing)} in ${root.digest}`);
  const leftOut = run.dropped.filter(({ digest }) => !run.kept.has(digest));
  return {
    descriptor,
    source: descriptor === root ? source : new Overlay(source, made),
    leftOut: [...new Map(leftOut.map((one) => [one.digest, one])).values()],
  };
}

interface Filter {
  readonly source: Source;
  /** The indexes that are new. */
  readonly made: MemoryStore;
  readonly platforms: readonly Platform[];
  readonly index: IndexChoice;
  readonly options: Abortable;
  readonly kept: Set<string>;
  readonly dropped: Descriptor[];
  /** The platforms nothing was found for yet. */
  readonly missing: Set<string>;
}

/** An image that is no index is the image for each platform it runs on. */
async function filterImage(run: Filter, root: Descriptor): Promise<Descriptor> {
  for (const platform of run.platforms) {
    const found = await selectPlatform(run.source, root, platform, run.options).catch((error: unknown) => {
      if (error instanceof OciError && error.code === "NOT_FOUND" && run.platforms.length > 1) return undefined;
      throw error;
    });
    if (found !== undefined) run.missing.clear();
  }
  return root;
}

async function filterIndex(run: Filter, descriptor: Descriptor, path: readonly string[]): Promise<Descriptor> {
  checkDepth(path, descriptor);
  run.kept.add(descriptor.digest);
  const { manifest, bytes } = await readManifest(run.source, descriptor, run.options);
  if (manifest.kind !== "index") return descriptor;
  const images = manifest.manifests.filter((child) => !isAttestation(child) && isWanted(run, child));
  const digests = new Set<string | undefined>(images.map(({ digest }) => digest));
  const kept: Descriptor[] = [];
  for (const child of manifest.manifests) {
    if (isAttestation(child) ? !digests.has(attestedDigest(child)) : !images.includes(child)) {
      run.dropped.push(child);
      continue;
    }
    run.kept.add(child.digest);
    const nested = child.platform === undefined && isIndexType(child.mediaType);
    kept.push(nested ? await filterIndex(run, child, [...path, child.digest]) : child);
  }
  const same = kept.length === manifest.manifests.length && kept.every((child, at) => child === manifest.manifests[at]);
  if (same || run.index === "keep") return descriptor;
  return makeIndex(run, descriptor, bytes, kept);
}

function isWanted(run: Filter, { platform }: Descriptor): boolean {
  if (platform === undefined || platform.os === "unknown") return platform === undefined;
  const matching = run.platforms.filter((wanted) => matchesPlatform(platform, wanted));
  for (const wanted of matching) run.missing.delete(formatPlatform(wanted));
  return matching.length > 0;
}

async function makeIndex(
  run: Filter,
  descriptor: Descriptor,
  bytes: Uint8Array,
  manifests: readonly Descriptor[],
): Promise<Descriptor> {
  const before = parseJsonObject(bytes, descriptor.digest);
  const annotations = {
    ...(before.annotations as Record<string, string> | undefined),
    [annotationKeys.filteredFrom]: descriptor.digest,
  };
  const changed = encodeJson({ ...before, manifests, annotations });
  const { data: _data, ...rest } = descriptor;
  const replacement = { ...rest, ...descriptorOf(changed, descriptor.mediaType) };
  await run.made.push(contentOf(changed, plainDescriptor(replacement)));
  return replacement;
}
