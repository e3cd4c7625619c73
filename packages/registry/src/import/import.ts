import {
  type Abortable,
  ArchiveSource,
  type CopyEvent,
  type CopyOptions,
  type CopyReport,
  checkBases,
  copy,
  type Delta,
  type Descriptor,
  damagedParts,
  deltaBase,
  type ExportedImage,
  formatLocation,
  fullName,
  IndexedSource,
  imagesIn,
  type LayoutOptions,
  type Location,
  OciError,
  plan,
  type Source,
  VerifyingTarget,
  withContext,
} from "@stowage/layout";
import type { RegistryClient } from "../client.js";
import type { RenameRule } from "../sync/pattern.js";
import { Places } from "../sync/places.js";
import type { SyncPlace } from "../sync/sync-file.js";
import { targetOf } from "../sync/target-of.js";

/** The options of {@link importImages}. */
export interface ImportOptions
  extends Abortable,
    Pick<
      CopyOptions,
      "have" | "noClobber" | "referrers" | "legacyTags" | "platforms" | "index" | "external" | "concurrency"
    > {
  readonly client: RegistryClient;
  readonly layout?: LayoutOptions | undefined;
  /** What images are called instead; the first rule that is about a name counts. Without a target they make whole references. */
  readonly rename?: readonly RenameRule[] | undefined;
  /** Say what would be done, and do nothing. The archive is read even so. Default: false. */
  readonly dryRun?: boolean | undefined;
  /** Told what happens while the archive is checked, then while it is copied. */
  readonly onEvent?: ((event: CopyEvent, phase: "check" | "copy") => void) | undefined;
}

/** What became of one image of an archive. */
export interface ImportedImage {
  /** What the archive calls it; undefined where it has no name there. */
  readonly name: string | undefined;
  /** Where it went. */
  readonly target: string;
  readonly report: CopyReport;
}

/** What an import did. */
export interface ImportReport {
  readonly source: string;
  /** In the order of the archive. */
  readonly images: readonly ImportedImage[];
}

interface Destination {
  readonly image: ExportedImage;
  readonly name: string | undefined;
  readonly location: Location;
}

/**
 * Copies every image of an archive, under each of its names and with what belongs to it, to where the target and the rules
 * say. All that is to be copied is read and verified first: where a part of it is missing or damaged, this fails and nothing
 * has been written anywhere. So it does where the archive is a delta and a target lacks what it needs. Of an archive in parts
 * everything is brought that can be had, and it fails then, naming the parts and blobs that are still needed. Fails with `CONFLICT` where two images would have one name, with `NOT_FOUND` where the archive is
 * empty or no rule is about a name, and as `copy` does.
 */
export async function importImages(
  source: IndexedSource,
  target: SyncPlace | undefined,
  options: ImportOptions,
): Promise<ImportReport> {
  const destinations = await found(source, target, options);
  const places = new Places({ ...options, dryRun: options.dryRun === true, offline: false, allowedHosts: [] });
  try {
    const images: ImportedImage[] = [];
    let damaged: unknown;
    for (const destination of destinations) {
      try {
        images.push(await importOne(destination, places, options));
      } catch (error) {
        // A damaged part costs only what is in it. Each time it is said of all parts what is to be fetched again.
        if (damagedParts(error) === undefined) throw error;
        damaged = error;
      }
    }
    if (damaged !== undefined) throw damaged;
    for (const error of (await places.close()).values()) throw error;
    return { source: source.name, images };
  } catch (error) {
    await places.discard();
    throw error;
  }
}

/** Where each image goes, after all of them were read. */
async function found(
  source: IndexedSource,
  target: SyncPlace | undefined,
  options: ImportOptions,
): Promise<readonly Destination[]> {
  try {
    const destinations = destinationsOf(source, await imagesIn(source, options), target, options);
    await checkEachBase(destinations, options);
    // An archive in parts is read once: what it has goes to the target at once, and is not read again the next time.
    if (!(source instanceof ArchiveSource && source.isInParts)) await check(destinations, options);
    return destinations;
  } catch (error) {
    options.signal?.throwIfAborted();
    throw withContext(error, `${source.name} is not imported`);
  }
}

function destinationsOf(
  source: Source,
  images: readonly ExportedImage[],
  target: SyncPlace | undefined,
  options: ImportOptions,
): readonly Destination[] {
  if (images.length === 0) throw new OciError("NOT_FOUND", `${source.name} holds no image`);
  const taken = new Map<string, Descriptor>();
  const found: Destination[] = [];
  for (const image of images) {
    for (const name of image.names.length === 0 ? [undefined] : image.names) {
      const location = locationOf(image, name, target, options);
      const text = formatLocation(location);
      const other = namesImage(location) ? taken.get(text) : undefined;
      if (other !== undefined && other.digest !== image.descriptor.digest)
        throw new OciError("CONFLICT", `two images of ${source.name} would be called ${text}`, {
          hint: "Rename one of them, or leave the tag out of the target.",
        });
      taken.set(text, image.descriptor);
      found.push({ image, name, location });
    }
  }
  checkOneRepository(found, target);
  return found;
}

function locationOf(
  image: ExportedImage,
  name: string | undefined,
  target: SyncPlace | undefined,
  { rename = [] }: ImportOptions,
): Location {
  const source: SyncPlace = { kind: "oci-archive", path: "" };
  if (name === undefined) {
    if (target !== undefined && target.kind !== "registry-prefix") return target;
    throw new OciError(
      "INVALID",
      `${image.descriptor.digest} has no name in the archive, so it has no place in a registry`,
      {
        hint: "Import it into one repository, as reg.local/app:v1.",
      },
    );
  }
  const full = fullName(name);
  const repository = repositoryOf(name);
  if (target === undefined || target.kind === "registry" || target.kind === "registry-prefix") {
    if (full === undefined && target?.kind !== "registry")
      throw new OciError(
        "INVALID",
        `${JSON.stringify(name)} is a tag without a repository, so it has no place of its own in a registry`,
        { hint: "Import it into one repository, as reg.local/app." },
      );
    const tag = full === undefined ? name : full.tag;
    return targetOf({ source, target, rename, names: "full" }, { name: repository, tag });
  }
  if (target.tag !== undefined) return target;
  const renamed = rename.map((rule) => rule.apply(repository)).find((one) => one !== undefined);
  if (full === undefined || renamed === undefined) return { ...target, tag: name };
  return {
    ...target,
    tag: full.tag === undefined ? `${renamed}@${image.descriptor.digest}` : `${renamed}:${full.tag}`,
  };
}

function namesImage(location: Location): boolean {
  return (location.kind === "registry" ? location.reference.tag : location.tag) !== undefined;
}

function repositoryOf(name: string | undefined): string {
  const full = name === undefined ? undefined : fullName(name);
  return full === undefined ? "" : `${full.host}/${full.repository}`;
}

/** Images of several repositories would be mixed up in one. */
function checkOneRepository(found: readonly Destination[], target: SyncPlace | undefined): void {
  if (target?.kind !== "registry") return;
  const names = new Set(found.map(({ name }) => repositoryOf(name)));
  if (names.size < 2) return;
  throw new OciError("CONFLICT", `the archive holds ${names.size} repositories, and ${formatLocation(target)} is one`, {
    hint: `Write ${target.reference.host}/ to put them all below it, or --rename rules without a target.`,
  });
}

/** Makes sure that each target has what a delta leaves to it, before anything is made or written anywhere. */
async function checkEachBase(destinations: readonly Destination[], options: ImportOptions): Promise<void> {
  if (destinations.every(({ image }) => deltaOf(image.source) === undefined)) return;
  const places = new Places({ ...options, dryRun: true, offline: false, allowedHosts: [] });
  try {
    for (const { image, location } of destinations)
      await checkBases(image.source, await places.target(location), image.descriptor, copyOptions(options));
  } finally {
    await places.discard();
  }
}

function deltaOf(source: Source): Delta | undefined {
  return source instanceof IndexedSource ? source.delta : undefined;
}

/** Reads all that will be copied. What is missing or damaged is found before anything is written. */
async function check(destinations: readonly Destination[], options: ImportOptions): Promise<void> {
  const verifying = new VerifyingTarget("verification");
  for (const image of new Set(destinations.map((destination) => destination.image))) {
    const report = await copy(image.source, verifying, image.descriptor, {
      ...copyOptions(options),
      // Layers that are fetched from elsewhere are no part of the archive.
      external: undefined,
      have: undefined,
      ...sinceItsBase(image.source),
      onEvent: (event) => options.onEvent?.(event, "check"),
    });
    for (const { error } of report.failures) throw error;
  }
}

/** What a delta leaves out is not there to be read. */
function sinceItsBase(source: Source): Pick<CopyOptions, "since"> {
  const delta = deltaOf(source);
  return delta === undefined ? {} : { since: [deltaBase(delta, source.name)] };
}

async function importOne(destination: Destination, places: Places, options: ImportOptions): Promise<ImportedImage> {
  const { image, name, location } = destination;
  const tag = location.kind === "registry" ? location.reference.tag : location.tag;
  const transfer = options.dryRun === true ? plan : copy;
  const report = await transfer(image.source, await places.target(location), image.descriptor, {
    ...copyOptions(options),
    noClobber: options.noClobber,
    tags: tag === undefined ? [] : [tag],
    arrivals: places.arrivals(location),
    onEvent: (event) => options.onEvent?.(event, "copy"),
  });
  return { name, target: formatLocation(location), report };
}

function copyOptions({
  signal,
  have,
  referrers,
  legacyTags,
  platforms,
  index,
  external,
  concurrency,
}: ImportOptions): CopyOptions {
  return {
    signal,
    have,
    platforms,
    index,
    external,
    ...(referrers === undefined ? {} : { referrers }),
    ...(legacyTags === undefined ? {} : { legacyTags }),
    ...(concurrency === undefined ? {} : { concurrency }),
  };
}
