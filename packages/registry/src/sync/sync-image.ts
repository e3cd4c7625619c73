import {
  type Abortable,
  type CopyEvent,
  type CopyReport,
  copy,
  type Descriptor,
  type Digest,
  formatLocation,
  IndexedTarget,
  isIndexType,
  isManifestType,
  isOciError,
  type Location,
  OciError,
  plan,
  refName,
  type Source,
  type TagChange,
  type Target,
} from "@stowage/layout";
import type { FoundImage } from "./find-images.js";
import type { TagState } from "./known-tags.js";
import type { Places } from "./places.js";

/** What became of one image. */
export interface SyncedImage {
  /** Where its item stands: `sync.yaml:4:5`. */
  readonly where: string;
  readonly source: string;
  readonly target: string;
  /** What the source calls so. */
  readonly descriptor: Descriptor;
  /** What becomes of the tag at the target. Absent where the target gets no tag, or the image failed. */
  readonly change?: TagChange["change"];
  /** What was copied, or in a dry run would be; absent where nothing had to be looked at, and where it failed. */
  readonly report?: CopyReport;
  /** Why it failed. */
  readonly error?: unknown;
}

/** How images are synced. */
export interface SyncImageOptions extends Abortable {
  readonly places: Places;
  readonly onEvent?: ((event: CopyEvent) => void) | undefined;
  /** Say what would be done, and do nothing. */
  readonly dryRun: boolean;
  /** Told the manifests that belong to the image. */
  readonly onManifest?: ((digest: Digest) => void) | undefined;
}

/** The same, with what the tag stands for at a registry. */
interface CopyImageOptions extends SyncImageOptions {
  readonly state: TagState | undefined;
}

/** Brings one image, with what belongs to it, to where it is to be. Fails as `copy` does, with `DENIED` where it would have to be read from a registry that may not be asked, and with `NOT_FOUND` where something is gone that a lock names. */
export async function syncImage(image: FoundImage, options: SyncImageOptions): Promise<SyncedImage> {
  const { item, descriptor } = image;
  const { places } = options;
  const target = await places.target(image.target);
  const tag = tagOf(image.target);
  const told = { where: item.where, source: image.source, target: formatLocation(image.target), descriptor };
  const state = await places.tagAt(image.target);
  if (await isSettled(image, target, { tag, state }, options)) {
    options.onManifest?.(descriptor.digest);
    return { ...told, change: "unchanged" };
  }
  const report =
    image.locked === undefined
      ? await copyFrom(await image.origin(), target, image, { ...options, state })
      : await copyLocked(image, target, image.locked, { ...options, state });
  const change = report.tagged.find((one) => one.tag === tag)?.change;
  return { ...told, ...(change === undefined ? {} : { change }), report };
}

/**
 * True where the tag at the target is right and nothing further has to be looked at: a registry that has a manifest has all
 * that it points at, and the source has no referrers that could go along.
 */
async function isSettled(
  { item, descriptor, locked, origin, tag: sourceTag }: FoundImage,
  target: Target,
  { tag, state }: { readonly tag: string | undefined; readonly state: TagState | undefined },
  options: SyncImageOptions,
): Promise<boolean> {
  // A lock needs to know of the platforms, and says which referrers there have to be.
  const parts = isIndexType(descriptor.mediaType);
  const needsParts = locked !== undefined || (options.onManifest !== undefined && (parts || item.fast));
  if (tag === undefined || needsParts || item.forceRecursive || item.platforms.length > 0) return false;
  const shallow = item.fast || (target.closed && item.referrers === "none");
  if (!shallow && (!target.closed || parts)) return false;
  if (!(await standsFor(target, tag, state, descriptor, options))) return false;
  if (shallow) return true;
  const source = await origin();
  const allTags = async (): Promise<ReadonlySet<string> | undefined> => {
    const all = await options.places.tags.all(source);
    // A list without the tag that is there is not all of it.
    return sourceTag !== undefined && all?.has(sourceTag) === true ? all : undefined;
  };
  for await (const _referrer of source.referrers(descriptor, { signal: options.signal, allTags })) return false;
  return true;
}

/** What is already in the layout at the target is not asked for again, so that a run after a cache was restored needs no network. */
async function copyLocked(
  image: FoundImage,
  target: Target,
  locked: ReadonlySet<Digest>,
  options: CopyImageOptions,
): Promise<CopyReport> {
  const layout = await options.places.presentLayout(image.target);
  try {
    const there = layout === undefined ? undefined : await rootThere(layout, image, locked, options);
    if (layout !== undefined && there !== undefined) return await copyExactly(layout, target, there, locked, options);
  } catch (error) {
    options.signal?.throwIfAborted();
    if (!isOciError(error, "NOT_FOUND") && !isOciError(error, "MISMATCH")) throw error;
  }
  return copyExactly(await image.origin(), target, image, locked, options);
}

/** The image as the layout at the target has it: where only some platforms were copied it may be another manifest than at the source. */
async function rootThere(
  layout: Source,
  image: FoundImage,
  locked: ReadonlySet<Digest>,
  options: Abortable,
): Promise<FoundImage | undefined> {
  const tag = tagOf(image.target);
  const there = await layout.resolve(tag ?? image.descriptor.digest, options);
  if (there.digest === image.descriptor.digest) return image;
  if (image.item.platforms.length === 0 || !locked.has(there.digest)) return undefined;
  return { ...image, descriptor: there, item: { ...image.item, platforms: [] } };
}

async function copyExactly(
  source: Source,
  target: Target,
  image: FoundImage,
  locked: ReadonlySet<Digest>,
  options: CopyImageOptions,
): Promise<CopyReport> {
  const missing = new Set(locked);
  const onManifest = (digest: Digest): void => {
    missing.delete(digest);
  };
  const report = await copyFrom(source, target, image, { ...options, onManifest });
  if (missing.size === 0) return report;
  throw new OciError(
    "NOT_FOUND",
    `${image.source} is not what the lock names any more: ${[...missing].join(", ")} cannot be found`,
    { hint: "Referrers may have been removed at the source. --update writes the lock anew." },
  );
}

function copyFrom(
  source: Source,
  target: Target,
  image: FoundImage,
  { state, ...options }: CopyImageOptions,
): Promise<CopyReport> {
  const { item, descriptor, locked } = image;
  const tag = tagOf(image.target);
  const transfer = options.dryRun ? plan : copy;
  return transfer(source, target, descriptor, {
    signal: options.signal,
    tags: tag === undefined ? [] : [tag],
    noClobber: item.noClobber,
    tagsBefore: tag === undefined || state === undefined ? undefined : new Map([[tag, state.digest]]),
    targetIsNew: state?.isNew,
    referrers: locked === undefined ? item.referrers : (referrer) => locked.has(referrer.digest),
    // They are images of their own here, found once for all of a repository, and renamed with the others.
    legacyTags: false,
    platforms: item.platforms,
    index: item.index,
    forceRecursive: item.forceRecursive,
    external: item.includeExternal ? (layer, how) => options.places.external(layer, how) : undefined,
    arrivals: options.places.arrivals(image.target),
    onEvent: (event) => {
      if (event.type === "done" && isManifestType(event.descriptor.mediaType))
        options.onManifest?.(event.descriptor.digest);
      options.onEvent?.(event);
    },
  });
}

function tagOf(location: Location): string | undefined {
  return location.kind === "registry" ? location.reference.tag : location.tag;
}

async function standsFor(
  target: Target,
  tag: string,
  state: TagState | undefined,
  { digest }: Descriptor,
  options: Abortable,
): Promise<boolean> {
  // A layout finds v1 as the end of a longer name, too.
  if (target instanceof IndexedTarget)
    return (await target.index(options)).manifests.some((entry) => refName(entry) === tag && entry.digest === digest);
  return state?.digest === digest;
}
