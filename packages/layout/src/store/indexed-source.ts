import type { Abortable, FetchOptions, ReferrersOptions, Source, TagListOptions, Target } from "../content.js";
import type { Delta } from "../delta/delta.js";
import type { SizedDigest } from "../delta/sized-digest.js";
import type { Descriptor } from "../model/descriptor.js";
import { type Digest, isDigest, isVerifiable } from "../model/digest.js";
import { isOciError, OciError } from "../model/errors.js";
import { parseJsonObject } from "../model/json.js";
import { MAXIMUM_MANIFEST_SIZE, type Manifest, referrerDescriptor, sniffManifestType } from "../model/manifest.js";
import { isManifestType } from "../model/media-types.js";
import { type ReadManifest, readBytes, readManifest } from "../model/verified.js";
import { Traversal } from "../traversal.js";
import { compareText, findEntry, isNamed, type LayoutIndex, refName, unnamed } from "./index-json.js";
import { findLists, isListEntry } from "./referrer-forms.js";

/** How many parsed manifests are remembered. Content never changes under its digest, so they cannot grow stale. */
const REMEMBERED_MANIFESTS = 50_000;

/** How many manifests are read at once. */
const BATCH = 16;

/** The options of {@link IndexedSource.check}. */
export interface CheckOptions extends Abortable {
  /** Told the number of bytes as they are read. */
  readonly onBytes?: ((count: number) => void) | undefined;
}

/** What a search for referrers needs to know of a manifest. */
interface Facts {
  readonly subject: Digest | undefined;
  readonly listed: Descriptor;
  readonly manifests: readonly Descriptor[];
}

/**
 * A source whose tags and referrers stand in an `index.json`: a layout directory, an archive, a store in memory. It
 * answers from the index as it is at that moment, and trusts no list of referrers: a manifest counts as a referrer only
 * where its own `subject` says so.
 */
export abstract class IndexedSource implements Source {
  abstract readonly name: string;
  readonly #facts = new Map<Digest, Facts>();

  /** True where an index may name children that are not there without being damaged. A copy leaves those out. */
  readonly sparse: boolean = false;

  /** The index as it stands now. */
  abstract index(options?: Abortable): Promise<LayoutIndex>;
  /** The size in bytes of the blob with this digest, or undefined where it is not there. */
  abstract size(digest: Digest): Promise<number | undefined>;
  abstract fetch(descriptor: Descriptor, options?: FetchOptions): AsyncIterable<Uint8Array>;

  /** What it leaves out on purpose, because a base has it. Undefined where it does not do so. */
  get delta(): Delta | undefined {
    return undefined;
  }

  /** The content that has to be where this source is taken in. */
  get needs(): readonly SizedDigest[] {
    return this.delta?.needs ?? [];
  }

  /** True for content that is not here, and was not left to a base either. */
  async lacks(digest: Digest): Promise<boolean> {
    return (await this.size(digest)) === undefined && this.delta?.needs.some((one) => one.digest === digest) !== true;
  }

  /** What a copy to `target` that failed with `error` is to say: a source that knows more than the error tells it here. */
  async explain(error: unknown, _target: Target, _options?: Abortable): Promise<unknown> {
    return error;
  }

  /** The verified bytes of small content, where they can be had at once; undefined tells nothing. */
  peek(_digest: Digest): Uint8Array | undefined {
    return undefined;
  }

  /** Reads content to see whether it is what the descriptor says. Fails as {@link fetch} does. */
  async check(descriptor: Descriptor, options: CheckOptions = {}): Promise<void> {
    for await (const chunk of this.fetch(descriptor, options)) options.onBytes?.(chunk.byteLength);
  }

  /**
   * The part of the index that can matter to a reference: for its `entry`, or for the `referrers` of a digest. A source that
   * can tell without reading all of its index says so here; this one takes all of it.
   */
  protected about(_reference: string, _purpose: "entry" | "referrers", options: Abortable): Promise<LayoutIndex> {
    return this.index(options);
  }

  /** The part of the index that has names. */
  protected namedEntries(options: Abortable): Promise<LayoutIndex> {
    return this.index(options);
  }

  async resolve(reference: string, options: Abortable = {}): Promise<Descriptor> {
    options.signal?.throwIfAborted();
    const entry = findEntry(await this.about(reference, "entry", options), reference, this.name);
    if (entry !== undefined) return unnamed(entry);
    const unlisted = isDigest(reference) ? await this.#unlisted(reference, options) : undefined;
    if (unlisted !== undefined) return unlisted;
    throw new OciError("NOT_FOUND", `${this.name} has no ${isDigest(reference) ? "manifest" : "tag"} ${reference}`, {
      hint: await this.#known(reference),
    });
  }

  async *tags(options: TagListOptions = {}): AsyncIterable<string> {
    options.signal?.throwIfAborted();
    const { manifests } = await (options.all === true ? this.index(options) : this.namedEntries(options));
    const shown = manifests.filter((entry) => isNamed(entry) || (options.all === true && isListEntry(entry)));
    const names = new Set(shown.flatMap((entry) => refName(entry) ?? []));
    yield* [...names].sort(compareText);
  }

  async *referrers(subject: Descriptor, options: ReferrersOptions = {}): AsyncIterable<Descriptor> {
    const found = new Map<Digest, Descriptor>();
    for await (const candidate of this.#candidates(subject.digest, options)) {
      if (candidate.subject === subject.digest) found.set(candidate.listed.digest, candidate.listed);
    }
    for (const referrer of [...found.values()].sort((a, b) => compareText(a.digest, b.digest))) {
      if (options.artifactType === undefined || referrer.artifactType === options.artifactType) yield referrer;
    }
  }

  /** Every manifest that may be a referrer of `subject`: those its lists name, and all that can be reached from the index. */
  async *#candidates(subject: Digest, options: Abortable): AsyncGenerator<Facts> {
    const index = await this.about(subject, "referrers", options);
    const entries = [...findLists(index, subject), ...index.manifests.filter((entry) => !isListEntry(entry))];
    const traversal = new Traversal(entries, ({ digest }) => digest);
    for (let batch = traversal.batch(BATCH); batch.length > 0; batch = traversal.batch(BATCH)) {
      options.signal?.throwIfAborted();
      // A store that answers at once would keep everything else waiting.
      await new Promise((resolve) => setImmediate(resolve));
      for (const facts of await Promise.all(batch.map((next) => this.#read(next, options)))) {
        if (facts === undefined) continue;
        yield facts;
        traversal.add(facts.manifests);
      }
    }
  }

  /** What the given lists of referrers name, as it stands in them. A list that cannot be read names nothing. */
  protected async listed(lists: readonly Descriptor[], options: Abortable = {}): Promise<readonly Descriptor[]> {
    const read = await Promise.all(lists.map((list) => this.#read(list, options)));
    return read.flatMap((facts) => {
      if (facts === undefined) return [];
      // What has a subject of its own is a referrer, and no list of them.
      return facts.subject === undefined ? facts.manifests : [facts.listed];
    });
  }

  async #read(descriptor: Descriptor, options: Abortable): Promise<Facts | undefined> {
    if (!isManifestType(descriptor.mediaType) || !isVerifiable(descriptor.digest)) return undefined;
    const known = this.#facts.get(descriptor.digest);
    if (known !== undefined) return known;
    try {
      const read = await readManifest(this, descriptor, options);
      return this.remember(read);
    } catch (error) {
      // A manifest that is absent or damaged is nobody's referrer. `verify` tells of it; a listing goes on.
      if (isOciError(error) && error.code !== "REGISTRY") return undefined;
      throw error;
    }
  }

  /** Keeps what a search for referrers needs to know of a manifest that was read anyway. */
  protected remember({ descriptor, manifest }: Pick<ReadManifest, "descriptor" | "manifest">): Facts {
    const facts: Facts = {
      subject: manifest.subject?.digest,
      listed: referrerDescriptor(descriptor, manifest),
      manifests: manifestsOf(manifest),
    };
    if (this.#facts.size >= REMEMBERED_MANIFESTS) this.#facts.clear();
    this.#facts.set(descriptor.digest, facts);
    return facts;
  }

  /** A manifest that no entry names: a platform of an index, or a referrer that only a list names. */
  async #unlisted(digest: Digest, options: Abortable): Promise<Descriptor | undefined> {
    const size = await this.size(digest);
    if (size === undefined || size > MAXIMUM_MANIFEST_SIZE || !isVerifiable(digest)) return undefined;
    const bytes = await readBytes(this, { mediaType: "application/octet-stream", digest, size }, options);
    try {
      const mediaType = sniffManifestType(parseJsonObject(bytes, digest));
      return mediaType === undefined ? undefined : { mediaType, digest, size };
    } catch {
      return undefined;
    }
  }

  async #known(reference: string): Promise<string | undefined> {
    if (isDigest(reference)) return undefined;
    const names: string[] = [];
    for await (const name of this.tags()) {
      if (names.length === 10) return `It has ${names.join(", ")} and more.`;
      names.push(name);
    }
    return names.length === 0 ? "It has no tags." : `It has ${names.join(", ")}.`;
  }
}

function manifestsOf(manifest: Manifest): readonly Descriptor[] {
  return manifest.kind === "index" ? manifest.manifests.filter((child) => isManifestType(child.mediaType)) : [];
}
