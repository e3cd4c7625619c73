import type { Abortable, Content, Presence, PushOptions, Source, Target } from "./content.js";
import { type Descriptor, plainDescriptor } from "./model/descriptor.js";
import { isOciError, type OciError, withContext } from "./model/errors.js";
import { isManifestType } from "./model/media-types.js";
import { contentOf, readManifest } from "./model/verified.js";
import { type ReferrerFilter, selectReferrers } from "./referrer-filter.js";
import { IndexedTarget } from "./store/indexed-target.js";
import { checkDepth, type GraphPath, referrerLevel, referrerStep, steps, visitKey } from "./walk.js";

/** Which referrers go along: all of them, none, those that a filter lets through, or those the function says yes to. */
export type ReferrersChoice = "all" | "none" | ReferrerFilter | ((referrer: Descriptor) => boolean);

/** The options of {@link copy}. */
export interface CopyOptions extends Abortable {
  /** What the root is tagged with at the target, after everything else has arrived. Default: nothing. */
  readonly tags?: readonly string[];
  /** Default: `all`. They follow every manifest of the graph, and each other. */
  readonly referrers?: ReferrersChoice;
  /** How many pieces of content move at once. Default: 4. */
  readonly concurrency?: number;
  /** Look at everything a manifest points at, also where the target is `closed` and has the manifest. Default: false. */
  readonly forceRecursive?: boolean;
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

/** What a copy did. Counts are pieces of content, each digest once. */
export interface CopyReport {
  readonly source: string;
  readonly target: string;
  /** The root, as the target has it now. */
  readonly descriptor: Descriptor;
  readonly tags: readonly string[];
  readonly written: number;
  readonly present: number;
  readonly mounted: number;
  readonly linked: number;
  /** Bytes stored or sent. */
  readonly bytes: number;
  /** The referrers that were found and chosen, and those of them that are at the target now. */
  readonly referrers: { readonly found: number; readonly copied: number };
  /** Referrers that are not at the target, and why. The copy is only partly done where there is one. */
  readonly failures: readonly CopyFailure[];
}

const DEFAULT_CONCURRENCY = 4;

/**
 * Makes everything below `reference` present at the target, byte for byte: what a manifest points at before the manifest,
 * a subject before its referrers, the tags last. What the target has is not read. Fails, with no tag set, where a part of
 * the root cannot be copied; a referrer that cannot is in the report's `failures`.
 */
export async function copy(
  source: Source,
  target: Target,
  reference: string | Descriptor,
  options: CopyOptions = {},
): Promise<CopyReport> {
  const root = typeof reference === "string" ? await source.resolve(reference, options) : reference;
  const run = new CopyRun(source, target, options);
  try {
    await run.part(root, []);
    if (options.referrers !== "none") await run.referrersOfAll();
    await run.allListed();
    for (const tag of options.tags ?? []) await target.tag(tag, root, options);
    // Without a name the root would be in a layout, and nothing would say so.
    if ((options.tags ?? []).length === 0 && target instanceof IndexedTarget) await target.addEntry(root, options);
  } catch (error) {
    const what = typeof reference === "string" ? `${reference} (${root.digest})` : root.digest;
    throw withContext(error, `cannot copy ${what} from ${source.name} to ${target.name}`);
  }
  return run.report(root);
}

class CopyRun {
  readonly #source: Source;
  readonly #target: Target;
  readonly #options: CopyOptions;
  readonly #slots: Slots;
  /** One claim for each digest: a part that two manifests share moves once. */
  readonly #claims = new Map<string, Promise<void>>();
  /** The manifests that have arrived and whose referrers are still to be looked for. */
  #manifests: { readonly descriptor: Descriptor; readonly path: GraphPath }[] = [];
  readonly #counts: Record<Presence, number> = { written: 0, present: 0, mounted: 0, linked: 0 };
  readonly #failures: CopyFailure[] = [];
  /** The manifests that have arrived and are still to be listed as referrers. */
  readonly #unlisted: { readonly descriptor: Descriptor; readonly path: GraphPath; readonly listed: Promise<void> }[] =
    [];
  #bytes = 0;
  #found = 0;

  constructor(source: Source, target: Target, options: CopyOptions) {
    this.#source = source;
    this.#target = target;
    this.#options = options;
    this.#slots = new Slots(
      Math.min(options.concurrency ?? DEFAULT_CONCURRENCY, target.concurrency ?? Number.MAX_SAFE_INTEGER),
    );
  }

  /** Copies what `descriptor` names, with all that it points at. */
  part(descriptor: Descriptor, path: GraphPath): Promise<void> {
    const claimed = this.#claims.get(visitKey(descriptor));
    if (claimed !== undefined) return claimed;
    const work = this.#copyPart(descriptor, path);
    this.#claims.set(visitKey(descriptor), work);
    return work;
  }

  /** Copies the referrers of all that was copied, then their referrers, until there are none. */
  async referrersOfAll(): Promise<void> {
    while (this.#manifests.length > 0) {
      const subjects = this.#manifests;
      this.#manifests = [];
      const listed = await allSettledOrThrow(
        subjects.map(({ descriptor, path }) => this.#slots.run(() => this.#referrersOf(descriptor, path))),
      );
      // In the order of the subjects: which listing was the quickest must not show in an archive.
      await allSettledOrThrow(listed.flat().map(({ referrer, path }) => this.#copyReferrer(referrer, path)));
    }
  }

  /** Waits until the referrers that were pushed are found by their subjects. */
  async allListed(): Promise<void> {
    for (const { descriptor, path, listed } of this.#unlisted) {
      try {
        await listed;
      } catch (error) {
        this.#options.signal?.throwIfAborted();
        this.#emit({ type: "failed", descriptor, error });
        if (referrerLevel(path) === 0) throw path.length === 0 ? error : located(error, path);
        this.#failures.push({ descriptor, path, error });
      }
    }
  }

  report(descriptor: Descriptor): CopyReport {
    return {
      source: this.#source.name,
      target: this.#target.name,
      descriptor,
      tags: [...(this.#options.tags ?? [])],
      ...this.#counts,
      bytes: this.#bytes,
      referrers: { found: this.#found, copied: this.#found - this.#failures.length },
      failures: this.#failures,
    };
  }

  async #copyPart(descriptor: Descriptor, path: GraphPath): Promise<void> {
    checkDepth(path, descriptor);
    try {
      if (isManifestType(descriptor.mediaType)) await this.#copyManifest(descriptor, path);
      else
        await this.#push({
          descriptor,
          open: () => this.#source.fetch(descriptor, this.#options),
          origin: this.#source,
        });
    } catch (error) {
      this.#emit({ type: "failed", descriptor, error });
      throw path.length === 0 ? error : located(error, path);
    }
  }

  async #copyManifest(descriptor: Descriptor, path: GraphPath): Promise<void> {
    const { manifest, bytes } = await this.#slots.run(() =>
      readManifest(this.#source, descriptor, { signal: this.#options.signal }),
    );
    const complete =
      this.#target.closed &&
      this.#options.forceRecursive !== true &&
      (await this.#slots.run(() => this.#target.has(descriptor, this.#options)));
    const children = steps(manifest);
    // The parts of a manifest that is there are there too; only those that may have referrers are looked at.
    const wanted = complete ? children.filter(({ child }) => isManifestType(child.mediaType)) : children;
    await allSettledOrThrow(wanted.map(({ child, step }) => this.part(child, [...path, step])));
    // A referrer is pushed even so: it may be there and still be missing from the list of its subject.
    if (complete && manifest.subject === undefined) this.#arrived(descriptor, "present");
    else {
      const later = (listed: Promise<void>): void => {
        // Whoever waits for it comes later.
        listed.catch(() => {});
        this.#unlisted.push({ descriptor, path, listed });
      };
      await this.#push({ ...contentOf(bytes, descriptor), origin: this.#source }, later);
    }
    this.#manifests.push({ descriptor, path });
  }

  async #referrersOf(subject: Descriptor, path: GraphPath): Promise<{ referrer: Descriptor; path: GraphPath }[]> {
    const choice = this.#options.referrers ?? "all";
    const found: Descriptor[] = [];
    for await (const referrer of this.#source.referrers(subject, { signal: this.#options.signal })) {
      if (typeof choice !== "function" || choice(referrer)) found.push(referrer);
    }
    const chosen = typeof choice === "object" ? selectReferrers(found, choice, referrerLevel(path) + 1) : found;
    return chosen.map((referrer) => ({ referrer, path: [...path, referrerStep(referrer)] }));
  }

  async #copyReferrer(referrer: Descriptor, path: GraphPath): Promise<void> {
    // A referrer that is also a part of the root, or refers to two manifests of it, was counted before.
    if (this.#claims.has(visitKey(referrer))) return;
    this.#found++;
    try {
      await this.part(plainDescriptor(referrer), path);
    } catch (error) {
      this.#options.signal?.throwIfAborted();
      this.#failures.push({ descriptor: referrer, path, error });
    }
  }

  async #push(content: Content, later?: NonNullable<PushOptions["later"]>): Promise<void> {
    const { descriptor } = content;
    await this.#slots.run(async () => {
      this.#options.signal?.throwIfAborted();
      this.#emit({ type: "start", descriptor });
      const onBytes = (bytes: number): void => {
        this.#bytes += bytes;
        this.#emit({ type: "bytes", descriptor, bytes });
      };
      this.#arrived(
        descriptor,
        await this.#target.push(content, { signal: this.#options.signal, onBytes, ...(later && { later }) }),
      );
    });
  }

  #arrived(descriptor: Descriptor, presence: Presence): void {
    this.#counts[presence]++;
    this.#emit({ type: "done", descriptor, presence });
  }

  #emit(event: CopyEvent): void {
    this.#options.onEvent?.(event);
  }
}

/** A number of slots; work waits for a free one. A parent gives its slot up while it waits for its children, so none can starve. */
class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    if (!Number.isSafeInteger(count) || count < 1)
      throw new TypeError(`concurrency must be a positive integer, not ${count}`);
    this.#free = count;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}

/** Waits for all, so that nothing is still being written when the first failure is reported. */
async function allSettledOrThrow<T>(work: readonly Promise<T>[]): Promise<T[]> {
  return (await Promise.allSettled(work)).map((result) => {
    if (result.status === "rejected") throw result.reason;
    return result.value;
  });
}

const locatedErrors = new WeakSet<OciError>();

/** Says where in the graph an error happened, once. */
function located(error: unknown, path: GraphPath): unknown {
  if (!isOciError(error) || locatedErrors.has(error)) return error;
  const result = withContext(error, path.join(" > "));
  locatedErrors.add(result as OciError);
  return result;
}
