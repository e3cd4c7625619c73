import { setMaxListeners } from "node:events";
import { absentChildren } from "./absent-children.js";
import type { Arrivals } from "./arrivals.js";
import type { Abortable, Bytes, Presence, Source, Target } from "./content.js";
import { CopyRun } from "./copy-run.js";
import { type Base, firstWith } from "./delta/base.js";
import { checkNeeds } from "./delta/check-needs.js";
import type { ReceiptRoot } from "./delta/receipt.js";
import { type FilteredImage, filterPlatforms, type IndexChoice } from "./filter-platforms.js";
import { type Descriptor, formatDescriptor } from "./model/descriptor.js";
import type { Digest } from "./model/digest.js";
import { OciError, withContext } from "./model/errors.js";
import { isIndexType, isManifestType } from "./model/media-types.js";
import type { Platform } from "./model/platform.js";
import type { ReferrerFilter } from "./referrer-filter.js";
import { actualTarget, Rehearsal } from "./rehearsal.js";
import { selectPlatform } from "./select-platform.js";
import { type TagChange, Tags } from "./set-tags.js";
import { isAttestation } from "./store/conventions.js";
import { IndexedSource } from "./store/indexed-source.js";
import { IndexedTarget } from "./store/indexed-target.js";
import { MemoryStore } from "./store/memory.js";
import type { GraphPath } from "./walk.js";

/** Which referrers go along: all of them, none, those that a filter lets through, or those the function says yes to. */
export type ReferrersChoice = "all" | "none" | ReferrerFilter | ((referrer: Descriptor) => boolean);

/** The options of {@link copy}. */
export interface CopyOptions extends Abortable {
  /** What the root is tagged with at the target, after everything else has arrived. Default: nothing. */
  readonly tags?: readonly string[];
  /** Fail with `CONFLICT`, before anything is sent, where one of the tags stands for something else. Default: false. */
  readonly noClobber?: boolean | undefined;
  /** What the tags must stand for until they are set; otherwise it fails with `CONFLICT` then. Default: anything or nothing. */
  readonly expected?: Digest | undefined;
  /** Default: `all`. They follow every manifest of the graph, and each other. */
  readonly referrers?: ReferrersChoice;
  /** Referrers that go along whichever `referrers` chooses, unless it is `none`. */
  readonly requiredReferrers?: ReadonlySet<Digest> | undefined;
  /**
   * Whether what older tools tie to a digest by a tag like `sha256-<hex>.sig` goes along, with that tag, where referrers do.
   * Default: true.
   */
  readonly legacyTags?: boolean | undefined;
  /** Copy the images for these platforms only. Default: everything. */
  readonly platforms?: readonly Platform[] | undefined;
  /**
   * What becomes of the index then, see {@link filterPlatforms}. Default: of one platform the image alone is copied, without its
   * index; of several, `filter`.
   */
  readonly index?: IndexChoice | undefined;
  /**
   * Fetches a layer that may not be distributed, by its type, from where its `urls` say, if the source does not have it. Without
   * this such layers that have urls are left out.
   */
  readonly external?: ((layer: Descriptor, options: Abortable) => Bytes) | undefined;
  /** How many pieces of content move at once. Default: 16, or four of more than 1 MiB. */
  readonly concurrency?: number;
  /** Look at everything a manifest points at, also where the target is `closed` and has the manifest. Default: false. */
  readonly forceRecursive?: boolean;
  /**
   * Blobs that one of these has are left out; manifests and indexes always go along. An archive notes what it needs, a layout is
   * sparse then. A target that is `closed` has to have what is left out, which is made sure of before anything is sent.
   */
  readonly since?: readonly Base[] | undefined;
  /** Blobs that one of these has, and can be read from, come from there and not from the source: linked or mounted where the target can. */
  readonly have?: readonly Base[] | undefined;
  /** Shared with other copies into the same target that run at the same time: what one brings, the others find there. */
  readonly arrivals?: Arrivals | undefined;
  /** The target has the root with all below it: somebody has just looked. Default: it is looked for. */
  readonly rootPresent?: boolean | undefined;
  /** What the tags stood for at the target when somebody has just looked. Default: they are looked at. */
  readonly tagsBefore?: ReadonlyMap<string, Digest | undefined> | undefined;
  /** There is nothing at the target, a closed one, but what `arrivals` know of: somebody has just looked. Default: it is looked for. */
  readonly targetIsNew?: boolean | undefined;
  /** Told what happens, in the order in which it happens. */
  readonly onEvent?: (event: CopyEvent) => void;
}

/** A step of a copy. `bytes` counts what was stored or sent since the event before. */
export type CopyEvent =
  | { readonly type: "start"; readonly descriptor: Descriptor }
  | { readonly type: "bytes"; readonly descriptor: Descriptor; readonly bytes: number }
  | { readonly type: "done"; readonly descriptor: Descriptor; readonly presence: Presence }
  | { readonly type: "failed"; readonly descriptor: Descriptor; readonly error: unknown };

/** Something of a copy that did not arrive. */
export interface CopyFailure {
  readonly descriptor: Descriptor;
  readonly path: GraphPath;
  readonly error: unknown;
}

/** What was not copied because it was not asked for. */
export interface LeftOut {
  /** Manifests for other platforms, and attestations about them. */
  readonly platforms: readonly Descriptor[];
  /** What refers to an index that has another digest now, or is not copied. */
  readonly referrers: readonly Descriptor[];
  /** Layers that may not be distributed and have urls. */
  readonly external: readonly Descriptor[];
  /** Children of an index that the source, an archive, does not have; the index that names them is as it was. */
  readonly absent: readonly Descriptor[];
  /** Blobs that a base has. Only with `since`. */
  readonly since?: readonly Descriptor[];
}

/** What a copy took from `have` instead of the source. */
export interface TakenContent {
  readonly count: number;
  /** Bytes of it, linked and mounted content included. */
  readonly bytes: number;
}

/** What a copy did. Counts are pieces of content, each digest once. */
export interface CopyReport {
  readonly source: string;
  readonly target: string;
  /** The root, as the target has it now. */
  readonly descriptor: Descriptor;
  readonly tags: readonly string[];
  /** What became of the tags, those of older tools that came along included. */
  readonly tagged: readonly TagChange[];
  readonly written: number;
  readonly present: number;
  readonly mounted: number;
  readonly linked: number;
  /** Bytes stored or sent. */
  readonly bytes: number;
  /** Content that became present and did not come from the source. Only with `have`. */
  readonly taken?: TakenContent;
  /** The referrers that were found and chosen, and those of them that are at the target now. */
  readonly referrers: { readonly found: number; readonly copied: number };
  readonly leftOut: LeftOut;
  /** Referrers that are not at the target, and why. The copy is only partly done where there is one. */
  readonly failures: readonly CopyFailure[];
}

/**
 * Makes everything below `reference` present at the target, byte for byte: what a manifest points at before the manifest,
 * a subject before its referrers, the tags last. What the target has is not read, and a tag that is right is not written.
 * Fails, with no tag set, where a part of the root cannot be copied, and with `CONFLICT` where a tag stands for something else and
 * may not be moved; a referrer that cannot be copied is in the report's `failures`. Where the source leaves content to a base that
 * the target is not, it fails with `NOT_FOUND`, names what is missing, and has changed nothing.
 */
export async function copy(
  source: Source,
  target: Target,
  reference: string | Descriptor,
  options: CopyOptions = {},
): Promise<CopyReport> {
  // As much as goes at once listens to it; Node warns of more than ten.
  if (options.signal !== undefined) setMaxListeners(0, options.signal);
  const wanted = typeof reference === "string" ? await source.resolve(reference, options) : reference;
  try {
    await checkBases(source, target, wanted, options);
    const image = await chosen(source, wanted, options);
    const root = image.descriptor;
    const run = new CopyRun(image, target, options);
    run.referrers.begin(root, []);
    const tags = await Tags.look(image.source, actualTarget(target), root, options.tags ?? [], options);
    if (tags.found || options.rootPresent === true) run.isPresent(root);
    await run.copyAll(root);
    const tagged: TagChange[] = [];
    for (const tag of options.tags ?? [])
      tagged.push(target instanceof Rehearsal ? tags.foresee(tag) : await tags.set(tag));
    const report = run.report(root, tagged, root.digest === wanted.digest ? [] : await left(source, wanted, options));
    if (target instanceof IndexedTarget)
      target.leaveOut([...image.leftOut, ...image.absent, ...report.leftOut.external, ...run.left]);
    // Without a name the root would be in a layout, and nothing would say so.
    if (tagged.length === 0 && target instanceof IndexedTarget) await target.addEntry(root, options);
    if (options.since !== undefined) await target.leave?.(rootsOfAll(options.since), run.left);
    return report;
  } catch (error) {
    const what = typeof reference === "string" ? `${reference} (${wanted.digest})` : wanted.digest;
    const reason = source instanceof IndexedSource ? await source.explain(error, target, options) : error;
    throw withContext(reason, `cannot copy ${what} from ${source.name} to ${target.name}`);
  }
}

/** An image as it is to be copied. */
export interface ChosenImage extends FilteredImage {
  /** What the source does not have of it, and need not have. */
  readonly absent: readonly Descriptor[];
}

/** What of an image is to be copied. */
export async function chosen(source: Source, root: Descriptor, options: CopyOptions): Promise<ChosenImage> {
  const image = await filtered(source, root, options);
  if (!(source instanceof IndexedSource) || !source.sparse || !(image.source instanceof IndexedSource))
    return { ...image, absent: [] };
  const absent = await absentChildren(image.source, image.descriptor, image.leftOut, options);
  const [wanted] = absent.filter((child) => !isAttestation(child));
  if (wanted !== undefined && (options.platforms ?? []).length > 0)
    throw new OciError("NOT_FOUND", `${source.name} names ${formatDescriptor(wanted)} and does not have all of it`);
  return { ...image, absent };
}

async function filtered(source: Source, root: Descriptor, options: CopyOptions): Promise<FilteredImage> {
  const { platforms = [], index } = options;
  const [only] = platforms;
  if (only === undefined) return { descriptor: root, source, leftOut: [] };
  if (platforms.length > 1 || index !== undefined)
    return filterPlatforms(source, root, platforms, index ?? "filter", options);
  return { descriptor: await selectPlatform(source, root, only, options), source, leftOut: [] };
}

/** The referrers of an index that is not copied as it is. */
async function left(source: Source, index: Descriptor, options: CopyOptions): Promise<readonly Descriptor[]> {
  if (options.referrers === "none" || !isIndexType(index.mediaType)) return [];
  const found: Descriptor[] = [];
  for await (const referrer of source.referrers(index, { signal: options.signal })) found.push(referrer);
  return found;
}

/**
 * Makes sure that a copy would find at the target what the source leaves to a base, and what is left out for the bases in
 * `since`; nothing is changed. {@link copy} does so itself. Fails with `NOT_FOUND`, naming what is missing.
 */
export async function checkBases(
  source: Source,
  target: Target,
  root: Descriptor,
  options: CopyOptions = {},
): Promise<void> {
  const { since = [], have, signal } = options;
  const delta = source instanceof IndexedSource ? source.delta : undefined;
  if (delta === undefined && (since.length === 0 || !target.closed)) return;
  const image = await chosen(source, root, options);
  const needed = new Set(delta?.needs.map(({ digest }) => digest));
  const wanted: Descriptor[] = [];
  const left: Descriptor[] = [];
  for (const blob of await blobsOf(image, options)) {
    if ((await firstWith(since, blob, { signal })) !== undefined) left.push(blob);
    else if (needed.has(blob.digest) && (await (source as IndexedSource).size(blob.digest)) === undefined)
      wanted.push(blob);
  }
  await checkNeeds(target, wanted, { source, since: delta?.since ?? [] }, { have, signal });
  if (target.closed) await checkNeeds(target, left, { source, since: rootsOfAll(since) }, { signal });
}

/** Every blob that a copy would look for at an empty target. */
async function blobsOf(image: ChosenImage, options: CopyOptions): Promise<readonly Descriptor[]> {
  const blobs: Descriptor[] = [];
  const nowhere = new Rehearsal(new MemoryStore());
  const run = new CopyRun(image, nowhere, {
    ...options,
    since: [],
    have: [],
    arrivals: undefined,
    onEvent: ({ type, descriptor }) => {
      if (type === "done" && !isManifestType(descriptor.mediaType)) blobs.push(descriptor);
    },
  });
  await run.copyAll(image.descriptor);
  return blobs;
}

function rootsOfAll(bases: readonly Base[]): readonly ReceiptRoot[] {
  return bases.flatMap(({ roots }) => roots);
}
