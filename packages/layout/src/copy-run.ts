import type { Bytes, Content, Presence, PushOptions, Source, Target } from "./content.js";
import type { ChosenImage, CopyEvent, CopyFailure, CopyOptions, CopyReport } from "./copy.js";
import { Bases } from "./delta/bases.js";
import { LegacyTags } from "./legacy-tags.js";
import { located } from "./located.js";
import { type Descriptor, embeddedData, plainDescriptor } from "./model/descriptor.js";
import { isOciError } from "./model/errors.js";
import { referrerDescriptor } from "./model/manifest.js";
import { isForeignLayerType, isManifestType } from "./model/media-types.js";
import { contentOf, type ReadManifest, readManifest } from "./model/verified.js";
import { originOf } from "./origin.js";
import { selectReferrers } from "./referrer-filter.js";
import { actualTarget, Rehearsal } from "./rehearsal.js";
import { type TagChange, Tags } from "./set-tags.js";
import { allSettledOrThrow, Slots } from "./slots.js";
import { IndexedSource } from "./store/indexed-source.js";
import { IndexedTarget } from "./store/indexed-target.js";
import { Traversal } from "./traversal.js";
import { checkDepth, type GraphPath, referrerLevel, referrerStep, steps, visitKey } from "./walk.js";

/**
 * What is small takes as long as the way to a registry and back, so much of it goes at once. What is large takes as long as the
 * disk and the processors do; four at once keep them busy, and memory small.
 */
const SLOTS = 16;
const LARGE = { size: 1024 * 1024, slots: 4 };

/** A manifest that has arrived, and where it was met. */
interface Arrived {
  readonly descriptor: Descriptor;
  readonly path: GraphPath;
}

/** A manifest that a source lists as a referrer. */
interface Listed extends Arrived {
  readonly subject: Descriptor;
}

/** One copy, or the rehearsal of one, on its way through the graph. */
export class CopyRun {
  readonly #source: Source;
  readonly #target: Target;
  readonly #options: CopyOptions;
  readonly #slots: Slots;
  readonly #legacyTags: LegacyTags;
  readonly #bases: Bases;
  readonly #leftOut: ReadonlyMap<string, Descriptor>;
  readonly #absent: ReadonlyMap<string, Descriptor>;
  /** A part that two manifests share moves once, and both wait for it. */
  readonly #traversal = new Traversal<Descriptor, Promise<void>>([], visitKey);
  /** The manifests that a closed target is known to have, without asking. */
  readonly #present = new Set<string>();
  readonly #external = new Map<string, Descriptor>();
  readonly #counts: Record<Presence, number> = { written: 0, present: 0, mounted: 0, linked: 0 };
  readonly #tagged: TagChange[] = [];
  readonly #failures: CopyFailure[] = [];
  /** The manifests that have arrived and whose referrers are still to be looked for. */
  #manifests: Arrived[] = [];
  /** The manifests that have arrived and are still to be listed as referrers. */
  readonly #unlisted: (Arrived & { readonly listed: Promise<void> })[] = [];
  #bytes = 0;
  #found = 0;

  /** What is left out of the image, or absent, is not copied, whatever points at it. */
  constructor({ source, leftOut, absent }: ChosenImage, target: Target, options: CopyOptions) {
    this.#source = source;
    this.#target = target;
    this.#options = options;
    this.#leftOut = new Map(leftOut.map((descriptor) => [visitKey(descriptor), descriptor]));
    this.#absent = new Map(absent.map((descriptor) => [visitKey(descriptor), descriptor]));
    this.#legacyTags = new LegacyTags(source, { signal: options.signal });
    this.#bases = new Bases(options);
    this.#slots = new Slots(Math.min(options.concurrency ?? SLOTS, target.concurrency ?? Number.MAX_SAFE_INTEGER));
  }

  /** Says that the target has a manifest, because a tag stands for it there. */
  isPresent(manifest: Descriptor): void {
    if (this.#target.closed && this.#options.forceRecursive !== true) this.#present.add(visitKey(manifest));
  }

  /** Copies what `descriptor` names, with all that it points at. */
  part(descriptor: Descriptor, path: GraphPath): Promise<void> {
    return this.#traversal.once(descriptor, () => this.#copyPart(descriptor, path));
  }

  /** Copies the referrers of all that was copied, then their referrers, until there are none; those of older tools as well. */
  async referrersOfAll(): Promise<void> {
    if (this.#options.legacyTags !== false) this.#legacyTags.begin();
    while (this.#manifests.length > 0) {
      const subjects = this.#manifests;
      this.#manifests = [];
      const listed = await allSettledOrThrow(
        subjects.map(({ descriptor, path }) => this.#slots.run(() => this.#referrersOf(descriptor, path))),
      );
      // In the order of the subjects: which listing was the quickest must not show in an archive.
      await allSettledOrThrow(listed.flat().map((referrer) => this.#copyReferrer(referrer)));
      if (this.#options.legacyTags === false) continue;
      for (const subject of subjects) await this.#copyLegacyTags(subject);
    }
  }

  /** Waits until the referrers that were pushed are found by their subjects. */
  async allListed(): Promise<void> {
    for (const { descriptor, path, listed } of this.#unlisted) {
      try {
        await listed;
      } catch (error) {
        this.#emit({ type: "failed", descriptor, error });
        if (referrerLevel(path) === 0) throw path.length === 0 ? error : located(error, path);
        this.#failed(descriptor, path, error);
      }
    }
  }

  /** `left` is what refers to an index that was not copied as it is. */
  report(descriptor: Descriptor, tagged: readonly TagChange[], left: readonly Descriptor[]): CopyReport {
    return {
      source: this.#source.name,
      target: this.#target.name,
      descriptor,
      tags: [...(this.#options.tags ?? [])],
      tagged: [...tagged, ...this.#tagged],
      ...this.#counts,
      bytes: this.#bytes,
      referrers: { found: this.#found, copied: this.#found - this.#failures.length },
      ...this.#bases.taken(),
      leftOut: {
        platforms: [...this.#leftOut.values()],
        referrers: left,
        external: [...this.#external.values()],
        absent: [...this.#absent.values()],
        ...(this.#options.since === undefined ? {} : { since: this.left }),
      },
      failures: this.#failures,
    };
  }

  /** The blobs that were left out because a base has them. */
  get left(): readonly Descriptor[] {
    return this.#bases.left;
  }

  async #copyPart(descriptor: Descriptor, path: GraphPath): Promise<void> {
    checkDepth(path, descriptor);
    try {
      if (isManifestType(descriptor.mediaType)) await this.#bringManifest(descriptor, path);
      else await this.#copyBlob(descriptor);
    } catch (error) {
      this.#emit({ type: "failed", descriptor, error });
      throw path.length === 0 ? error : located(error, path);
    }
  }

  async #copyBlob(descriptor: Descriptor): Promise<void> {
    const own = this.#contentOf(descriptor);
    const near = this.#bases.none ? undefined : await this.#slots.run(() => this.#bases.decide(own));
    if (near === "left out") return;
    if (near !== undefined) {
      try {
        this.#bases.took(near, await this.#push(near.content));
        return;
      } catch (error) {
        // It is gone or damaged there. The source has it.
        if (!isOciError(error, "NOT_FOUND") && !isOciError(error, "MISMATCH")) throw error;
      }
    }
    await this.#push(own);
  }

  /** What another copy brings to a closed target is there, with all below it, when that is done; of part of an image nobody can say so. */
  #bringManifest(descriptor: Descriptor, path: GraphPath): Promise<void> {
    const { arrivals } = this.#options;
    if (arrivals === undefined || !this.#target.closed || this.#leftOut.size > 0)
      return this.#copyManifest(descriptor, path);
    return arrivals.bringWhole(descriptor, (isThere) => {
      if (isThere) this.isPresent(descriptor);
      return this.#copyManifest(descriptor, path);
    });
  }

  async #copyManifest(descriptor: Descriptor, path: GraphPath): Promise<void> {
    const { manifest, bytes } = await this.#slots.run(() => this.#read(descriptor));
    const found = await this.#isComplete(descriptor);
    const children = steps(manifest).filter(({ child }) => !this.#isLeftOut(child));
    // The parts of a manifest that is there are there too; only those that may have referrers are looked at.
    const wanted = found === true ? children.filter(({ child }) => isManifestType(child.mediaType)) : children;
    if (found === true) for (const { child } of wanted) this.#present.add(visitKey(child));
    await allSettledOrThrow(wanted.map(({ child, step }) => this.part(child, [...path, step])));
    // A referrer is pushed even so: it may be there and still be missing from the list of its subject.
    if (found === true && manifest.subject === undefined) this.#arrived(descriptor, "present");
    else {
      const later = (listed: Promise<void>): void => {
        // Whoever waits for it comes later.
        listed.catch(() => {});
        this.#unlisted.push({ descriptor, path, listed });
      };
      await this.#push(
        { ...contentOf(bytes, descriptor), origin: originOf(this.#source, descriptor) },
        { found, later },
      );
    }
    this.#manifests.push({ descriptor, path });
  }

  /** Whether a closed target has a manifest, and so all below it; undefined where that is to be looked at in any case. */
  async #isComplete(descriptor: Descriptor): Promise<boolean | undefined> {
    if (!this.#target.closed || this.#options.forceRecursive === true) return undefined;
    if (this.#present.has(visitKey(descriptor))) return true;
    return this.#slots.run(() => this.#target.has(descriptor, this.#options));
  }

  /** A manifest that is in a layout already is read there: that is nearer than any registry. */
  async #read(descriptor: Descriptor): Promise<ReadManifest> {
    const { signal } = this.#options;
    const target = actualTarget(this.#target);
    if (target instanceof IndexedTarget && !(originOf(this.#source, descriptor) instanceof IndexedSource)) {
      try {
        if ((await target.size(descriptor.digest)) === descriptor.size)
          return await readManifest(target, descriptor, { signal });
      } catch (error) {
        // It is damaged there, and is stored anew.
        if (!isOciError(error)) throw error;
      }
    }
    return readManifest(this.#source, descriptor, { signal });
  }

  #contentOf(descriptor: Descriptor): Content {
    const origin = originOf(this.#source, descriptor);
    const embedded = embeddedData(descriptor);
    if (embedded !== undefined) return { ...contentOf(embedded, descriptor), origin };
    const { signal, external } = this.#options;
    const open = (from?: number): Bytes =>
      this.#source.fetch(descriptor, { signal, unchecked: true, ...(from === undefined ? {} : { from }) });
    if (external !== undefined && isForeignLayerType(descriptor.mediaType))
      return { descriptor, open: () => orElse(open(), () => external(descriptor, { signal })), origin };
    // What lies on a disk here is read again as fast as it would be gone on with.
    const resumable = origin instanceof IndexedSource ? {} : { openFrom: open };
    return { descriptor, open: () => open(), ...resumable, origin };
  }

  #isLeftOut(descriptor: Descriptor): boolean {
    if (this.#leftOut.has(visitKey(descriptor)) || this.#absent.has(visitKey(descriptor))) return true;
    if (this.#options.external !== undefined || !isForeignLayerType(descriptor.mediaType)) return false;
    // Without urls nobody could get it from anywhere else.
    if ((descriptor.urls ?? []).length === 0) return false;
    this.#external.set(visitKey(descriptor), descriptor);
    return true;
  }

  async #referrersOf(subject: Descriptor, path: GraphPath): Promise<Listed[]> {
    const found: Descriptor[] = [];
    // Who chooses has to know what is chosen from.
    const unchecked = (this.#options.referrers ?? "all") === "all";
    for await (const referrer of this.#source.referrers(subject, { signal: this.#options.signal, unchecked }))
      found.push(referrer);
    return this.#chosen(found, path).map((descriptor) => ({
      descriptor,
      path: [...path, referrerStep(descriptor)],
      subject,
    }));
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

  async #copyReferrer({ descriptor: referrer, path, subject }: Listed): Promise<void> {
    try {
      if (!(await this.#isReferrer(referrer, subject))) return;
      // A referrer that is also a part of the root, or refers to two manifests of it, was counted before.
      if (this.#traversal.has(referrer)) return;
      this.#found++;
      await this.part(plainDescriptor(referrer), path);
    } catch (error) {
      if (!this.#traversal.has(referrer)) this.#found++;
      this.#failed(referrer, path, error);
    }
  }

  /** Whether what was listed is there and says so itself. What is on a disk here has been looked at. */
  async #isReferrer(referrer: Descriptor, subject: Descriptor): Promise<boolean> {
    if (this.#source instanceof IndexedSource || this.#traversal.has(referrer)) return true;
    try {
      const { manifest } = await this.#slots.run(() => this.#read(plainDescriptor(referrer)));
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
        const { manifest } = await this.#slots.run(() => this.#read(descriptor));
        if (this.#chosen([referrerDescriptor(descriptor, manifest)], path).length === 0) continue;
        if (!this.#traversal.has(descriptor)) this.#found++;
        const tags = await Tags.look(this.#source, actualTarget(this.#target), descriptor, [name], this.#options);
        if (tags.found) this.isPresent(descriptor);
        await this.part(descriptor, [...path, step]);
        this.#tagged.push(this.#target instanceof Rehearsal ? tags.foresee(name) : await tags.set(name));
      } catch (error) {
        this.#failed(descriptor, [...path, step], error);
      }
    }
  }

  #failed(descriptor: Descriptor, path: GraphPath, error: unknown): void {
    this.#options.signal?.throwIfAborted();
    this.#failures.push({ descriptor, path, error });
  }

  async #push(content: Content, options: Pick<PushOptions, "found" | "later"> = {}): Promise<Presence> {
    const { descriptor } = content;
    const large = this.#options.concurrency === undefined && descriptor.size > LARGE.size;
    return this.#slots.run(
      async () => {
        const { signal } = this.#options;
        signal?.throwIfAborted();
        this.#emit({ type: "start", descriptor });
        const onBytes = (bytes: number): void => {
          this.#bytes += bytes;
          this.#emit({ type: "bytes", descriptor, bytes });
        };
        const push = (): Promise<Presence> => this.#target.push(content, { ...options, signal, onBytes });
        const { arrivals } = this.#options;
        const presence = await (arrivals === undefined ? push() : arrivals.bring(descriptor, push));
        this.#arrived(descriptor, presence);
        return presence;
      },
      large ? LARGE.slots : 1,
    );
  }

  #arrived(descriptor: Descriptor, presence: Presence): void {
    this.#counts[presence]++;
    this.#emit({ type: "done", descriptor, presence });
  }

  #emit(event: CopyEvent): void {
    this.#options.onEvent?.(event);
  }
}

/** The first stream, or the other one where the first says that there is nothing. */
async function* orElse(first: Bytes, other: () => Bytes): AsyncGenerator<Uint8Array> {
  try {
    yield* first;
  } catch (error) {
    if (!isOciError(error, "NOT_FOUND")) throw error;
    yield* other();
  }
}
