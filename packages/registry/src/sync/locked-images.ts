import { type Location, parseReference, type Source } from "@stowage/layout";
import { type FoundImage, type FoundItem, type SyncFailure, sourceName } from "./find-images.js";
import type { LockedImage } from "./lock.js";
import type { Places } from "./places.js";
import type { SyncItem } from "./sync-file.js";
import { formatImageName, targetOf } from "./target-of.js";

/** The images of an item as a lock names them. No source is asked, nor opened before it has to be read. */
export function lockedImages(item: SyncItem, at: number, locked: readonly LockedImage[], places: Places): FoundItem {
  const images: FoundImage[] = [];
  const failures: SyncFailure[] = [];
  for (const { name, tag, mediaType, digest, size, manifests } of locked.filter((image) => image.item === at)) {
    const image = { name, tag };
    const source = sourceName(item, image, formatImageName(image));
    try {
      const target = targetOf(item, image);
      const origin = (): Promise<Source> => places.source(locationOf(item, name));
      const descriptor = { mediaType, digest, size };
      images.push({ ...image, at, item, source, target, descriptor, origin, locked: new Set(manifests) });
    } catch (error) {
      failures.push({ where: item.where, source, error });
    }
  }
  return { images, failures };
}

/** The repository, layout or archive that an image of an item is in. */
function locationOf({ source }: SyncItem, name: string): Location {
  if (source.kind === "registry-prefix") return { kind: "registry", reference: parseReference(name) };
  return source;
}
