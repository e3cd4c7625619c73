import type { Source, Target } from "./content.js";
import type { CopyOptions } from "./copy.js";
import type { Arrived, CopyRun } from "./copy-run.js";
import { LegacyTags } from "./legacy-tags.js";
import { type Descriptor, plainDescriptor } from "./model/descriptor.js";
import { isOciError } from "./model/errors.js";
import { referrerDescriptor } from "./model/manifest.js";
import { isImageManifestType, isManifestType } from "./model/media-types.js";
import { selectReferrers } from "./referrer-filter.js";
import { actualTarget, Rehearsal } from "./rehearsal.js";
import { type TagChange, Tags } from "./set-tags.js";
import { allSettledOrThrow, Slots } from "./slots.js";
import { IndexedSource } from "./store/indexed-source.js";
import { IndexedTarget } from "./store/indexed-target.js";
import { type GraphPath, MAXIMUM_DEPTH, referrerLevel, referrerStep, steps, visitKey } from "./walk.js";

/** How many questions are under way at once. */
const QUESTIONS = 16;
/** How many manifests are looked into before it is their turn: what a source says there may be must not grow without end. */
const MAXIMUM_AHEAD = 1000;
/** A blob larger than this keeps the way busy by itself; to send it before its turn gains nothing. In bytes. */
const SMALL = 1024 * 1024;

const ENDED = new Error("the copy has ended");

/** What a source lists for one subject. */
interface Listing {
  readonly referrers: readonly Descriptor[];
  /** Those that the target is known to have; undefined where each has to be looked for. */
  readonly present: ReadonlySet<string> | undefined;
}

/** A manifest that a source lists as a referrer. */
interface Listed extends Arrived {
  readonly subject: Descriptor;
  /** Whether the target has it; undefined where that is to be looked at. */
  readonly isPresent: boolean | undefined;
}

/**
 * The referrers that go along with a copy, and theirs, and what tags of older tools tie to what was copied. Who refers to what is
 * asked long before it is wanted, with the manifests and small blobs of those who do, while the way is busy with the image: one
 * question does not wait for the answer to another. In the target each comes after its subject, in an order that does not depend
 * on which answer came first.
 */
export class CopyReferrers {
  readonly #run: CopyRun;
  readonly #source: Source;
  readonly #target: Target;
  readonly #options: CopyOptions;
  readonly #legacyTags: LegacyTags;
  readonly #questions = new Slots(QUESTIONS);
  readonly #listings = new Map<string, Promise<Listing>>();
  /** Whether what is listed as a referrer is one, by referrer and subject. */
  readonly #checks = new Map<string, Promise<boolean>>();
  /** What is done before its turn. What fails does so again when it is. */
  readonly #early: Promise<unknown>[] = [];
  readonly #tagged: TagChange[] = [];
  #found = 0;
  #ended = false;

  constructor(run: CopyRun, source: Source, target: Target, options: CopyOptions) {
    this.#run = run;
    this.#source = source;
    this.#target = target;
    this.#options = options;
    this.#legacyTags = new LegacyTags(source, { signal: options.signal });
  }

  /** How many were found and chosen. */
  get found(): number {
    return this.#found;
  }

  /** What became of the tags of older tools. */
  get tagged(): readonly TagChange[] {
    return this.#tagged;
  }

  /** Begins to look for those of a manifest that is about to be copied. */
  begin(manifest: Descriptor, path: GraphPath): void {
    if (this.#options.referrers === "none" || this.#listings.has(visitKey(manifest))) return;
    if (this.#options.legacyTags !== false) this.#legacyTags.begin();
    void this.#listing(manifest, path);
    const target = actualTarget(this.#target);
    if (target instanceof IndexedTarget && !(this.#source instanceof IndexedSource))
      this.#expect(target, manifest, path).catch(() => {});
  }

  /** Copies those of all that was copied, then theirs, until there are none. */
  async copyAll(): Promise<void> {
    for (let subjects = this.#run.takeArrived(); subjects.length > 0; subjects = this.#run.takeArrived()) {
      const listed = await allSettledOrThrow(subjects.map((subject) => this.#listed(subject)));
      // In the order of the subjects: which listing was the quickest must not show in an archive.
      await allSettledOrThrow(listed.flat().map((referrer) => this.#copy(referrer)));
      if (this.#options.legacyTags === false) continue;
      for (const subject of subjects) await this.#copyLegacyTags(subject);
    }
  }

  /** Looks no further, and waits until nothing is under way any more. */
  async end(): Promise<void> {
    this.#ended = true;
    await Promise.allSettled([...this.#early, ...this.#listings.values(), ...this.#checks.values()]);
  }

  /** Asks when it is its turn. When all is over, nobody waits for the answer. */
  #ask<T>(question: () => Promise<T>): Promise<T> {
    return this.#questions.run(() => (this.#ended ? Promise.reject(ENDED) : question()));
  }

  /** What a layout has from before is likely what the source has still: its referrers are asked for without waiting to hear of them. */
  async #expect(target: IndexedTarget, subject: Descriptor, path: GraphPath): Promise<void> {
    for await (const referrer of target.referrers(subject, this.#options)) {
      const below = [...path, referrerStep(referrer)];
      if (this.#chosen([referrer], path).length === 0 || !this.#mayLookAhead(below)) continue;
      void this.#listing(referrer, below);
      await this.#expect(target, referrer, below);
    }
  }

  #mayLookAhead(path: GraphPath): boolean {
    return !this.#ended && this.#listings.size < MAXIMUM_AHEAD && path.length < MAXIMUM_DEPTH;
  }

  async #listed({ descriptor: subject, path }: Arrived): Promise<readonly Listed[]> {
    const { referrers, present } = await this.#listing(subject, path);
    return this.#chosen(referrers, path).map((descriptor) => ({
      descriptor,
      path: [...path, referrerStep(descriptor)],
      subject,
      isPresent: present?.has(visitKey(descriptor)),
    }));
  }

  #listing(subject: Descriptor, path: GraphPath): Promise<Listing> {
    const key = visitKey(subject);
    const known = this.#listings.get(key);
    if (known !== undefined) return known;
    const listing = this.#list(subject, path);
    // Whoever waits for it comes later.
    listing.catch(() => {});
    this.#listings.set(key, listing);
    return listing;
  }

  async #list(subject: Descriptor, path: GraphPath): Promise<Listing> {
    const { signal } = this.#options;
    const referrers: Descriptor[] = [];
    // Who chooses has to know what is chosen from.
    const unchecked = (this.#options.referrers ?? "all") === "all";
    await this.#ask(async () => {
      for await (const referrer of this.#source.referrers(subject, { signal, unchecked })) referrers.push(referrer);
    });
    const chosen = this.#chosen(referrers, path);
    for (const referrer of chosen) {
      const below = [...path, referrerStep(referrer)];
      if (this.#mayLookAhead(below)) void this.#listing(referrer, below);
    }
    const present = chosen.length === 0 ? undefined : await this.#presentOf(subject);
    for (const referrer of chosen) {
      const below = [...path, referrerStep(referrer)];
      if (present?.has(visitKey(referrer)) !== true && this.#mayLookAhead(below))
        this.#early.push(this.#lookInto(referrer, below, subject, present !== undefined).catch(() => {}));
    }
    return { referrers, present };
  }

  /** Those that a closed target says it has. A target that cannot say so is asked for each. */
  async #presentOf(subject: Descriptor): Promise<ReadonlySet<string> | undefined> {
    if (!this.#target.closed || this.#options.forceRecursive === true) return undefined;
    if (this.#options.targetIsNew === true) return new Set();
    try {
      const { signal } = this.#options;
      const present = await this.#ask(async () => this.#target.presentReferrers?.(subject, { signal }));
      return present === undefined ? undefined : new Set(present.map(visitKey));
    } catch (error) {
      this.#options.signal?.throwIfAborted();
      if (!isOciError(error)) throw error;
      return undefined;
    }
  }

  /** Reads a referrer, and brings its small blobs, before it is its turn. Nothing is brought for one that may be there already. */
  async #lookInto(referrer: Descriptor, path: GraphPath, subject: Descriptor, isMissing: boolean): Promise<void> {
    if (!(await this.#isReferrer(referrer, subject))) return;
    // In an archive everything has its place.
    if (this.#target.concurrency !== undefined || (this.#target.closed && !isMissing)) return;
    const { manifest } = await this.#ask(() => this.#run.read(plainDescriptor(referrer)));
    const isSmall = (child: Descriptor): boolean => !isManifestType(child.mediaType) && child.size <= SMALL;
    const blobs = steps(manifest).filter(({ child }) => isSmall(child) && !this.#run.isLeftOut(child));
    if (!this.#ended) await Promise.allSettled(blobs.map(({ child, step }) => this.#run.part(child, [...path, step])));
  }

  #chosen(found: readonly Descriptor[], path: GraphPath): readonly Descriptor[] {
    const choice = this.#options.referrers ?? "all";
    if (typeof choice === "string") return found;
    const required = this.#options.requiredReferrers;
    const chosen = new Set(
      typeof choice === "function" ? found.filter(choice) : selectReferrers(found, choice, referrerLevel(path) + 1),
    );
    return found.filter((referrer) => chosen.has(referrer) || required?.has(referrer.digest) === true);
  }

  async #copy({ descriptor: referrer, path, subject, isPresent }: Listed): Promise<void> {
    try {
      if (isPresent !== true && !this.#run.hasMet(referrer) && !(await this.#isReferrer(referrer, subject))) return;
      // A referrer that is also a part of the root, or refers to two manifests of it, was counted before.
      if (this.#run.hasMet(referrer)) return;
      this.#found++;
      if (isPresent === false) this.#run.isMissing(referrer);
      if (isPresent === true) this.#run.isPresent(referrer);
      // Only the parts of an index may have referrers of their own.
      if (isPresent === true && isImageManifestType(referrer.mediaType)) await this.#run.foundWhole(referrer, path);
      else await this.#run.part(plainDescriptor(referrer), path);
    } catch (error) {
      if (!this.#run.hasMet(referrer)) this.#found++;
      this.#run.failed(referrer, path, error);
    }
  }

  /** Whether what was listed is there and says so itself. What is on a disk here has been looked at. */
  #isReferrer(referrer: Descriptor, subject: Descriptor): Promise<boolean> {
    if (this.#source instanceof IndexedSource) return Promise.resolve(true);
    const key = `${visitKey(referrer)} ${subject.digest}`;
    const check = this.#checks.get(key) ?? this.#check(referrer, subject);
    check.catch(() => {});
    this.#checks.set(key, check);
    return check;
  }

  async #check(referrer: Descriptor, subject: Descriptor): Promise<boolean> {
    try {
      const { manifest } = await this.#ask(() => this.#run.read(plainDescriptor(referrer)));
      return manifest.subject?.digest === subject.digest;
    } catch (error) {
      if (isOciError(error, "NOT_FOUND")) return false;
      throw error;
    }
  }

  /** Copies what tags of older tools tie to a manifest, and sets those tags. */
  async #copyLegacyTags({ descriptor: subject, path }: Arrived): Promise<void> {
    for (const { tag } of await this.#legacyTags.of(subject.digest)) {
      const name = tag.slice(tag.lastIndexOf(":") + 1);
      const step = `tag ${name}`;
      let descriptor = subject;
      try {
        descriptor = plainDescriptor(await this.#source.resolve(tag, this.#options));
        const { manifest } = await this.#ask(() => this.#run.read(descriptor));
        if (this.#chosen([referrerDescriptor(descriptor, manifest)], path).length === 0) continue;
        if (!this.#run.hasMet(descriptor)) this.#found++;
        const tags = await Tags.look(this.#source, actualTarget(this.#target), descriptor, [name], this.#options);
        if (tags.found) this.#run.isPresent(descriptor);
        await this.#run.part(descriptor, [...path, step]);
        this.#tagged.push(this.#target instanceof Rehearsal ? tags.foresee(name) : await tags.set(name));
      } catch (error) {
        this.#run.failed(descriptor, [...path, step], error);
      }
    }
  }
}
