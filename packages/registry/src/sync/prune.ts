import {
  type Abortable,
  type Digest,
  IndexedTarget,
  isIndexType,
  isManifestType,
  isOciError,
  type Location,
  OciError,
  parseLegacyTag,
  readManifest,
  type Target,
} from "@stowage/layout";
import { Repository } from "../repository.js";
import type { Places } from "./places.js";
import { formatImageName, type ImageName, imageName } from "./target-of.js";

/** One repository at a target, or the entries of one name in a layout: what it is to hold, and nothing else. */
export interface PruneGroup {
  /** Without a tag. */
  readonly location: Location;
  /** Of the entries of a layout; empty for those that only have a tag, and for a registry. */
  readonly name: string;
  /** The tags that stay, as the target has them. */
  readonly wanted: ReadonlySet<string>;
}

/** A tag that is no longer selected. */
export interface PrunedTag {
  readonly target: string;
  /** As the target has it: in a layout it may be a full image name. */
  readonly tag: string;
  /** What it stands for. */
  readonly digest?: Digest;
  /** Why it is still there. */
  readonly error?: unknown;
}

/**
 * Removes the tags of a group that are not wanted, or in a dry run says which these are. Signatures and the like under
 * cosign's older tags stay with what they are about and go with it; where that is neither, they stay. Lists of referrers are
 * no tags, and stay. Content is not removed. Fails where the tags cannot be listed.
 */
export async function prune(
  group: PruneGroup,
  places: Places,
  options: Abortable & { readonly dryRun: boolean },
): Promise<readonly PrunedTag[]> {
  const target = await places.target(group.location);
  const present = await presentImages(target, group.name, options);
  const [wanted, unwanted] = partition(present.map(formatImageName), (entry) => group.wanted.has(entry));
  const [accompanying, images] = partition(unwanted, (entry) => parseLegacyTag(entry) !== undefined);
  const going = new Set(accompanying.length === 0 ? [] : await digestsOf(target, images, options));
  if (going.size > 0) for (const digest of await digestsOf(target, wanted, options)) going.delete(digest);
  const orphans = accompanying.filter((entry) => going.has((parseLegacyTag(entry) as { subject: Digest }).subject));
  const removed: PrunedTag[] = [];
  for (const tag of [...images, ...orphans]) removed.push(await remove(target, tag, options));
  return removed;
}

/** The tags of the group that are there. A repository that is not there has none: before the first run it would be made. */
async function presentImages(target: Target, name: string, options: Abortable): Promise<readonly ImageName[]> {
  const present: ImageName[] = [];
  try {
    for await (const entry of target.tags(options)) {
      const image = target instanceof Repository ? { name: "", tag: entry } : imageName(entry);
      if (image.name === name && formatImageName(image) === entry) present.push(image);
    }
  } catch (error) {
    if (!isOciError(error, "NOT_FOUND")) throw error;
  }
  return present;
}

async function remove(
  target: Target,
  tag: string,
  options: Abortable & { readonly dryRun: boolean },
): Promise<PrunedTag> {
  const entry = { target: target.name, tag };
  try {
    const { digest } = await target.resolve(tag, options);
    if (options.dryRun) return { ...entry, digest };
    if (!(target instanceof Repository) && !(target instanceof IndexedTarget))
      throw new OciError("UNSUPPORTED", `${target.name} cannot remove a tag`);
    await target.untag(tag, options);
    return { ...entry, digest };
  } catch (error) {
    options.signal?.throwIfAborted();
    return { ...entry, error };
  }
}

/** What the tags stand for, and the manifests in those that are indexes. A tag that stands for nothing that can be read adds nothing. */
async function digestsOf(target: Target, tags: readonly string[], options: Abortable): Promise<readonly Digest[]> {
  const digests: Digest[] = [];
  for (const tag of tags) {
    try {
      const descriptor = await target.resolve(tag, options);
      digests.push(descriptor.digest);
      if (!isIndexType(descriptor.mediaType)) continue;
      const { manifest } = await readManifest(target, descriptor, options);
      if (manifest.kind !== "index") continue;
      digests.push(
        ...manifest.manifests.filter((child) => isManifestType(child.mediaType)).map(({ digest }) => digest),
      );
    } catch (error) {
      if (!isOciError(error, "NOT_FOUND")) throw error;
    }
  }
  return digests;
}

function partition<T>(items: readonly T[], test: (item: T) => boolean): readonly [readonly T[], readonly T[]] {
  return [items.filter(test), items.filter((item) => !test(item))];
}
