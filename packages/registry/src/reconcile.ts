import { setTimeout as sleep } from "node:timers/promises";
import {
  type Abortable,
  type Descriptor,
  type Digest,
  digestOf,
  isManifestType,
  isOciError,
  isReferrersTag,
  mediaTypes,
  OciError,
  parseManifest,
  referrersTag,
} from "@stowage/layout";
import type { Endpoint } from "./endpoint.js";
import type { Manifests } from "./manifests.js";
import type { Referrers } from "./referrers.js";
import { parseReferrersList } from "./referrers-list.js";
import { listTags } from "./tags.js";

/** The options of {@link Repository.reconcile}. */
export interface RepositoryReconcileOptions extends Abortable {
  /** Delete the tag of a list whose every entry the API lists. Default: false. */
  readonly prune?: boolean | undefined;
  /** Change nothing; tell what would be done. Default: false. */
  readonly dryRun?: boolean | undefined;
}

/** What became of the list under one referrers tag. */
export interface ReconciledList {
  readonly tag: string;
  /** Entries that the API listed already. */
  readonly listed: readonly Digest[];
  /** Entries that were pushed again, and that the API lists since. */
  readonly moved: readonly Digest[];
  /** Entries that are not there, or are no referrers of this subject. */
  readonly stale: readonly Digest[];
  /** Entries that the API does not list although they were pushed again, and why where that is known. */
  readonly failures: readonly { readonly digest: Digest; readonly error: unknown }[];
  /** The tag is gone. */
  readonly pruned: boolean;
  /** Why it was not, where it was to be. */
  readonly error?: unknown;
}

/** What reconciling a repository did, list by list. */
export interface RepositoryReconcileReport {
  readonly repository: string;
  /** Nothing was changed: the report tells what would be. */
  readonly dryRun: boolean;
  readonly lists: readonly ReconciledList[];
}

/** How long a registry may take to list what was pushed, in ms. */
const PATIENCE = [0, 200, 1000];

/** See {@link Repository.reconcile}. */
export async function reconcileRepository(
  endpoint: Endpoint,
  manifests: Manifests,
  referrers: Referrers,
  options: RepositoryReconcileOptions = {},
): Promise<RepositoryReconcileReport> {
  if (!(await referrers.offered(options)))
    throw new OciError("UNSUPPORTED", `cannot reconcile ${endpoint.name}: the registry has no referrers API`, {
      hint: "Without the API the lists under tags are where referrers belong; stowage and other tools read them there.",
    });
  const run = new ReconcileRun(endpoint, manifests, referrers, options);
  const lists: ReconciledList[] = [];
  for (const tag of await listTags(endpoint, { all: true, signal: options.signal })) {
    if (!isReferrersTag(tag)) continue;
    const list = await run.list(tag);
    if (list !== undefined) lists.push(list);
  }
  return { repository: endpoint.name, dryRun: options.dryRun ?? false, lists };
}

/** A list, sorted by what its entries turned out to be. */
interface Sorted {
  /** Of the list itself. */
  readonly digest: Digest;
  readonly stale: readonly Digest[];
  readonly entries: readonly { readonly entry: Descriptor; readonly subject: Digest; readonly bytes: Uint8Array }[];
}

class ReconcileRun {
  readonly #endpoint: Endpoint;
  readonly #manifests: Manifests;
  readonly #referrers: Referrers;
  readonly #options: RepositoryReconcileOptions;

  constructor(endpoint: Endpoint, manifests: Manifests, referrers: Referrers, options: RepositoryReconcileOptions) {
    this.#endpoint = endpoint;
    this.#manifests = manifests;
    this.#referrers = referrers;
    this.#options = options;
  }

  /** Undefined for what stands under such a tag and is no list. */
  async list(tag: string): Promise<ReconciledList | undefined> {
    const sorted = await this.#read(tag);
    if (sorted === undefined) return undefined;
    const { prune, dryRun } = this.#options;
    const subjects = [...new Set(sorted.entries.map(({ subject }) => subject))];
    const before = await this.#listed(subjects);
    const missing = sorted.entries.filter(({ entry }) => !before.has(entry.digest));
    const failures = dryRun === true ? [] : await this.#push(missing, subjects);
    const failed = new Set(failures.map(({ digest }) => digest));
    const common = {
      tag,
      listed: sorted.entries.map(({ entry }) => entry.digest).filter((digest) => before.has(digest)),
      moved: missing.map(({ entry }) => entry.digest).filter((digest) => !failed.has(digest)),
      stale: sorted.stale,
      failures,
    };
    if (prune !== true || failures.length > 0) return { ...common, pruned: false };
    if (dryRun === true) return { ...common, pruned: true };
    try {
      // Somebody who does not know of the API yet may have added to it meanwhile, and the registry may have seen to it itself.
      const now = await this.#manifests.read(tag, this.#options);
      if (now === undefined) return { ...common, pruned: true };
      if (digestOf(now.bytes) !== sorted.digest)
        throw new OciError("CONFLICT", `${this.#endpoint.name}:${tag} changed meanwhile; run it again`);
      await this.#manifests.untag(tag, this.#options);
      return { ...common, pruned: true };
    } catch (error) {
      this.#options.signal?.throwIfAborted();
      return { ...common, pruned: false, error };
    }
  }

  async #read(tag: string): Promise<Sorted | undefined> {
    const found = await this.#manifests.read(tag, this.#options);
    if (found === undefined || found.mediaType !== mediaTypes.index) return undefined;
    const digest = digestOf(found.bytes);
    // An index may be tagged after its own digest.
    if (referrersTag(digest) === tag) return undefined;
    const named = parseReferrersList(found.bytes, `the list ${this.#endpoint.name}:${tag}`);
    const stale: Digest[] = [];
    const entries: Sorted["entries"][number][] = [];
    for (const entry of new Map(named.map((one) => [one.digest, one])).values()) {
      const referrer = await this.#referrer(entry);
      if (referrer !== undefined && referrersTag(referrer.subject) === tag) entries.push(referrer);
      else stale.push(entry.digest);
    }
    return { digest, stale, entries };
  }

  async #referrer(entry: Descriptor): Promise<Sorted["entries"][number] | undefined> {
    if (!isManifestType(entry.mediaType)) return undefined;
    try {
      const bytes = await this.#manifests.bytes(entry, this.#options);
      const subject = parseManifest(bytes, entry.mediaType, entry.digest).subject?.digest;
      return subject === undefined ? undefined : { entry, subject, bytes };
    } catch (error) {
      if (isOciError(error, "NOT_FOUND")) return undefined;
      throw error;
    }
  }

  async #listed(subjects: readonly Digest[]): Promise<ReadonlySet<Digest>> {
    const listed = new Set<Digest>();
    for (const subject of subjects)
      for (const { digest } of (await this.#referrers.listed(subject, this.#options)) ?? []) listed.add(digest);
    return listed;
  }

  /** Pushes manifests that are there once more, so that the registry looks at their subject. Returns those that it still does not list. */
  async #push(missing: Sorted["entries"], subjects: readonly Digest[]): Promise<ReconciledList["failures"]> {
    if (missing.length === 0) return [];
    const errors = new Map<Digest, unknown>();
    for (const { entry, bytes } of missing) {
      try {
        const { digest, mediaType } = entry;
        await this.#manifests.put(digest, bytes, mediaType, { signal: this.#options.signal, digest });
      } catch (error) {
        this.#options.signal?.throwIfAborted();
        errors.set(entry.digest, error);
      }
    }
    let left: readonly Digest[] = missing.map(({ entry }) => entry.digest);
    for (const wait of PATIENCE) {
      await sleep(wait, undefined, { signal: this.#options.signal }).catch(() =>
        this.#options.signal?.throwIfAborted(),
      );
      const listed = await this.#listed(subjects);
      left = left.filter((digest) => !listed.has(digest));
      if (left.every((digest) => errors.has(digest))) break;
    }
    return left.map((digest) => ({
      digest,
      error:
        errors.get(digest) ??
        new OciError("REGISTRY", `${this.#endpoint.name} took the referrer ${digest} again and still does not list it`),
    }));
  }
}
