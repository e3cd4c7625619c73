import { lstat } from "node:fs/promises";
import type { Abortable } from "./content.js";
import { type Graph, readGraph } from "./graph.js";
import type { Descriptor } from "./model/descriptor.js";
import type { Digest } from "./model/digest.js";
import { OciError } from "./model/errors.js";
import { forEachParallel, PARALLEL_READS } from "./parallel.js";
import { type PrunedList, pruneEntries } from "./prune-entries.js";
import { isReferrersList, namedIn, type Reachable, reachable } from "./reachable.js";
import { type ExpiredTag, expiredTags, type Retention } from "./retention.js";
import { parseLegacyTag } from "./store/conventions.js";
import { type LayoutIndex, refName } from "./store/index-json.js";
import type { Layout } from "./store/layout.js";
import type { SweepReport } from "./store/sweep.js";

/** What a collection keeps, and how it goes about it. */
export interface GcPolicy extends Retention, Abortable {
  /**
   * Content that was written, or found present by a writer, less than this long ago stays, in ms. It has to be longer than
   * a writer takes from its first blob to its tag. Default: one hour.
   */
  readonly grace?: number | undefined;
  /** Keep referrers whose subject is not there. Default: true. */
  readonly keepDangling?: boolean | undefined;
  /** Change nothing, and tell what would be done. */
  readonly dryRun?: boolean | undefined;
}

/** An entry of index.json without a tag that was removed: a referrer of something that is gone. */
export interface RemovedEntry {
  readonly digest: Digest;
  readonly reason: string;
}

/** What a collection did, or would do. */
export interface GcReport extends SweepReport {
  readonly layout: string;
  readonly dryRun: boolean;
  readonly tags: readonly ExpiredTag[];
  readonly entries: readonly RemovedEntry[];
  /** Lists of referrers that were removed or written anew. */
  readonly lists: readonly PrunedList[];
  /** Blobs that stay since something needs them, and their bytes as declared. */
  readonly live: { readonly blobs: number; readonly bytes: number };
  /** Bytes of the blobs that were removed. */
  readonly freed: number;
  /** False where what the policy keeps takes more than its maximum size. */
  readonly fits: boolean;
}

/** The default of {@link GcPolicy.grace}, in ms. */
export const DEFAULT_GRACE = 60 * 60_000;

/**
 * Removes the tags that the policy does not keep, then the referrers of what is gone, then every blob that nothing leads
 * to, and the leftovers of dead processes. The index is replaced before the first blob goes, and both happen under the
 * layout's lock: whenever it is killed, the layout is whole. Fails with `MISMATCH`, and removes nothing, where a manifest
 * that stays is damaged, since what it needs cannot be told.
 */
export async function gc(layout: Layout, policy: GcPolicy = {}): Promise<GcReport> {
  checkPolicy(policy);
  // Most is read before the lock is taken; under it only what is new.
  let graph = await readGraph(layout, await layout.index(policy), policy);
  let plan: Plan | undefined;
  const change = async (index: LayoutIndex): Promise<LayoutIndex> => {
    graph = await readGraph(layout, index, { ...policy, known: graph });
    plan = await planIndex(layout, index, graph, policy);
    return plan.index;
  };
  if (policy.dryRun === true) await change(await layout.index(policy));
  else await layout.update(change, policy);
  const { index: planned, ...done } = plan as unknown as Plan;
  let live: ReadonlyMap<Digest, number> = new Map();
  const swept = await layout.sweep(
    async (current) => {
      const index = policy.dryRun === true ? planned : current;
      graph = await readGraph(layout, index, { ...policy, known: graph });
      live = checked(everythingBelow(graph, index), layout).live;
      return (digest) => live.has(digest);
    },
    { grace: policy.grace ?? DEFAULT_GRACE, dryRun: policy.dryRun, signal: policy.signal },
  );
  const sum = (sizes: Iterable<number>): number => [...sizes].reduce((total, size) => total + size, 0);
  return {
    layout: layout.name,
    dryRun: policy.dryRun === true,
    ...done,
    ...swept,
    live: { blobs: live.size, bytes: sum(live.values()) },
    freed: sum(swept.removed.map(({ size }) => size)),
  };
}

type Plan = Pick<GcReport, "tags" | "entries" | "lists" | "fits"> & { readonly index: LayoutIndex };

/** What is to become of the index, lists that have to be written anew included. */
async function planIndex(layout: Layout, index: LayoutIndex, graph: Graph, policy: GcPolicy): Promise<Plan> {
  const options = { keepDangling: policy.keepDangling !== false };
  checked(everythingBelow(graph, index), layout);
  const { expired, fits } = await expiredTags(layout, index, graph, policy, policy);
  const gone = new Map(expired.map((one) => [one.tag, one]));
  let rest = withoutNames(index, gone);
  const companions = expired.length === 0 ? [] : orphanedCompanions(index, rest, graph);
  for (const one of companions) gone.set(one.tag, one);
  rest = withoutNames(index, gone);
  let kept = reachable(graph, rest, options);
  const young = await youngReferrers(layout, graph, kept, policy);
  if (young.length > 0) kept = reachable(graph, rest, { ...options, roots: young });
  const pruned = await pruneEntries(layout, rest, graph, kept.live, { ...options, dryRun: policy.dryRun === true });
  return { ...pruned, tags: [...gone.values()], fits };
}

function withoutNames(index: LayoutIndex, names: ReadonlyMap<string, unknown>): LayoutIndex {
  if (names.size === 0) return index;
  return { ...index, manifests: index.manifests.filter((entry) => !names.has(refName(entry) ?? "")) };
}

/** The tags named after an image that the policy takes away. */
function orphanedCompanions(index: LayoutIndex, rest: LayoutIndex, graph: Graph): ExpiredTag[] {
  const subjectOf = (entry: Descriptor): Digest | undefined => parseLegacyTag(refName(entry) ?? "")?.subject;
  const others = { ...rest, manifests: rest.manifests.filter((entry) => subjectOf(entry) === undefined) };
  const [before, after] = [reachable(graph, index).live, reachable(graph, others).live];
  return index.manifests.flatMap((entry) => {
    const subject = subjectOf(entry);
    if (subject === undefined || !before.has(subject) || after.has(subject)) return [];
    return [{ tag: refName(entry) as string, digest: entry.digest, created: "", reason: `it accompanies ${subject}` }];
  });
}

/**
 * Referrers that would go and were stored within the grace time: a writer stores an image, then its signature, and only then
 * the tag that keeps both.
 */
async function youngReferrers(layout: Layout, graph: Graph, kept: Reachable, policy: GcPolicy): Promise<Digest[]> {
  const grace = policy.grace ?? DEFAULT_GRACE;
  if (grace === 0) return [];
  const dead = [...graph].filter(([digest, { subject }]) => subject !== undefined && !kept.live.has(digest));
  const before = Date.now() - grace;
  const young: Digest[] = [];
  await forEachParallel(dead, PARALLEL_READS, async ([digest]) => {
    const stat = await lstat(layout.blobPath(digest)).catch(() => undefined);
    if (stat !== undefined && stat.mtimeMs > before) young.push(digest);
  });
  return young;
}

/** All that the index leads to: what somebody put there since the index was planned stays as well. */
function everythingBelow(graph: Graph, index: LayoutIndex): Reachable {
  const roots = index.manifests.flatMap((entry) => [
    entry.digest,
    ...(isReferrersList(graph, entry) ? namedIn(graph, entry) : []),
  ]);
  return reachable(graph, index, { roots });
}

function checked(kept: Reachable, layout: Layout): Reachable {
  const [first] = kept.damaged;
  if (first === undefined) return kept;
  throw new OciError("MISMATCH", `cannot collect ${layout.name}: what ${first} needs cannot be told, it is damaged`, {
    hint: "Repair the layout first, or remove what leads to it.",
  });
}

function checkPolicy({ keepLast, maxAge, maxSize, grace }: GcPolicy): void {
  for (const [name, value] of Object.entries({ keepLast, maxAge, maxSize, grace })) {
    if (value !== undefined && !(value >= 0)) throw new TypeError(`${name} must not be negative: ${value}`);
  }
}
