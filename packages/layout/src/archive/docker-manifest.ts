import type { Descriptor } from "../model/descriptor.js";
import { type Digest, digestAlgorithm, digestEncoded } from "../model/digest.js";
import { OciError } from "../model/errors.js";
import type { ImageManifest, Manifest } from "../model/manifest.js";
import { isImageConfigType, isManifestType } from "../model/media-types.js";
import { matchesPlatform, type Platform } from "../model/platform.js";
import { formatReference, parseReference } from "../model/reference.js";
import { isAttestation } from "../store/conventions.js";
import { isNamed, type LayoutIndex, refName } from "../store/index-json.js";
import { fullName } from "./archive-names.js";

/** The path of a blob inside an archive. */
export function blobPath(digest: Digest): string {
  return `blobs/${digestAlgorithm(digest)}/${digestEncoded(digest)}`;
}

/** An item of the `manifest.json` that `docker load` reads. */
export interface DockerItem {
  readonly Config: string;
  readonly RepoTags: readonly string[];
  readonly Layers: readonly string[];
}

/** What `docker load` makes of an entry of the index. */
export interface LoadedImage {
  /** What the entry is called; undefined where it has no name. */
  readonly name: string | undefined;
  /** The image that is loaded. */
  readonly descriptor: Descriptor;
  readonly platform: Platform | undefined;
  /** The images it was chosen from, one for each platform. */
  readonly choices: readonly Descriptor[];
}

/** How {@link dockerManifest} is made. */
export interface DockerManifestOptions {
  /** A manifest that is in the archive; undefined for one that is not. */
  readonly read: (descriptor: Descriptor) => Manifest | undefined;
  /** The name of the file that a blob is in. */
  readonly path: (digest: Digest) => string;
  /** Of an index take one image, and leave out what is no image. Otherwise both fail with `UNSUPPORTED`. */
  readonly choose: boolean;
  /** Leave `docker.io/library/` out of the names, as Docker does. */
  readonly familiar: boolean;
}

/** What is wanted of an index of several platforms: the same on every machine. */
export const PREFERRED_PLATFORM: Platform = { os: "linux", architecture: "amd64" };

/**
 * The content of the `manifest.json` that `docker load` reads: one item for each image, and what is loaded for each entry.
 * Fails with `UNSUPPORTED` where a named entry is no image of a single platform, unless one is to be chosen, and with
 * `INVALID` where its name is no image name.
 */
export function dockerManifest(
  index: LayoutIndex,
  options: DockerManifestOptions,
): { readonly items: readonly DockerItem[]; readonly loaded: readonly LoadedImage[] } {
  const items = new Map<Digest, { Config: string; RepoTags: string[]; Layers: string[] }>();
  const loaded: LoadedImage[] = [];
  const anyNamed = index.manifests.some(isNamed);
  for (const entry of index.manifests) {
    const name = isNamed(entry) ? refName(entry) : undefined;
    // An untagged referrer is an entry too; Docker has no place for it.
    if (name === undefined && (anyNamed || isReferrer(entry, options))) continue;
    const choices = imagesIn(entry, options, new Set());
    const [first] = choices;
    if (!options.choose) checkSingle(entry, options);
    if (first === undefined) continue;
    const { descriptor, manifest } =
      choices.find((one) => one.platform !== undefined && matchesPlatform(one.platform, PREFERRED_PLATFORM)) ?? first;
    const item = items.get(descriptor.digest) ?? {
      Config: options.path(manifest.config.digest),
      RepoTags: [],
      Layers: manifest.layers.map((layer) => options.path(layer.digest)),
    };
    const tag = name === undefined ? undefined : repoTag(name, options);
    if (tag !== undefined && !item.RepoTags.includes(tag)) item.RepoTags.push(tag);
    items.set(descriptor.digest, item);
    loaded.push({
      name,
      descriptor,
      platform: descriptor.platform,
      choices: choices.map((one) => one.descriptor),
    });
  }
  const order = ({ Config, RepoTags, Layers }: DockerItem): DockerItem => ({ Config, RepoTags, Layers });
  return { items: [...items.values()].map(order), loaded };
}

interface Image {
  readonly descriptor: Descriptor;
  readonly platform: Platform | undefined;
  readonly manifest: ImageManifest;
}

/** The images that an entry stands for, in document order; those that are not in the archive are passed over. */
function imagesIn(entry: Descriptor, options: DockerManifestOptions, seen: Set<Digest>): readonly Image[] {
  if (seen.has(entry.digest)) return [];
  seen.add(entry.digest);
  const manifest = isManifestType(entry.mediaType) ? options.read(entry) : undefined;
  if (manifest === undefined) return [];
  if (manifest.kind === "image")
    return isImageConfigType(manifest.config.mediaType)
      ? [{ descriptor: entry, platform: entry.platform, manifest }]
      : [];
  if (manifest.kind !== "index") return [];
  return manifest.manifests
    .filter((child) => !isAttestation(child) && child.platform?.os !== "unknown")
    .flatMap((child) => imagesIn(child, options, seen));
}

function isReferrer(entry: Descriptor, { read }: DockerManifestOptions): boolean {
  return isManifestType(entry.mediaType) && read(entry)?.subject !== undefined;
}

function checkSingle(entry: Descriptor, { read }: DockerManifestOptions): void {
  const manifest = isManifestType(entry.mediaType) ? read(entry) : undefined;
  if (manifest?.kind === "image" && isImageConfigType(manifest.config.mediaType)) return;
  const isIndex = manifest?.kind === "index";
  throw new OciError(
    "UNSUPPORTED",
    `cannot write ${entry.digest} for docker load: it is ${isIndex ? "an index of several platforms" : "no image"}`,
    {
      hint: isIndex
        ? "Choose one with --platform, for example --platform linux/amd64."
        : "Write an oci-archive: instead.",
    },
  );
}

/** Undefined for a name that ends in a digest: Docker has only tags there. A tag alone is taken for a name only where it was asked for as one. */
function repoTag(name: string, { familiar, choose }: DockerManifestOptions): string | undefined {
  const reference = choose ? fullName(name) : parseReference(name);
  if (reference?.tag === undefined) return undefined;
  const { digest: _digest, ...tagged } = reference;
  const text = formatReference(tagged);
  return familiar ? text.replace(/^docker\.io\/(?:library\/)?/, "") : text;
}
