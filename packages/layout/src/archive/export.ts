import type { Abortable, Source } from "../content.js";
import { type CopyOptions, type CopyReport, copy } from "../copy.js";
import type { Receipt } from "../delta/receipt.js";
import type { Descriptor } from "../model/descriptor.js";
import { OciError } from "../model/errors.js";
import { isIndexType, isManifestType } from "../model/media-types.js";
import { matchesPlatform } from "../model/platform.js";
import { readManifest } from "../model/verified.js";
import { PartsFile, type WrittenPart } from "../parts/parts-file.js";
import { isAttestation, parseLegacyTag } from "../store/conventions.js";
import { isNamed, refName, unnamed } from "../store/index-json.js";
import type { IndexedSource } from "../store/indexed-source.js";
import { withFullNames } from "./archive-names.js";
import { type ArchiveOptions, ArchiveTarget } from "./archive-target.js";
import { type LoadedImage, PREFERRED_PLATFORM } from "./docker-manifest.js";

/** An image that goes into an archive. */
export interface ExportedImage {
  readonly source: Source;
  readonly descriptor: Descriptor;
  /** What it is called in the archive: full names like `ghcr.io/acme/app:v1`, or tags. May be empty. */
  readonly names: readonly string[];
}

/** The options of {@link exportImages}. */
export interface ExportOptions
  extends Omit<ArchiveOptions, "choosePlatform">,
    Omit<CopyOptions, "tags" | "noClobber" | "rootPresent" | "concurrency"> {
  /** Cut the archive into parts of at most so many bytes, see {@link PartsFile}. Only for `oci`. Default: one file. */
  readonly maxPart?: number | undefined;
  /** Makes the archive. Default: a tar at `path`. */
  readonly create?: ((path: string, options: ArchiveOptions) => Promise<ArchiveTarget>) | undefined;
}

/** What an export did. */
export interface ExportReport {
  readonly target: string;
  readonly format: NonNullable<ArchiveOptions["format"]>;
  /** One for each image, in the order in which they were given. */
  readonly images: readonly CopyReport[];
  /** What `docker load` and other loaders of its kind take from it. */
  readonly loaded: readonly LoadedImage[];
  /** What was delivered, what was left to a base included. */
  readonly receipt: Receipt;
  /** The files, in order. Only with `maxPart`. */
  readonly parts?: readonly WrittenPart[];
}

/**
 * Writes images with what belongs to them into one archive, which gets its name when it is complete; `-` is stdout. The same
 * images make the same bytes. For `docker`, of an index of several platforms only one goes in: linux/amd64, or else the
 * first. Fails as `copy` and {@link ArchiveTarget.close} do; then nothing of it stays.
 */
export async function exportImages(
  images: readonly ExportedImage[],
  path: string,
  options: ExportOptions = {},
): Promise<ExportReport> {
  const { format = "hybrid", names = "any", container, compress, maxPart, onEvent } = options;
  checkPlainLayout(format, options);
  const parts = maxPart === undefined ? undefined : new PartsFile(path, { ...options, size: maxPart });
  const { create = parts === undefined ? ArchiveTarget.create : overParts(parts) } = options;
  const target = await create(path, { format, names, container, compress, choosePlatform: true });
  const reports: CopyReport[] = [];
  try {
    for (const image of images) {
      const chosen = format === "docker" ? await onlyPlatform(image, options) : {};
      reports.push(
        await copy(image.source, target, image.descriptor, {
          ...options,
          ...chosen,
          // What goes into parts is read when they are written.
          ...(parts === undefined || onEvent === undefined ? {} : { onEvent: () => {} }),
          tags: image.names,
          referrers: format === "docker" ? "none" : (options.referrers ?? "all"),
        }),
      );
    }
  } catch (error) {
    await target.discard();
    throw error;
  }
  const receipt = await target.receipt();
  await target.close();
  const written = parts === undefined ? {} : { parts: parts.written };
  return { target: target.name, format, images: reports, loaded: target.loaded, receipt, ...written };
}

function overParts(parts: PartsFile): NonNullable<ExportOptions["create"]> {
  return (path, options) => ArchiveTarget.over(path, parts, options);
}

/** What `docker load` reads has to be there whole, and in one file. */
function checkPlainLayout(format: ExportReport["format"], { since, maxPart }: ExportOptions): void {
  if (format === "oci" || (since === undefined && maxPart === undefined)) return;
  const what = maxPart === undefined ? "leave out what a base has" : "be cut into parts";
  throw new OciError("UNSUPPORTED", `an archive that docker load reads (${format}) cannot ${what}`, {
    hint: "Write an OCI layout: oci.",
  });
}

/** Where only one platform can go in and none was asked for, the one that would be loaded. */
async function onlyPlatform(image: ExportedImage, options: ExportOptions): Promise<Pick<CopyOptions, "platforms">> {
  if ((options.platforms ?? []).length > 0 || !isIndexType(image.descriptor.mediaType)) return {};
  const { manifest } = await readManifest(image.source, image.descriptor, options);
  if (manifest.kind !== "index") return {};
  const platforms = manifest.manifests
    .filter((child) => !isAttestation(child))
    .flatMap(({ platform }) => (platform === undefined || platform.os === "unknown" ? [] : [platform]));
  const [first] = platforms;
  if (first === undefined) return {};
  return { platforms: [platforms.find((one) => matchesPlatform(one, PREFERRED_PLATFORM)) ?? first] };
}

/**
 * The images that a layout or archive holds: what is named, under each of its names, and what is there without one for its own
 * sake. What goes along with an image, referrers and signatures, is none.
 */
export async function imagesIn(source: IndexedSource, options: Abortable = {}): Promise<readonly ExportedImage[]> {
  const { manifests } = withFullNames(await source.index(options));
  const images = new Map<string, { source: IndexedSource; descriptor: Descriptor; names: string[] }>();
  for (const entry of manifests) {
    const name = isNamed(entry) ? refName(entry) : undefined;
    if (name === undefined ? refName(entry) !== undefined : parseLegacyTag(name) !== undefined) continue;
    const descriptor = unnamed(entry);
    const key = JSON.stringify(descriptor);
    const image = images.get(key) ?? { source, descriptor, names: [] };
    if (name !== undefined) image.names.push(name);
    images.set(key, image);
  }
  const found: ExportedImage[] = [];
  for (const image of images.values())
    if (image.names.length > 0 || !(await isReferrer(image, options))) found.push(image);
  return found;
}

/** True for a manifest that goes along with its subject. One whose subject is not there stands for itself. */
async function isReferrer(
  { source, descriptor }: ExportedImage & { source: IndexedSource },
  options: Abortable,
): Promise<boolean> {
  if (!isManifestType(descriptor.mediaType) || (await source.size(descriptor.digest)) === undefined) return false;
  const { subject } = (await readManifest(source, descriptor, options)).manifest;
  return subject !== undefined && (await source.size(subject.digest)) !== undefined;
}
