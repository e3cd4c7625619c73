import type { Abortable, FetchOptions, ReferrersOptions, Source, TagListOptions, Target } from "./content.js";
import { type CopyFailure, type CopyOptions, type CopyReport, chosen, copy } from "./copy.js";
import { type Descriptor, plainDescriptor } from "./model/descriptor.js";
import type { Digest } from "./model/digest.js";
import { isOciError, withContext } from "./model/errors.js";
import { childrenOf, parseManifest } from "./model/manifest.js";
import { isManifestType } from "./model/media-types.js";
import { collect } from "./model/verified.js";
import { selectReferrers } from "./referrer-filter.js";
import { Rehearsal } from "./rehearsal.js";
import { compareText } from "./store/index-json.js";
import { referrerStep, walk } from "./walk.js";

/**
 * A source that has the referrers in `elsewhere` as well as its own: signatures that are kept in another repository, or in a
 * layout. What they consist of is read from there.
 */
export function withReferrersFrom(source: Source, elsewhere: Source): Source {
  return new ReferrersFrom(source, elsewhere);
}

class ReferrersFrom implements Source {
  readonly name: string;
  readonly #source: Source;
  readonly #elsewhere: Source;
  /** What is known to be elsewhere: referrers, and what they point at. */
  readonly #there = new Set<Digest>();

  constructor(source: Source, elsewhere: Source) {
    this.#source = source;
    this.#elsewhere = elsewhere;
    this.name = `${source.name} with referrers from ${elsewhere.name}`;
  }

  resolve(reference: string, options?: Abortable): Promise<Descriptor> {
    return this.#source.resolve(reference, options);
  }

  tags(options?: TagListOptions): AsyncIterable<string> {
    return this.#source.tags(options);
  }

  /** What an image and its referrer share is in both places; that counts as elsewhere. */
  sourceOf({ digest }: Descriptor): Source {
    return this.#there.has(digest) ? this.#elsewhere : this.#source;
  }

  async *referrers(subject: Descriptor, more: ReferrersOptions = {}): AsyncIterable<Descriptor> {
    const found = new Map<Digest, Descriptor>();
    // Where one is must be known: a listing may name what is gone.
    const options = { ...more, unchecked: false };
    for await (const referrer of this.#elsewhere.referrers(subject, options)) {
      found.set(referrer.digest, referrer);
      this.#there.add(referrer.digest);
    }
    for await (const referrer of this.#source.referrers(subject, options)) {
      found.set(referrer.digest, referrer);
      this.#there.delete(referrer.digest);
    }
    yield* [...found.values()].sort((one, other) => compareText(one.digest, other.digest));
  }

  async *fetch(descriptor: Descriptor, options: FetchOptions = {}): AsyncIterable<Uint8Array> {
    if (!this.#there.has(descriptor.digest)) return yield* this.#source.fetch(descriptor, options);
    if (!isManifestType(descriptor.mediaType)) return yield* this.#fetchBlob(descriptor, options);
    const bytes = await collect(this.#elsewhere.fetch(descriptor, options), descriptor.size);
    try {
      const manifest = parseManifest(bytes, descriptor.mediaType, descriptor.digest);
      for (const child of childrenOf(manifest)) this.#there.add(child.digest);
    } catch (error) {
      // Whoever wanted it finds out, and says what it was wanted for.
      if (!isOciError(error)) throw error;
    }
    yield bytes;
  }

  /** A blob that an image and its referrer share, the empty one above all, is known to be in either place. */
  async *#fetchBlob(descriptor: Descriptor, options: FetchOptions): AsyncIterable<Uint8Array> {
    let begun = false;
    try {
      for await (const chunk of this.#elsewhere.fetch(descriptor, options)) {
        begun = true;
        yield chunk;
      }
    } catch (error) {
      if (begun || !isOciError(error, "NOT_FOUND")) throw error;
      yield* this.#source.fetch(descriptor, options);
    }
  }
}

/** The options of {@link copyReferrersTo}. */
export interface CopyReferrersOptions extends CopyOptions {
  /** Change nothing in either place; the report says what would be done. Default: false. */
  readonly dryRun?: boolean | undefined;
}

/**
 * As {@link copy}, but the referrers, and theirs, go to `elsewhere`, which need not have the image. They are there before the
 * image has its tags. A referrer that cannot be copied is in the report's `failures`.
 */
export async function copyReferrersTo(
  source: Source,
  target: Target,
  elsewhere: Target,
  reference: string | Descriptor,
  { dryRun, ...options }: CopyReferrersOptions = {},
): Promise<CopyReport> {
  if (dryRun === true)
    return copyReferrersTo(source, new Rehearsal(target), new Rehearsal(elsewhere), reference, options);
  const root = typeof reference === "string" ? await source.resolve(reference, options) : reference;
  const apart = options.referrers === "none" ? [] : await copyEach(source, elsewhere, root, options);
  const image = await copy(source, target, root, { ...options, referrers: "none" });
  const reports = apart.flatMap(({ report }) => report ?? []);
  const failures = apart.flatMap(({ report, failure }) => [
    ...(report?.failures ?? []),
    ...(failure === undefined ? [] : [failure]),
  ]);
  const sum = (count: (report: CopyReport) => number): number =>
    reports.reduce((total, report) => total + count(report), 0);
  return {
    ...image,
    written: image.written + sum(({ written }) => written),
    present: image.present + sum(({ present }) => present),
    mounted: image.mounted + sum(({ mounted }) => mounted),
    linked: image.linked + sum(({ linked }) => linked),
    bytes: image.bytes + sum(({ bytes }) => bytes),
    referrers: {
      found: apart.length + sum(({ referrers }) => referrers.found),
      copied: reports.length + sum(({ referrers }) => referrers.copied),
    },
    failures,
  };
}

interface CopiedApart {
  readonly report?: CopyReport;
  readonly failure?: CopyFailure;
}

async function copyEach(
  source: Source,
  elsewhere: Target,
  root: Descriptor,
  options: CopyOptions,
): Promise<readonly CopiedApart[]> {
  const choice = options.referrers ?? "all";
  // The levels of a filter count from the image; a referrer that is copied by itself is one below it.
  const referrers =
    typeof choice === "object" && choice.depth !== undefined ? { ...choice, depth: choice.depth - 1 } : choice;
  const image = await chosen(source, root, options);
  const leftOut = new Set([...image.leftOut, ...image.absent].map(({ digest }) => digest));
  const below = { ...options, tags: [], platforms: [], index: undefined, rootPresent: undefined };
  const copied: CopiedApart[] = [];
  const seen = new Set<Digest>();
  const walking = { signal: options.signal, referrers: false };
  for await (const { descriptor, path, manifest, error } of walk(image.source, [image.descriptor], walking)) {
    if (leftOut.has(descriptor.digest)) continue;
    if (error !== undefined) throw withContext(error, `cannot look for the referrers of ${descriptor.digest}`);
    if (manifest === undefined) continue;
    const found: Descriptor[] = [];
    for await (const referrer of source.referrers(descriptor, { signal: options.signal })) found.push(referrer);
    const wanted =
      typeof choice === "object"
        ? selectReferrers(found, choice, 1)
        : found.filter((referrer) => typeof choice !== "function" || choice(referrer));
    const fresh = wanted.filter(({ digest }) => !seen.has(digest) && seen.add(digest));
    copied.push(
      ...(await Promise.all(
        fresh.map(async (referrer): Promise<CopiedApart> => {
          try {
            return { report: await copy(source, elsewhere, plainDescriptor(referrer), { ...below, referrers }) };
          } catch (error) {
            options.signal?.throwIfAborted();
            return { failure: { descriptor: referrer, path: [...path, referrerStep(referrer)], error } };
          }
        }),
      )),
    );
  }
  return copied;
}
