import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import {
  type Annotations,
  attestedDigest,
  type CopyOptions,
  type CopyReport,
  copy,
  type Descriptor,
  type Digest,
  encodeJson,
  formatDescriptor,
  formatPlatform,
  type IndexedTarget,
  isAttestation,
  isImageConfigType,
  Layout,
  MAXIMUM_DEPTH,
  MemoryStore,
  matchesPlatform,
  normalizePlatform,
  OciError,
  type Platform,
  parseJsonObject,
  parseManifest,
  plainDescriptor,
  type ReadManifest,
  readManifest,
  type Source,
  type Target,
  Union,
} from "@stowage/layout";
import { platformOf, sorted } from "../config.js";
import type { ContentWriter } from "../content-writer.js";
import type { ImageFilesOptions } from "../files/image-files.js";
import type { LayerLimits } from "../open-layer.js";
import { changeImage, type ImageChanges, makesLayers } from "./change-image.js";
import { type LayerContent, recordCompressed } from "./layer-content.js";
import { indexType } from "./media-types.js";
import { readMutableImage, storeImage, withoutData } from "./mutable-image.js";

/** The options of {@link mutate}. */
export interface MutateOptions extends CopyOptions, ImageChanges, LayerLimits, Pick<ImageFilesOptions, "entries"> {
  /** Which images of an index; the others stay as they are. Default: all. */
  readonly platform?: Platform | undefined;
  /** Set on the index that is changed. */
  readonly indexAnnotations?: Annotations | undefined;
  /** The directory for new layers, which are removed again. Default: the system's. */
  readonly scratch?: string | undefined;
}

/** An image that has another digest now. */
export interface MutatedImage {
  readonly platform: Platform;
  readonly before: Descriptor;
  readonly descriptor: Descriptor;
}

/** What a {@link mutate} did. */
export interface MutateReport {
  /** The root as it was. */
  readonly before: Descriptor;
  /** The root as it is. The same where nothing changed. */
  readonly descriptor: Descriptor;
  /** The images that changed, each once. */
  readonly images: readonly MutatedImage[];
  /** Attestations, as BuildKit puts them into an index, of images that changed. They are about what was, and not in the result. */
  readonly attestations: readonly Descriptor[];
  /** What refers to an image or index that changed, a signature for instance. It refers to what was still, and is not copied. */
  readonly left: readonly Descriptor[];
  readonly copy: CopyReport;
}

/**
 * Copies an image, or an index of images, with changes. What is not changed keeps its bytes: without any change the
 * digest stays, and the same changes of the same image make the same digest everywhere. Indexes get new ones with the
 * new images in the place of the old. The source is not changed.
 *
 * Fails with `NOT_FOUND` where no image is for the wanted platform, with `INVALID` where there is no image at all or
 * where an option breaks the spec, and as `copy` does.
 */
export async function mutate(
  source: Source,
  target: Target,
  root: Descriptor,
  options: MutateOptions = {},
): Promise<MutateReport> {
  if (!makesLayers(options)) return mutateWith(new MemoryStore(source.name), source, target, root, options);
  const directory = await mkdtemp(join(options.scratch ?? tmpdir(), "stowage-mutate-"));
  try {
    return await mutateWith(await Layout.create(directory), source, target, root, options);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function mutateWith(
  made: Mutation["made"],
  source: Source,
  target: Target,
  root: Descriptor,
  options: MutateOptions,
): Promise<MutateReport> {
  const bases = options.rebase === undefined ? [] : [options.rebase.from.source, options.rebase.onto.source];
  const { signal, compression, size, ratio, entries } = options;
  const run: Mutation = {
    content: new Union(source.name, [made, source, ...bases]),
    source,
    made,
    options,
    images: [],
    attestations: new Map(),
    left: new Map(),
    results: new Map(),
    found: 0,
    known: new Map(),
    fresh: new Set(),
    signal,
    compression,
    size,
    ratio,
    entries,
    ...(target instanceof Layout ? { compressedLayers: target.compressedLayers } : {}),
  };
  const descriptor = await change(run, root, []);
  if (run.found === 0) {
    throw options.platform === undefined
      ? new OciError("INVALID", `${formatDescriptor(root)} of ${source.name} holds no container image`)
      : new OciError("NOT_FOUND", `${source.name} has no image for ${formatPlatform(options.platform)}`);
  }
  const report = await copy(run.content, target, descriptor, options);
  await recordCompressed(run);
  return {
    before: plainDescriptor(root),
    descriptor,
    images: run.images,
    attestations: [...run.attestations.values()],
    left: [...run.left.values()],
    copy: report,
  };
}

interface Mutation extends LayerContent {
  readonly source: Source;
  /** What is new. `content` is the source with it. */
  readonly made: IndexedTarget & ContentWriter;
  readonly options: MutateOptions;
  readonly images: MutatedImage[];
  readonly attestations: Map<Digest, Descriptor>;
  readonly left: Map<Digest, Descriptor>;
  /** What took the place of what: content that stands in several indexes is changed once. */
  readonly results: Map<Digest, Descriptor>;
  /** How many images were to be changed. */
  found: number;
}

/** What takes the place of `descriptor`, which may be itself. */
async function change(run: Mutation, descriptor: Descriptor, path: readonly Digest[]): Promise<Descriptor> {
  if (path.length > MAXIMUM_DEPTH)
    throw new OciError("LIMIT", `${formatDescriptor(descriptor)} is nested deeper than ${MAXIMUM_DEPTH} levels`);
  const known = run.results.get(descriptor.digest);
  if (known !== undefined) {
    if (known.digest === descriptor.digest) return descriptor;
    return { ...withoutData(descriptor), ...plainDescriptor(known) };
  }
  const read = await readManifest(run.source, descriptor, { signal: run.signal });
  run.content.assign(descriptor, run.source);
  const result = read.manifest.kind === "index" ? await changeIndex(run, read, path) : await changeManifest(run, read);
  run.results.set(descriptor.digest, result);
  if (result.digest !== descriptor.digest) {
    for await (const referrer of run.source.referrers(descriptor, { signal: run.signal }))
      run.left.set(referrer.digest, referrer);
  }
  return result;
}

async function changeIndex(run: Mutation, read: ReadManifest, path: readonly Digest[]): Promise<Descriptor> {
  const { descriptor, manifest, bytes } = read;
  const children = manifest.kind === "index" ? manifest.manifests : [];
  const changed = new Map<Descriptor, Descriptor>();
  for (const child of children)
    if (!isAttestation(child)) changed.set(child, await change(run, child, [...path, descriptor.digest]));
  const manifests: Descriptor[] = [];
  for (const child of children) {
    const attested = attestedDigest(child);
    const subject = attested === undefined ? undefined : run.results.get(attested);
    if (subject === undefined || subject.digest === attested) manifests.push(changed.get(child) ?? child);
    else run.attestations.set(child.digest, child);
  }
  const { indexAnnotations, mediaTypes, platform } = run.options;
  const annotations = path.length === 0 ? indexAnnotations : undefined;
  // Where only some of its images are to be changed, the index stays what it is.
  const mediaType = indexType(descriptor.mediaType, platform === undefined ? mediaTypes : undefined);
  const before = parseJsonObject(bytes, descriptor.digest);
  const index = {
    ...before,
    ...(mediaType === descriptor.mediaType ? {} : { mediaType }),
    manifests,
    ...(annotations === undefined
      ? {}
      : { annotations: sorted({ ...(before.annotations as Annotations | null), ...annotations }) }),
  };
  if (isDeepStrictEqual(index, before)) return descriptor;
  const encoded = encodeJson(index);
  parseManifest(encoded, mediaType, "the changed index");
  return store(run, { ...descriptor, mediaType }, encoded, manifests);
}

async function store(
  run: Mutation,
  before: Descriptor,
  bytes: Uint8Array,
  children: readonly Descriptor[],
): Promise<Descriptor> {
  const written = await run.made.write([bytes], before.mediaType);
  run.content.assign(written, run.made);
  // What is read through the union says where its children are; these are told beforehand.
  for (const child of children) await assign(run, child);
  return { ...withoutData(before), ...written };
}

async function assign(run: Mutation, descriptor: Descriptor): Promise<void> {
  const isNew = (await run.made.size(descriptor.digest)) !== undefined;
  run.content.assign(descriptor, isNew ? run.made : run.source);
}

async function changeManifest(run: Mutation, { descriptor, manifest }: ReadManifest): Promise<Descriptor> {
  if (manifest.kind !== "image" || !isImageConfigType(manifest.config.mediaType)) return descriptor;
  const original = await readMutableImage(run.source, descriptor, { signal: run.signal });
  const platform = platformOf(original.config);
  const { options } = run;
  if (options.platform !== undefined && !matchesPlatform(platform, normalizePlatform(options.platform)))
    return descriptor;
  run.found++;
  const image = await changeImage(run, original, options);
  const result = await storeImage(run.made, image, original, { signal: run.signal });
  const children = [...image.layers.map((layer) => layer.descriptor), image.configDescriptor];
  for (const child of [result, ...children]) await assign(run, child);
  if (result.digest !== descriptor.digest)
    run.images.push({ platform, before: plainDescriptor(descriptor), descriptor: plainDescriptor(result) });
  return result;
}
