import {
  type Abortable,
  type Descriptor,
  type Digest,
  forEachParallel,
  formatLocation,
  formatReference,
  isIndexType,
  type Location,
  OciError,
  parseLegacyTag,
  readManifest,
  type Source,
} from "@stowage/layout";
import { createdTime } from "./created-time.js";
import type { Places } from "./places.js";
import { exactNames, select } from "./selection.js";
import { placeName, type SourceRepository, sourceRepositories } from "./source-repositories.js";
import type { SyncItem } from "./sync-file.js";
import { type ImageName, imageName, targetOf } from "./target-of.js";

/** An image that an item of a sync file is about. */
export interface FoundImage extends ImageName {
  /** The number of the item in the file. */
  readonly at: number;
  readonly item: SyncItem;
  /** What it is called where it comes from. */
  readonly source: string;
  readonly target: Location;
  readonly descriptor: Descriptor;
  /** Where it is read: the source, or offline the layout at the target. */
  readonly origin: () => Promise<Source>;
  /** The manifests that a lock names for it: these go along, and none may be missing. */
  readonly locked?: ReadonlySet<Digest>;
}

/** What kept an item, or a part of it, from being synced. */
export interface SyncFailure {
  /** Where the item stands: `sync.yaml:4:5`. */
  readonly where: string;
  /** The source, as far as it is known by then. */
  readonly source: string;
  readonly error: unknown;
}

/** What an item is about. */
export interface FoundItem {
  readonly images: readonly FoundImage[];
  readonly failures: readonly SyncFailure[];
}

/** Tags that are resolved at once, of one repository. */
const PARALLEL_RESOLVES = 16;
/** Repositories that are looked into at once. */
const PARALLEL_REPOSITORIES = 8;
const MAXIMUM_IMAGES = 200_000;

/**
 * Finds the images of an item: lists what has to be listed, and asks what each tag stands for. What cannot be found is in
 * `failures`, and so is that nothing was. Fails itself only with the signal's reason.
 */
export function findImages(item: SyncItem, at: number, places: Places, options: Abortable): Promise<FoundItem> {
  return new Search(item, at, places, options).run();
}

class Search {
  readonly #item: SyncItem;
  readonly #at: number;
  readonly #places: Places;
  readonly #options: Abortable;
  readonly #images: FoundImage[] = [];
  readonly #failures: SyncFailure[] = [];

  constructor(item: SyncItem, at: number, places: Places, options: Abortable) {
    this.#item = item;
    this.#at = at;
    this.#places = places;
    this.#options = options;
  }

  async run(): Promise<FoundItem> {
    const name = placeName(this.#item.source);
    await this.#attempt(name, async () => {
      const repositories = await sourceRepositories(this.#item, this.#places, this.#options);
      if (namedImage(this.#item) === undefined) this.#checkOneTarget(repositories);
      await forEachParallel(repositories, PARALLEL_REPOSITORIES, (repository) =>
        this.#attempt(repository.name === "" ? name : repository.name, () => this.#imagesOf(repository)),
      );
      if (this.#images.length === 0 && this.#failures.length === 0)
        throw new OciError("NOT_FOUND", `nothing in ${name} is selected`);
    });
    const order = (image: FoundImage): string => formatLocation(image.target);
    return { images: this.#images.sort((a, b) => (order(a) < order(b) ? -1 : 1)), failures: this.#failures };
  }

  async #imagesOf(repository: SourceRepository): Promise<void> {
    const named = namedImage(this.#item);
    if (named !== undefined)
      return this.#take(repository, named.tag, named.reference ?? repository.reference(named.tag ?? ""));
    const { tags: selection } = this.#item;
    const exact = selection === undefined ? undefined : exactNames(selection);
    const listed =
      exact === undefined ? (await repository.list()).filter((tag) => parseLegacyTag(tag) === undefined) : [];
    const created = async (tag: string): Promise<number> => {
      const descriptor = await repository.source.resolve(repository.reference(tag), this.#options);
      return createdTime(repository.source, descriptor, this.#options);
    };
    const tags = exact ?? (selection === undefined ? listed : await select(selection, listed, created));
    if (this.#images.length + tags.length > MAXIMUM_IMAGES)
      throw new OciError("LIMIT", `more than ${MAXIMUM_IMAGES} images are selected`);
    const before = this.#images.length;
    await forEachParallel(tags, PARALLEL_RESOLVES, (tag) => this.#take(repository, tag, repository.reference(tag)));
    if (this.#item.legacyTags) await this.#legacyTags(repository, this.#images.slice(before));
  }

  /** cosign's older tags, for the images and for the platforms of those that are indexes. */
  async #legacyTags(repository: SourceRepository, images: readonly FoundImage[]): Promise<void> {
    const legacy = (await repository.list()).filter((tag) => parseLegacyTag(tag) !== undefined);
    if (legacy.length === 0) return;
    const subjects = new Set<Digest>();
    for (const { descriptor } of images) {
      subjects.add(descriptor.digest);
      if (!isIndexType(descriptor.mediaType)) continue;
      const { manifest } = await readManifest(repository.source, descriptor, this.#options);
      if (manifest.kind === "index") for (const child of manifest.manifests) subjects.add(child.digest);
    }
    const wanted = legacy.filter((tag) => subjects.has((parseLegacyTag(tag) as { subject: Digest }).subject));
    const known = new Set(images.map(({ tag }) => tag));
    const missing = wanted.filter((tag) => !known.has(tag));
    await forEachParallel(missing, PARALLEL_RESOLVES, (tag) => this.#take(repository, tag, repository.reference(tag)));
  }

  async #take(repository: SourceRepository, tag: string | undefined, reference: string): Promise<void> {
    const image = { name: repository.name, tag };
    const source = sourceName(this.#item, image, reference);
    await this.#attempt(source, async () => {
      const target = targetOf(this.#item, image);
      const descriptor = await repository.source.resolve(reference, this.#options);
      const origin = async (): Promise<Source> => repository.source;
      this.#images.push({ ...image, at: this.#at, item: this.#item, source, target, descriptor, origin });
    });
  }

  /** Images of several repositories have one place in a registry only where the item says which. */
  #checkOneTarget(repositories: readonly SourceRepository[]): void {
    if (this.#item.repositories !== undefined || this.#item.target?.kind !== "registry" || repositories.length < 2)
      return;
    throw new OciError(
      "CONFLICT",
      `${placeName(this.#item.source)} holds ${repositories.length} repositories, and the target is one`,
      {
        hint: 'Write repositories: "**" to put them all below the target, or rename in place of target.',
      },
    );
  }

  async #attempt(source: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#options.signal?.throwIfAborted();
      this.#failures.push({ where: this.#item.where, source, error });
    }
  }
}

/** The one image that the source of an item names; undefined where it names none. Without a reference it goes by its tag. */
function namedImage({
  source,
}: SyncItem): { readonly tag: string | undefined; readonly reference?: string } | undefined {
  if (source.kind === "registry-prefix") return undefined;
  if (source.kind === "registry") {
    const { tag, digest } = source.reference;
    return tag === undefined && digest === undefined
      ? undefined
      : { tag, ...(digest === undefined ? {} : { reference: digest }) };
  }
  const reference = source.digest ?? source.tag;
  if (reference === undefined) return undefined;
  return { tag: source.tag === undefined ? undefined : (imageName(source.tag).tag ?? "latest"), reference };
}

/** What an image is called where it comes from, in full. */
export function sourceName(item: SyncItem, { name, tag }: ImageName, reference: string): string {
  const { source } = item;
  if (source.kind === "registry-prefix") return `${name}:${tag}`;
  if (namedImage(item) !== undefined) return formatLocation(source);
  if (source.kind === "registry")
    return formatReference({ ...source.reference, ...(tag === undefined ? {} : { tag }) });
  return formatLocation({ kind: source.kind, path: source.path, tag: reference });
}
