import {
  type Abortable,
  type CopyEvent,
  type CopyReport,
  copy,
  type Descriptor,
  type Digest,
  formatLocation,
  isManifestType,
  isOciError,
  type Location,
  OciError,
  type Source,
  type Target,
} from "@stowage/layout";
import type { FoundImage } from "./find-images.js";
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
  readonly change?: "created" | "moved" | "unchanged";
  /** What was copied; absent where nothing had to be looked at, and where it failed. */
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

/** Brings one image, with what belongs to it, to where it is to be. Fails as `copy` does, with `DENIED` where it would have to be read from a registry that may not be asked, and with `NOT_FOUND` where something is gone that a lock names. */
export async function syncImage(image: FoundImage, options: SyncImageOptions): Promise<SyncedImage> {
  const { item, descriptor } = image;
  const { places } = options;
  const target = await places.target(image.target);
  const tag = tagOf(image.target);
  const told = { where: item.where, source: image.source, target: formatLocation(image.target), descriptor };
  const change = tag === undefined ? undefined : await changeOf(target, tag, descriptor, options);
  if (change === "unchanged" && item.fast && options.onManifest === undefined) return { ...told, change };
  const report =
    image.locked === undefined
      ? await copyFrom(await image.origin(), target, image, tag, options)
      : await copyLocked(image, target, tag, image.locked, options);
  return { ...told, ...(change === undefined ? {} : { change }), report };
}

/** What is already in the layout at the target is not asked for again, so that a run after a cache was restored needs no network. */
async function copyLocked(
  image: FoundImage,
  target: Target,
  tag: string | undefined,
  locked: ReadonlySet<Digest>,
  options: SyncImageOptions,
): Promise<CopyReport> {
  const layout = await options.places.presentLayout(image.target);
  if (layout !== undefined) {
    try {
      return await copyExactly(layout, target, image, tag, locked, options);
    } catch (error) {
      options.signal?.throwIfAborted();
      if (!isOciError(error, "NOT_FOUND") && !isOciError(error, "MISMATCH")) throw error;
    }
  }
  return copyExactly(await image.origin(), target, image, tag, locked, options);
}

async function copyExactly(
  source: Source,
  target: Target,
  image: FoundImage,
  tag: string | undefined,
  locked: ReadonlySet<Digest>,
  options: SyncImageOptions,
): Promise<CopyReport> {
  const missing = new Set(locked);
  const onManifest = (digest: Digest): void => {
    missing.delete(digest);
  };
  const report = await copyFrom(source, target, image, tag, { ...options, onManifest });
  if (missing.size === 0) return report;
  throw new OciError(
    "NOT_FOUND",
    `${image.source} is not what the lock names any more: ${[...missing].join(", ")} cannot be found`,
    {
      hint: "Referrers may have been removed at the source. --update writes the lock anew.",
    },
  );
}

async function copyFrom(
  source: Source,
  target: Target,
  image: FoundImage,
  tag: string | undefined,
  options: SyncImageOptions,
): Promise<CopyReport> {
  const { item, descriptor, locked } = image;
  return copy(source, target, descriptor, {
    signal: options.signal,
    tags: tag === undefined ? [] : [tag],
    referrers: locked === undefined ? item.referrers : (referrer) => locked.has(referrer.digest),
    forceRecursive: item.forceRecursive,
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

async function changeOf(
  target: Target,
  tag: string,
  descriptor: Descriptor,
  options: Abortable,
): Promise<"created" | "moved" | "unchanged"> {
  try {
    const current = await target.resolve(tag, options);
    return current.digest === descriptor.digest ? "unchanged" : "moved";
  } catch (error) {
    if (isOciError(error, "NOT_FOUND")) return "created";
    throw error;
  }
}
