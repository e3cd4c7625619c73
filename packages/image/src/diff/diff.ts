import {
  type Descriptor,
  formatPlatform,
  isIndexType,
  type Platform,
  parseJsonObject,
  readBytes,
  readManifest,
  type Source,
} from "@stowage/layout";
import { platformOf } from "../config.js";
import { ImageFiles, type ImageFilesOptions } from "../files/image-files.js";
import { type Image, readImage } from "../image.js";
import { compareFiles, type FileChange } from "./compare-files.js";
import { compareJson, type FieldChange } from "./compare-json.js";
import { explain } from "./explain.js";

/** The options of {@link diff}. */
export interface DiffOptions extends ImageFilesOptions {
  /** Compare the images for this platform, and not the indexes they are in. */
  readonly platform?: Platform | undefined;
}

/** Something to compare: a tag, a digest or a descriptor in a source. */
export interface Compared {
  readonly source: Source;
  readonly reference: string | Descriptor;
}

/** A layer that two images do not have in common, or have in other forms. */
export interface LayerChange {
  /** The lowest is 1. */
  readonly layer: number;
  /** `compression`: the same tar, in other bytes. `description`: the same bytes, with another media type or annotation. */
  readonly change: "added" | "removed" | "content" | "compression" | "description";
  readonly a?: Descriptor;
  readonly b?: Descriptor;
}

/** How two images differ. */
export interface ImageDiff {
  readonly kind: "image";
  readonly a: Descriptor;
  readonly b: Descriptor;
  readonly equal: boolean;
  /** Why the digests are not the same, in one line; `identical` where they are. */
  readonly reason: string;
  /** In the manifest, apart from config and layers. */
  readonly manifest: readonly FieldChange[];
  /** In the config, apart from the diff_ids. */
  readonly config: readonly FieldChange[];
  readonly layers: readonly LayerChange[];
  /** Empty as well where all layers hold the same tars: then no file is looked at. */
  readonly files: readonly FileChange[];
}

/** How two indexes differ. */
export interface IndexDiff {
  readonly kind: "index";
  readonly a: Descriptor;
  readonly b: Descriptor;
  readonly equal: boolean;
  readonly reason: string;
  /** In the index, apart from its manifests. */
  readonly index: readonly FieldChange[];
  /** What stands in the index in only one of the two, or in both in other forms. */
  readonly manifests: readonly {
    /** The platform, or another mark of a manifest without one. */
    readonly name: string;
    readonly change: "added" | "removed" | "changed" | "description";
    readonly a?: Descriptor;
    readonly b?: Descriptor;
    /** For a changed image or index. */
    readonly diff?: ImageDiff | IndexDiff;
  }[];
}

/**
 * Compares two images, or two indexes manifest by manifest, at every level down to their files, and says why their digests
 * are not the same. An index and an image are compared by the image for that platform. Content that both have is not read. Fails as
 * {@link ImageFiles} does.
 */
export async function diff(a: Compared, b: Compared, options: DiffOptions = {}): Promise<ImageDiff | IndexDiff> {
  const [one, other] = await Promise.all([resolve(a, options), resolve(b, options)]);
  const bothIndexes = isIndexType(one.mediaType) && isIndexType(other.mediaType);
  if (bothIndexes && options.platform === undefined)
    return diffIndexes({ ...a, reference: one }, { ...b, reference: other }, options);
  let { platform } = options;
  if (platform === undefined && isIndexType(one.mediaType) !== isIndexType(other.mediaType)) {
    const plain = isIndexType(one.mediaType) ? { ...b, reference: other } : { ...a, reference: one };
    platform = platformOf((await readImage(plain.source, plain.reference, undefined, options)).config);
  }
  return diffImages({ ...a, reference: one }, { ...b, reference: other }, { ...options, platform });
}

interface Resolved extends Compared {
  readonly reference: Descriptor;
}

async function resolve({ source, reference }: Compared, options: DiffOptions): Promise<Descriptor> {
  return typeof reference === "string" ? source.resolve(reference, { signal: options.signal }) : reference;
}

async function diffImages(a: Resolved, b: Resolved, options: DiffOptions): Promise<ImageDiff> {
  const [one, other] = await Promise.all([
    readImage(a.source, a.reference, options.platform, options),
    readImage(b.source, b.reference, options.platform, options),
  ]);
  const both = { kind: "image" as const, a: one.descriptor, b: other.descriptor };
  const nothing = { manifest: [], config: [], layers: [], files: [] };
  if (one.descriptor.digest === other.descriptor.digest)
    return { ...both, equal: true, reason: "identical", ...nothing };
  const [rawA, rawB] = await Promise.all([rawParts(a.source, one, options), rawParts(b.source, other, options)]);
  const found = {
    manifest: compareJson(rawA.manifest, rawB.manifest),
    config: compareJson(rawA.config, rawB.config),
    layers: compareLayers(one, other),
    files: await filesOf(a.source, one, b.source, other, options),
  };
  return { ...both, equal: false, reason: explain(found), ...found };
}

/** The manifest and the config as they stand there, without what is compared on its own. */
async function rawParts(
  source: Source,
  image: Image,
  { signal }: DiffOptions,
): Promise<{ manifest: unknown; config: unknown }> {
  const bytes = await readBytes(source, image.descriptor, { signal });
  const { config: descriptor, layers: _layers, ...manifest } = parseJsonObject(bytes, image.descriptor.digest);
  const { manifest: parsed } = await readManifest(source, image.descriptor, { signal });
  if (parsed.kind !== "image") throw new TypeError("an image that was read has a config");
  const { rootfs: _rootfs, ...config } = parseJsonObject(
    await readBytes(source, parsed.config, { signal }),
    parsed.config.digest,
  );
  const { digest: _digest, size: _size, data: _data, ...about } = descriptor as Record<string, unknown>;
  return { manifest: { ...manifest, config: about }, config };
}

function compareLayers(a: Image, b: Image): LayerChange[] {
  const changes: LayerChange[] = [];
  for (let at = 0; at < Math.max(a.layers.length, b.layers.length); at++) {
    const [one, other] = [a.layers[at], b.layers[at]];
    const layer = at + 1;
    if (one === undefined) changes.push({ layer, change: "added", b: other as Descriptor });
    else if (other === undefined) changes.push({ layer, change: "removed", a: one });
    else if (a.config.rootfs.diff_ids[at] !== b.config.rootfs.diff_ids[at])
      changes.push({ layer, change: "content", a: one, b: other });
    else if (one.digest !== other.digest) changes.push({ layer, change: "compression", a: one, b: other });
    else if (compareJson(one, other).length > 0) changes.push({ layer, change: "description", a: one, b: other });
  }
  return changes;
}

async function filesOf(
  sourceA: Source,
  a: Image,
  sourceB: Source,
  b: Image,
  options: DiffOptions,
): Promise<readonly FileChange[]> {
  if (a.config.rootfs.diff_ids.join() === b.config.rootfs.diff_ids.join()) return [];
  const wanted = { ...options, digests: true };
  return compareFiles(await ImageFiles.read(sourceA, a, wanted), await ImageFiles.read(sourceB, b, wanted));
}

async function diffIndexes(a: Resolved, b: Resolved, options: DiffOptions): Promise<IndexDiff> {
  const both = { kind: "index" as const, a: a.reference, b: b.reference };
  if (a.reference.digest === b.reference.digest)
    return { ...both, equal: true, reason: "identical", index: [], manifests: [] };
  const [rawA, rawB] = await Promise.all([rawIndex(a, options), rawIndex(b, options)]);
  const index = compareJson(rawA.rest, rawB.rest);
  const manifests: IndexDiff["manifests"][number][] = [];
  for (const name of new Set([...rawA.manifests.keys(), ...rawB.manifests.keys()])) {
    const [one, other] = [rawA.manifests.get(name), rawB.manifests.get(name)];
    if (one === undefined) manifests.push({ name, change: "added", b: other as Descriptor });
    else if (other === undefined) manifests.push({ name, change: "removed", a: one });
    else if (one.digest !== other.digest) {
      const changed = { name, change: "changed" as const, a: one, b: other };
      const deeper = await diffChildren({ ...a, reference: one }, { ...b, reference: other }, options);
      manifests.push(deeper === undefined ? changed : { ...changed, diff: deeper });
    } else if (compareJson(one, other).length > 0) manifests.push({ name, change: "description", a: one, b: other });
  }
  const order = compareJson([...rawA.manifests.keys()], [...rawB.manifests.keys()]).length > 0;
  return { ...both, equal: false, reason: explainIndex(index, manifests, order), index, manifests };
}

/** Undefined where a child is no container image. */
async function diffChildren(
  a: Resolved,
  b: Resolved,
  options: DiffOptions,
): Promise<ImageDiff | IndexDiff | undefined> {
  if (isIndexType(a.reference.mediaType) && isIndexType(b.reference.mediaType)) return diffIndexes(a, b, options);
  const isImage = async ({ source, reference }: Resolved): Promise<boolean> => {
    const { manifest } = await readManifest(source, reference, { signal: options.signal });
    // What BuildKit knows of a build has the config of an image and layers of JSON.
    return manifest.kind === "image" && manifest.layers.every(({ mediaType }) => /\.tar(?:[.+]|$)/.test(mediaType));
  };
  return (await isImage(a)) && (await isImage(b)) ? diffImages(a, b, { ...options, platform: undefined }) : undefined;
}

async function rawIndex(
  { source, reference }: Resolved,
  { signal }: DiffOptions,
): Promise<{ rest: unknown; manifests: ReadonlyMap<string, Descriptor> }> {
  const { bytes, manifest } = await readManifest(source, reference, { signal });
  const { manifests: _manifests, ...rest } = parseJsonObject(bytes, reference.digest);
  const manifests = new Map<string, Descriptor>();
  for (const child of manifest.kind === "index" ? manifest.manifests : []) {
    const name =
      child.platform === undefined ? (child.artifactType ?? child.mediaType) : formatPlatform(child.platform);
    let number = 1;
    while (manifests.has(number === 1 ? name : `${name} (${number})`)) number++;
    manifests.set(number === 1 ? name : `${name} (${number})`, child);
  }
  return { rest, manifests };
}

function explainIndex(index: readonly FieldChange[], manifests: IndexDiff["manifests"], otherOrder: boolean): string {
  const named = (change: string): string[] =>
    manifests.filter((manifest) => manifest.change === change).map(({ name }) => name);
  const parts = [
    ...named("added").map((name) => `${name} only in the second`),
    ...named("removed").map((name) => `${name} only in the first`),
    ...manifests
      .filter(({ change }) => change === "changed")
      .map(({ name, diff: deeper }) => `${name}: ${deeper?.reason ?? "other content"}`),
    ...named("description").map((name) => `${name} described in another way`),
  ];
  const same = parts.length === 0 ? ["same manifests"] : parts;
  if (parts.length === 0 && otherOrder) same.push("in another order");
  if (index.some(({ path }) => path.startsWith("annotations"))) same.push("other annotations");
  if (index.some(({ path }) => !path.startsWith("annotations"))) same.push("other fields");
  if (same.length === 1 && parts.length === 0) same.push("written in another way");
  return same.join(", ");
}
