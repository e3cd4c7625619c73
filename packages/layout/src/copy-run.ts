import type { Content, Presence, PushOptions, Source, Target } from "./content.js";
import { contentFrom } from "./content-from.js";
import type { ChosenImage, CopyEvent, CopyFailure, CopyOptions, CopyReport } from "./copy.js";
import { CopyReferrers } from "./copy-referrers.js";
import { Bases } from "./delta/bases.js";
import { located } from "./located.js";
import type { Descriptor } from "./model/descriptor.js";
import { isOciError } from "./model/errors.js";
import { isForeignLayerType, isManifestType } from "./model/media-types.js";
import { contentOf, type ReadManifest, readManifest } from "./model/verified.js";
import { originOf } from "./origin.js";
import { actualTarget } from "./rehearsal.js";
import type { TagChange } from "./set-tags.js";
import { allSettledOrThrow, Slots } from "./slots.js";
import { IndexedSource } from "./store/indexed-source.js";
import { IndexedTarget } from "./store/indexed-target.js";
import { Traversal } from "./traversal.js";
import { checkDepth, type GraphPath, referrerLevel, steps, visitKey } from "./walk.js";

/**
 * What is small takes as long as the way to a registry and back, so much of it goes at once. What is large takes as long as the
 * disk and the processors do; four at once keep them busy, and memory small.
 */
const SLOTS = 16;
const LARGE = { size: 1024 * 1024, slots: 4 };

/** A manifest that has arrived, and where it was met. */
export interface Arrived {
  readonly descriptor: Descriptor;
  readonly path: GraphPath;
}

/** One copy, or the rehearsal of one, on its way through the graph. */
export class CopyRun {
  readonly #source: Source;
  readonly #target: Target;
  readonly #options: CopyOptions;
  readonly #slots: Slots;
  readonly referrers: CopyReferrers;
  readonly #bases: Bases;
  readonly #leftOut: ReadonlyMap<string, Descriptor>;
  readonly #absent: ReadonlyMap<string, Descriptor>;
  /** A part that two manifests share moves once, and both wait for it. */
  readonly #traversal = new Traversal<Descriptor, Promise<void>>([], visitKey);
  /** The manifests that a closed target is known to have, without asking. */
  readonly #present = new Set<string>();
  /** The manifests that it is known not to have. */
  readonly #missing = new Set<string>();
  readonly #external = new Map<string, Descriptor>();
  readonly #counts: Record<Presence, number> = { written: 0, present: 0, mounted: 0, linked: 0 };
  readonly #failures: CopyFailure[] = [];
  /** The manifests that have arrived and whose referrers are still to be looked for. */
  #manifests: Arrived[] = [];
  /** The manifests that have arrived and are still to be listed as referrers. */
  readonly #unlisted: (Arrived & { readonly listed: Promise<void> })[] = [];
  #bytes = 0;

  /** What is left out of the image, or absent, is not copied, whatever points at it. */
  constructor({ source, leftOut, absent }: ChosenImage, target: Target, options: CopyOptions) {
    this.#source = source;
    this.#target = target;
    this.#options = options;
    this.#leftOut = new Map(leftOut.map((descriptor) => [visitKey(descriptor), descriptor]));
    this.#absent = new Map(absent.map((descriptor) => [visitKey(descriptor), descriptor]));
    this.#bases = new Bases(options);
    this.referrers = new CopyReferrers(this, source, target, options);
    this.#slots = new Slots(Math.min(options.concurrency ?? SLOTS, target.concurrency ?? Number.MAX_SAFE_INTEGER));
  }

  /** Says that the target has a manifest, because a tag stands for it there. */
  isPresent(manifest: Descriptor): void {
    if (this.#target.closed && this.#options.forceRecursive !== true) this.#present.add(visitKey(manifest));
  }

  /** Says that the target does not have a manifest, or not so that it is found by its subject. */
  isMissing(manifest: Descriptor): void {
    this.#missing.add(visitKey(manifest));
  }

  /** Copies what `descriptor` names, with all that it points at. */
  part(descriptor: Descriptor, path: GraphPath): Promise<void> {
    return this.#traversal.once(descriptor, () => this.#copyPart(descriptor, path));
  }

  /** Copies `root`, then what refers to all that was copied, and waits until the referrers are found by their subjects. */
  async copyAll(root: Descriptor): Promise<void> {
    try {
      await this.part(root, []);
      if (this.#options.referrers !== "none") await this.referrers.copyAll();
    } finally {
      await this.referrers.end();
    }
    await this.#allListed();
  }

  /** True where the content has been come across before. */
  hasMet(descriptor: Descriptor): boolean {
    return this.#traversal.has(descriptor);
  }

  /** Takes a manifest for copied that the target has with all below it, and of which nothing needs to be read. */
  foundWhole(manifest: Descriptor, path: GraphPath): Promise<void> {
    return this.#traversal.once(manifest, async () => {
      this.#arrived(manifest, "present");
      this.#manifests.push({ descriptor: manifest, path });
    });
  }

  /** The manifests that have arrived since this was asked last. */
  takeArrived(): readonly Arrived[] {
    const arrived = this.#manifests;
    this.#manifests = [];
    return arrived;
  }

  async #allListed(): Promise<void> {
    for (const { descriptor, path, listed } of this.#unlisted) {
      try {
        await listed;
      } catch (error) {
        this.#emit({ type: "failed", descriptor, error });
        if (referrerLevel(path) === 0) throw path.length === 0 ? error : located(error, path);
        this.failed(descriptor, path, error);
      }
    }
  }

  /** `left` is what refers to an index that was not copied as it is. */
  report(descriptor: Descriptor, tagged: readonly TagChange[], left: readonly Descriptor[]): CopyReport {
    const { found } = this.referrers;
    return {
      source: this.#source.name,
      target: this.#target.name,
      descriptor,
      tags: [...(this.#options.tags ?? [])],
      tagged: [...tagged, ...this.referrers.tagged],
      ...this.#counts,
      bytes: this.#bytes,
      referrers: { found, copied: found - this.#failures.length },
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
    const own = contentFrom(this.#source, descriptor, this.#options);
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
    this.referrers.begin(descriptor, path);
    const { manifest, bytes } = await this.#slots.run(() => this.read(descriptor));
    const found = await this.#isComplete(descriptor);
    const children = steps(manifest).filter(({ child }) => !this.isLeftOut(child));
    // The parts of a manifest that is there are there too; only those that may have referrers are looked at.
    const wanted = found === true ? children.filter(({ child }) => isManifestType(child.mediaType)) : children;
    if (found === true) for (const { child } of wanted) this.#present.add(visitKey(child));
    await allSettledOrThrow(wanted.map(({ child, step }) => this.part(child, [...path, step])));
    // A referrer is pushed even so: it may be there and still be missing from the list of its subject.
    if (found === true && manifest.subject === undefined) this.#arrived(descriptor, "present");
    else
      await this.#pushManifest(
        { ...contentOf(bytes, descriptor), origin: originOf(this.#source, descriptor) },
        path,
        found,
      );
    this.#manifests.push({ descriptor, path });
  }

  async #pushManifest(content: Content, path: GraphPath, found: boolean | undefined): Promise<void> {
    const { descriptor } = content;
    const later = (listed: Promise<void>): void => {
      // Whoever waits for it comes later.
      listed.catch(() => {});
      this.#unlisted.push({ descriptor, path, listed });
    };
    await this.#push(content, { found, later });
  }

  /** Whether a closed target has a manifest, and so all below it; undefined where that is to be looked at in any case. */
  async #isComplete(descriptor: Descriptor): Promise<boolean | undefined> {
    if (!this.#target.closed || this.#options.forceRecursive === true) return undefined;
    if (this.#present.has(visitKey(descriptor))) return true;
    if (this.#missing.has(visitKey(descriptor)) || this.#options.targetIsNew === true) return false;
    return this.#slots.run(() => this.#target.has(descriptor, this.#options));
  }

  /** A manifest that is in a layout already is read there: that is nearer than any registry. */
  async read(descriptor: Descriptor): Promise<ReadManifest> {
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

  /** True where the copy does without it. A foreign layer that is left out is noted for the report. */
  isLeftOut(descriptor: Descriptor): boolean {
    if (this.#leftOut.has(visitKey(descriptor)) || this.#absent.has(visitKey(descriptor))) return true;
    if (this.#options.external !== undefined || !isForeignLayerType(descriptor.mediaType)) return false;
    // Without urls nobody could get it from anywhere else.
    if ((descriptor.urls ?? []).length === 0) return false;
    this.#external.set(visitKey(descriptor), descriptor);
    return true;
  }

  /** Notes what went wrong with a referrer, which does not end the copy; an interruption does. */
  failed(descriptor: Descriptor, path: GraphPath, error: unknown): void {
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
        const found = options.found ?? (this.#target.closed && this.#options.targetIsNew === true ? false : undefined);
        const push = (): Promise<Presence> => this.#target.push(content, { ...options, found, signal, onBytes });
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
