import { isDeepStrictEqual } from "node:util";
import {
  type Abortable,
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
  isAttestation,
  isImageConfigType,
  type JsonObject,
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
import { type ConfigEdits, changeConfig } from "./change-config.js";
import { type MutableImage, readMutableImage, storeImage, withoutData } from "./mutable-image.js";

/** The options of {@link mutate}. Each step works on what those before it made, in this order. */
export interface MutateOptions extends CopyOptions, ConfigEdits {
  /** Which images of an index; the others stay as they are. Default: all. */
  readonly platform?: Platform | undefined;
  /** Set on the manifest of each image. */
  readonly annotations?: Annotations | undefined;
  /** Keys to take away from the manifest of each image; before others are set. */
  readonly removeAnnotations?: readonly string[] | undefined;
  /** Set on the index that is changed. */
  readonly indexAnnotations?: Annotations | undefined;
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
  const made = new MemoryStore(source.name);
  const run: Mutation = {
    content: new Union(source.name, [made, source]),
    source,
    made,
    options,
    images: [],
    attestations: new Map(),
    left: new Map(),
    results: new Map(),
    found: 0,
    signal: options.signal,
  };
  const before = plainDescriptor(root);
  const descriptor = await change(run, root, []);
  if (run.found === 0) {
    throw options.platform === undefined
      ? new OciError("INVALID", `${formatDescriptor(root)} of ${source.name} holds no container image`)
      : new OciError("NOT_FOUND", `${source.name} has no image for ${formatPlatform(options.platform)}`);
  }
  const report = await copy(run.content, target, descriptor, options);
  return {
    before,
    descriptor,
    images: run.images,
    attestations: [...run.attestations.values()],
    left: [...run.left.values()],
    copy: report,
  };
}

interface Mutation extends Abortable {
  readonly source: Source;
  /** What is new. */
  readonly made: MemoryStore;
  /** The source with what is new. */
  readonly content: Union;
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
  const before = manifest.kind === "index" ? manifest.manifests : [];
  const changed = new Map<Descriptor, Descriptor>();
  for (const child of before)
    if (!isAttestation(child)) changed.set(child, await change(run, child, [...path, descriptor.digest]));
  const manifests: Descriptor[] = [];
  for (const child of before) {
    const attested = attestedDigest(child);
    const subject = attested === undefined ? undefined : run.results.get(attested);
    if (subject === undefined || subject.digest === attested) manifests.push(changed.get(child) ?? child);
    else run.attestations.set(child.digest, child);
  }
  const annotations = path.length === 0 ? run.options.indexAnnotations : undefined;
  const index = indexWith(parseJsonObject(bytes, descriptor.digest), manifests, annotations);
  if (index === undefined) return descriptor;
  const encoded = encodeJson(index);
  parseManifest(encoded, descriptor.mediaType, "the changed index");
  return store(run, descriptor, encoded, manifests);
}

/** The index with other entries, or undefined where nothing of it changes. */
function indexWith(
  index: JsonObject,
  manifests: readonly Descriptor[],
  added: Annotations | undefined,
): JsonObject | undefined {
  const annotations =
    added === undefined ? {} : { annotations: sorted({ ...(index.annotations as Annotations | null), ...added }) };
  const result = { ...index, manifests, ...annotations };
  return isDeepStrictEqual(result, index) ? undefined : (result as JsonObject);
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
  const image = await changeImage(original, options);
  const result = await storeImage(run.made, image, original, { signal: run.signal });
  const children = [...image.layers.map((layer) => layer.descriptor), image.configDescriptor];
  for (const child of [result, ...children]) await assign(run, child);
  if (result.digest !== descriptor.digest)
    run.images.push({ platform, before: plainDescriptor(descriptor), descriptor: plainDescriptor(result) });
  return result;
}

async function changeImage(original: MutableImage, options: MutateOptions): Promise<MutableImage> {
  const config = changeConfig(original.config, options);
  // An empty member that another tool wrote is no change.
  const isSame = isDeepStrictEqual(config, changeConfig(original.config, {}));
  return changeAnnotations(isSame ? original : { ...original, config }, options);
}

function changeAnnotations(image: MutableImage, options: MutateOptions): MutableImage {
  const { annotations, removeAnnotations = [] } = options;
  if (annotations === undefined && removeAnnotations.length === 0) return image;
  const kept = Object.entries(image.annotations).filter(([key]) => !removeAnnotations.includes(key));
  return { ...image, annotations: sorted({ ...Object.fromEntries(kept), ...annotations }) };
}
