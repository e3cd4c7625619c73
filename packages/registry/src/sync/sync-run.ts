import { type Digest, forEachParallel, formatLocation, type Location, OciError } from "@stowage/layout";
import { type FoundImage, findImages, type SyncFailure } from "./find-images.js";
import { type LockedImage, lockPath, readLock, writeLock } from "./lock.js";
import { lockedImages } from "./locked-images.js";
import { keyOfPlace, type Places } from "./places.js";
import { type PrunedTag, type PruneGroup, prune } from "./prune.js";
import { stagesOf } from "./stages.js";
import type { SyncOptions, SyncReport } from "./sync.js";
import type { SyncFile, SyncItem } from "./sync-file.js";
import { type SyncedImage, syncImage } from "./sync-image.js";
import { groupOf, imageName } from "./target-of.js";

/** Items that are looked into at once. */
const PARALLEL_ITEMS = 16;

/** One run of {@link sync}. */
export class SyncRun {
  readonly #file: SyncFile;
  readonly #options: SyncOptions;
  readonly #places: Places;
  readonly #images: (SyncedImage & { readonly found: FoundImage })[] = [];
  /** By the number of their item; what no item is to blame for comes last. */
  readonly #failures = new Map<number, SyncFailure[]>();
  readonly #failedItems = new Set<SyncItem>();
  /** The images by where they go: no two may have one place. */
  readonly #taken = new Map<string, FoundImage>();
  readonly #locked: LockedImage[] = [];

  constructor(file: SyncFile, options: SyncOptions, places: Places) {
    this.#file = file;
    this.#options = options;
    this.#places = places;
  }

  async run(): Promise<Omit<SyncReport, "salvaged">> {
    const path = this.#options.lockPath ?? lockPath(this.#file);
    const frozen = this.#options.lock === "frozen" ? await readLock(path, this.#file) : undefined;
    for (const stage of stagesOf(this.#file.items)) await this.#runStage(stage, frozen?.lock.images);
    const { pruned, notPruned } = await this.#prune();
    const broken = await this.#places.close();
    const images = this.#images.map(({ found, ...image }): SyncedImage => {
      const error = broken.get(keyOfPlace(found.target));
      return error === undefined || image.error !== undefined ? image : withError(image, error);
    });
    const failures = [...this.#failures].sort(([a], [b]) => a - b).flatMap(([, those]) => those);
    const failed = failures.length > 0 || images.some(isFailed);
    const update = this.#options.lock === "update" && this.#options.dryRun !== true && !failed;
    const items = this.#file.items.map(({ digest }) => digest);
    const lock = update ? await writeLock(path, { items, images: this.#locked }) : frozen;
    return {
      images,
      failures,
      pruned,
      notPruned,
      ...(lock === undefined ? {} : { lock: { path: lock.path, digest: lock.digest } }),
    };
  }

  async #runStage(stage: readonly number[], locked: readonly LockedImage[] | undefined): Promise<void> {
    const found = new Map<number, readonly FoundImage[]>();
    await forEachParallel(stage, PARALLEL_ITEMS, async (at) => {
      const item = this.#file.items[at] as SyncItem;
      // An earlier stage may have written the archive that this one reads.
      if (item.source.kind !== "registry-prefix") await this.#places.finish(item.source);
      const { images, failures } =
        locked === undefined
          ? await findImages(item, at, this.#places, this.#options)
          : lockedImages(item, at, locked, this.#places);
      found.set(at, images);
      this.#fail(at, ...failures);
      // The targets are asked while the sources are.
      for (const { target } of images) this.#places.tagAt(target).catch(() => {});
    });
    const byTarget = new Map<string, FoundImage[]>();
    for (const image of stage.flatMap((at) => found.get(at) ?? [])) {
      if (!this.#take(image)) continue;
      // An archive has one end to write at, and its bytes must not depend on who comes first.
      const key = isArchive(image.target) ? keyOfPlace(image.target) : `image ${byTarget.size}`;
      byTarget.set(key, [...(byTarget.get(key) ?? []), image]);
    }
    const offset = this.#images.length;
    const order = new Map([...byTarget.values()].flat().map((image, at) => [image, offset + at]));
    const limit = this.#options.concurrency ?? this.#file.concurrency;
    await forEachParallel(byTarget.values(), limit, async (images) => {
      for (const image of images) this.#images[order.get(image) as number] = await this.#syncImage(image);
    });
  }

  /** True where the image is to be synced: nobody else has its place. */
  #take(image: FoundImage): boolean {
    const target = formatLocation(image.target);
    const key = hasTag(image.target) ? target : `${target} ${image.descriptor.digest}`;
    const other = this.#taken.get(key);
    if (other === undefined) {
      this.#taken.set(key, image);
      return true;
    }
    if (other.descriptor.digest === image.descriptor.digest) return false;
    const error = new OciError(
      "CONFLICT",
      `${target} would be both ${other.source} (${other.descriptor.digest}) and ${image.source} (${image.descriptor.digest})`,
      { hint: `See ${other.item.where} and ${image.item.where}; rename or except makes them differ.` },
    );
    this.#fail(image.at, { where: image.item.where, source: image.source, error });
    return false;
  }

  #fail(at: number, ...failures: readonly SyncFailure[]): void {
    if (failures.length === 0) return;
    this.#failures.set(at, [...(this.#failures.get(at) ?? []), ...failures]);
    const item = this.#file.items[at];
    if (item !== undefined) this.#failedItems.add(item);
  }

  async #syncImage(found: FoundImage): Promise<SyncedImage & { readonly found: FoundImage }> {
    const manifests = new Set<Digest>();
    const { signal, onEvent, lock, dryRun = false } = this.#options;
    try {
      const image = await syncImage(found, {
        signal,
        onEvent,
        places: this.#places,
        dryRun,
        ...(lock === "update" ? { onManifest: (digest) => manifests.add(digest) } : {}),
      });
      if (dryRun) await this.#expect(found, image);
      if (lock === "update") this.#locked.push(lockedImage(found, [...manifests]));
      return { ...image, found };
    } catch (error) {
      signal?.throwIfAborted();
      const { item, source, target, descriptor } = found;
      return { where: item.where, source, target: formatLocation(target), descriptor, error, found };
    }
  }

  /** What an item that comes later may read. Offline, what is there already is all that can be read. */
  async #expect(found: FoundImage, { report }: SyncedImage): Promise<void> {
    const origin = await found.origin().catch(() => undefined);
    if (origin !== undefined)
      this.#places.expect(found.target, { descriptor: report?.descriptor ?? found.descriptor, origin });
  }

  async #prune(): Promise<Pick<SyncReport, "pruned" | "notPruned">> {
    const groups = new Map<string, PruneGroup & { asked: boolean; spared: boolean; readonly wanted: Set<string> }>();
    for (const { found, error } of this.#images) {
      const { target, item } = found;
      const tag = target.kind === "registry" ? target.reference.tag : target.tag;
      if (tag === undefined || isArchive(target)) continue;
      const key = groupOf(target);
      const name = target.kind === "registry" ? "" : imageName(tag).name;
      const group = groups.get(key) ?? {
        location: withoutTag(target),
        name,
        wanted: new Set(),
        asked: false,
        spared: false,
      };
      groups.set(key, group);
      group.wanted.add(tag);
      group.asked ||= item.prune || this.#options.prune === true;
      group.spared ||= error !== undefined || [...this.#failedItems].some((failed) => mayWrite(failed, target));
    }
    const asked = [...groups.values()].filter((group) => group.asked);
    const pruned: PrunedTag[] = [];
    const notPruned = asked.filter(({ spared }) => spared).map(({ location, name }) => shownGroup(location, name));
    for (const group of asked.filter(({ spared }) => !spared)) {
      try {
        const { signal, dryRun = false } = this.#options;
        pruned.push(...(await prune(group, this.#places, { signal, dryRun })));
      } catch (error) {
        this.#options.signal?.throwIfAborted();
        const source = shownGroup(group.location, group.name);
        this.#fail(this.#file.items.length, { where: this.#file.path, source, error });
      }
    }
    return { pruned, notPruned };
  }
}

/** True where the item failed, or a part of it did. */
function isFailed(image: SyncedImage): boolean {
  return image.error !== undefined || (image.report?.failures.length ?? 0) > 0;
}

function withError({ report: _report, change: _change, ...image }: SyncedImage, error: unknown): SyncedImage {
  return { ...image, error };
}

function shownGroup(location: Location, name: string): string {
  return name === "" ? formatLocation(location) : `${formatLocation(location)} (${name})`;
}

function isArchive(location: Location): boolean {
  return location.kind === "oci-archive" || location.kind === "docker-archive";
}

function hasTag(location: Location): boolean {
  return (location.kind === "registry" ? location.reference.tag : location.tag) !== undefined;
}

function withoutTag(location: Location): Location {
  if (location.kind !== "registry") return { kind: location.kind, path: location.path };
  const { host, repository } = location.reference;
  return { kind: "registry", reference: { host, repository } };
}

/** True where the images of an item, which could not all be found, may go to the same repository or layout. */
function mayWrite({ target: place }: SyncItem, target: Location): boolean {
  if (place === undefined) return target.kind === "registry";
  if (place.kind === "registry-prefix") return target.kind === "registry" && target.reference.host === place.host;
  return keyOfPlace(place) === keyOfPlace(target);
}

function lockedImage({ at, name, tag, descriptor }: FoundImage, manifests: readonly Digest[]): LockedImage {
  const { mediaType, digest, size } = descriptor;
  return { item: at, name, ...(tag === undefined ? {} : { tag }), mediaType, digest, size, manifests };
}
