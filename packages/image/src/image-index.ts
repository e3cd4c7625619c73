import {
  type Annotations,
  attestedDigest,
  type CopyOptions,
  type CopyReport,
  copy,
  type Descriptor,
  type Digest,
  descriptorOf,
  encodeJson,
  formatPlatform,
  type ImageIndex,
  isIndexType,
  isOciError,
  MemoryStore,
  matchesPlatform,
  mediaTypes,
  OciError,
  type Platform,
  parseJsonObject,
  parseManifest,
  parseMediaType,
  plainDescriptor,
  readManifest,
  type Source,
  type Target,
  Union,
} from "@stowage/layout";
import { sorted } from "./config.js";
import { arrange, type IndexEntry, type IndexPart, platformKey, readParts } from "./index-entries.js";

/** The options of {@link createIndex} and {@link mergeIndexes}. */
export interface IndexOptions extends CopyOptions {
  /** Of the index. */
  readonly annotations?: Annotations | undefined;
  /** Added to the entries of the parts. */
  readonly descriptorAnnotations?: Annotations | undefined;
  /** Of the index: what it is, where it is no image. */
  readonly artifactType?: string | undefined;
}

/** The options of {@link addToIndex}. */
export interface AddToIndexOptions extends IndexOptions {
  /** A part takes the place of an image for the same platform, and the attestations of that image go. Default: such a part is refused. */
  readonly replace?: boolean | undefined;
}

/** An index that was made, and what it is made of. */
export interface IndexReport {
  readonly descriptor: Descriptor;
  readonly manifests: readonly Descriptor[];
  /** The index as it was, where one was changed. */
  readonly before?: Descriptor;
  /** What refers to an index that was changed or taken apart. It refers to that still, and not to the result. */
  readonly left: readonly Descriptor[];
  readonly copy: CopyReport;
}

/**
 * Makes an index of `parts` and stores it with all they hold and their referrers in `target`. An index among the parts is listed
 * as it is, nested. The order of the parts does not matter: the same parts make the same digest. Fails with `CONFLICT` where
 * two images are for one platform or a platform is in doubt, with `INVALID` where there is no part, and as `copy` does.
 * image-spec v1.1.1, image-index.md.
 */
export async function createIndex(
  target: Target,
  parts: readonly IndexPart[],
  options: IndexOptions = {},
): Promise<IndexReport> {
  return compose(target, parts, false, options);
}

/**
 * As {@link createIndex}, but an index among the parts gives its entries instead: images of any number of layouts, each built by
 * a job of its own, become one image for many platforms. Attestations stay with the images they are about.
 */
export async function mergeIndexes(
  target: Target,
  parts: readonly IndexPart[],
  options: IndexOptions = {},
): Promise<IndexReport> {
  return compose(target, parts, true, options);
}

/**
 * Stores a copy of `index` that lists `parts` too. What is in the index stays as it is, its other members included. Fails as
 * {@link createIndex} does, and with `INVALID` where `index` is none.
 */
export async function addToIndex(
  target: Target,
  index: IndexPart,
  parts: readonly IndexPart[],
  options: AddToIndexOptions = {},
): Promise<IndexReport> {
  const before = await readIndex(index, options.signal);
  const { entries } = await readParts(parts, {
    flatten: false,
    annotations: options.descriptorAnnotations,
    signal: options.signal,
  });
  const kept = options.replace === true ? withoutReplaced(before.manifests, entries) : before.manifests;
  const all = arrange([...kept.map((entry) => ({ entry, part: index })), ...entries], index);
  return store(target, { ...before, ...membersOf(options, before) }, all, [{ entry: index.descriptor, part: index }], {
    ...options,
    before: index.descriptor,
  });
}

/**
 * Stores a copy of `index` without the entries that `selectors` name: digests, or platforms. The attestations of an image go
 * with it. Fails with `NOT_FOUND` where a selector names nothing, and with `INVALID` where nothing would be left.
 */
export async function removeFromIndex(
  target: Target,
  index: IndexPart,
  selectors: readonly (Digest | Platform)[],
  options: IndexOptions = {},
): Promise<IndexReport> {
  const before = await readIndex(index, options.signal);
  const gone = new Set<Digest>();
  for (const selector of selectors) {
    const found = before.manifests.filter((entry) => isSelected(entry, selector));
    if (found.length === 0) {
      const what = typeof selector === "string" ? selector : formatPlatform(selector);
      throw new OciError("NOT_FOUND", `${index.name} lists no ${what}`, {
        hint: `It lists ${before.manifests.map(nameOfEntry).join(", ")}.`,
      });
    }
    for (const { digest } of found) gone.add(digest);
  }
  const kept = before.manifests.filter((entry) => !isGone(entry, gone));
  return store(
    target,
    { ...before, ...membersOf(options, before) },
    kept.map((entry) => ({ entry, part: index })),
    [{ entry: index.descriptor, part: index }],
    { ...options, before: index.descriptor },
  );
}

/** How often a change of an index starts anew. Whenever it does, another change has succeeded. */
const MAXIMUM_ATTEMPTS = 1000;

/**
 * Makes a change to what a reference stands for, anew wherever somebody else has changed it meanwhile: none of many changes at
 * one time is lost. `change` must hand the digest of what it was given on as {@link CopyOptions.expected}. A registry knows no
 * such condition: with `recheck` the reference is read again afterwards, and what was overwritten is changed once more, so the
 * change must be one that may be made twice.
 */
export async function whileOthersChange<T extends { readonly descriptor: Descriptor }>(
  resolve: () => Promise<Descriptor>,
  change: (root: Descriptor) => Promise<T>,
  recheck = false,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const before = await resolve();
    try {
      const result = await change(before);
      if (!recheck || attempt >= MAXIMUM_ATTEMPTS) return result;
      if ((await resolve()).digest === result.descriptor.digest) return result;
    } catch (error) {
      if (!isOciError(error, "CONFLICT") || attempt >= MAXIMUM_ATTEMPTS) throw error;
      if ((await resolve()).digest === before.digest) throw error;
    }
  }
}

async function compose(
  target: Target,
  parts: readonly IndexPart[],
  flatten: boolean,
  options: IndexOptions,
): Promise<IndexReport> {
  const { entries, dissolved } = await readParts(parts, {
    flatten,
    annotations: options.descriptorAnnotations,
    signal: options.signal,
  });
  return store(target, membersOf(options), arrange(entries), dissolved, options);
}

/** The members of an index besides its entries. */
function membersOf(options: IndexOptions, before?: ImageIndex): Pick<ImageIndex, "annotations" | "artifactType"> {
  const annotations = sorted({ ...before?.annotations, ...options.annotations });
  return {
    ...(options.artifactType === undefined ? {} : { artifactType: parseMediaType(options.artifactType) }),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  };
}

/** Stores the index with everything below it: one copy, from wherever each part is. */
async function store(
  target: Target,
  members: Partial<ImageIndex>,
  entries: readonly IndexEntry[],
  changed: readonly IndexEntry[],
  options: IndexOptions & { readonly before?: Descriptor },
): Promise<IndexReport> {
  if (entries.length === 0)
    throw new OciError("INVALID", "cannot make an index without an entry", {
      hint: "To remove a whole image, remove its tag: stowage untag.",
    });
  const { schemaVersion: _version, mediaType: _type, manifests: _manifests, artifactType, ...rest } = members;
  const index = {
    schemaVersion: 2,
    mediaType: mediaTypes.index,
    ...(artifactType === undefined ? {} : { artifactType }),
    manifests: entries.map(({ entry }) => entry),
    ...rest,
  };
  const bytes = encodeJson(index);
  const descriptor = descriptorOf(bytes, mediaTypes.index);
  // What is wrong with an annotation or an artifactType is found before anything is stored.
  parseManifest(bytes, mediaTypes.index, "the index");
  const made = new MemoryStore("the new index");
  await made.write([bytes], mediaTypes.index);
  const sources = [...entries, ...changed].map(({ part }) => part.source);
  const union = new Union([...new Set(sources.map(({ name }) => name))].join(" and "), [made, ...sources]);
  union.assign(descriptor, made);
  for (const { entry, part } of entries) union.assign(entry, part.source);
  const report = await copy(union, target, descriptor, options);
  return {
    descriptor,
    manifests: index.manifests,
    ...(options.before === undefined ? {} : { before: plainDescriptor(options.before) }),
    left: await referrersOf(changed, descriptor.digest, options.signal),
    copy: report,
  };
}

/** Reads an index as it is, unknown members included. */
async function readIndex(index: IndexPart, signal: AbortSignal | undefined): Promise<ImageIndex> {
  const { descriptor, name } = index;
  if (!isIndexType(descriptor.mediaType)) {
    throw new OciError("INVALID", `${name} is no index but ${descriptor.mediaType}`, {
      hint: "Make one with stowage index create.",
    });
  }
  const { bytes } = await readManifest(index.source, descriptor, { signal });
  return parseJsonObject(bytes, name) as unknown as ImageIndex;
}

function withoutReplaced(manifests: readonly Descriptor[], entries: readonly IndexEntry[]): readonly Descriptor[] {
  const platforms = new Set(entries.map(({ entry }) => platformKey(entry)));
  const gone = new Set(manifests.filter((entry) => platforms.has(platformKey(entry))).map(({ digest }) => digest));
  for (const { entry } of entries) gone.delete(entry.digest);
  return manifests.filter((entry) => !isGone(entry, gone));
}

function isGone(entry: Descriptor, gone: ReadonlySet<Digest>): boolean {
  const attested = attestedDigest(entry);
  return gone.has(entry.digest) || (attested !== undefined && gone.has(attested));
}

function isSelected(entry: Descriptor, selector: Digest | Platform): boolean {
  if (typeof selector === "string") return entry.digest === selector;
  return entry.platform !== undefined && matchesPlatform(entry.platform, selector);
}

function nameOfEntry({ platform, digest }: Descriptor): string {
  return platform === undefined ? digest : formatPlatform(platform);
}

async function referrersOf(
  changed: readonly IndexEntry[],
  result: Digest,
  signal: AbortSignal | undefined,
): Promise<readonly Descriptor[]> {
  const found = new Map<Digest, Descriptor>();
  for (const { entry, part } of changed) {
    if (entry.digest === result) continue;
    const source: Source = part.source;
    for await (const referrer of source.referrers(entry, { signal })) found.set(referrer.digest, referrer);
  }
  return [...found.values()];
}
