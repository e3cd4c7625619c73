import { type Graph, referrersIn } from "./graph.js";
import type { Descriptor } from "./model/descriptor.js";
import type { Digest } from "./model/digest.js";
import { isOciError } from "./model/errors.js";
import { MAXIMUM_MANIFEST_SIZE, referrerDescriptor } from "./model/manifest.js";
import { mediaTypes } from "./model/media-types.js";
import { referrersTag } from "./model/reference.js";
import { type ReadManifest, readManifest } from "./model/verified.js";
import { isReferrersList, namedIn, subjectOfList } from "./reachable.js";
import { type LayoutIndex, refName, withEntry } from "./store/index-json.js";
import type { Layout } from "./store/layout.js";
import { encodeList, entryForm, findLists, withReferrer } from "./store/referrer-forms.js";

/** A list of referrers that a collection removed, or wrote anew without what is gone. */
export interface PrunedList {
  /** The tag of the list, or the digest its annotation names. */
  readonly list: string;
  readonly digest: Digest;
  /** The digest of the new list. */
  readonly replacedBy?: Digest;
  readonly reason: string;
}

/** The index without what is gone. */
export interface PrunedEntries {
  readonly index: LayoutIndex;
  readonly entries: readonly { readonly digest: Digest; readonly reason: string }[];
  readonly lists: readonly PrunedList[];
}

/** The options of {@link pruneEntries}. */
export interface PruneOptions {
  readonly keepDangling: boolean;
  /** Do not store the lists that change. */
  readonly dryRun: boolean;
}

/**
 * The index without the entries of referrers that are not live, and with lists that name only what is live or was never
 * there. A live referrer that only something dead led to is registered anew. Where nothing changes, the index itself.
 */
export async function pruneEntries(
  layout: Layout,
  index: LayoutIndex,
  graph: Graph,
  live: ReadonlyMap<Digest, number>,
  options: PruneOptions,
): Promise<PrunedEntries> {
  const entries: { digest: Digest; reason: string }[] = [];
  const lists: PrunedList[] = [];
  const kept: Descriptor[] = [];
  const listed = new Set<Digest>();
  const subjectsByTag = new Map([...referrersIn(graph).keys()].map((subject) => [referrersTag(subject), subject]));
  for (const entry of index.manifests) {
    if (isReferrersList(graph, entry)) {
      const pruned = await pruneList(layout, entry, graph, live, subjectOfList(entry, subjectsByTag), options);
      if (pruned.entry !== undefined) kept.push(pruned.entry);
      for (const digest of pruned.names) listed.add(digest);
      if (pruned.change !== undefined) lists.push(pruned.change);
    } else if (live.has(entry.digest)) kept.push(entry);
    else
      entries.push({ digest: entry.digest, reason: `its subject ${graph.get(entry.digest)?.subject?.digest} is gone` });
  }
  const changed = entries.length > 0 || lists.length > 0;
  const rest = changed ? { ...index, manifests: kept } : index;
  return { index: await withLostReferrers(layout, rest, graph, live, listed, options), entries, lists };
}

async function pruneList(
  layout: Layout,
  entry: Descriptor,
  graph: Graph,
  live: ReadonlyMap<Digest, number>,
  subject: Digest | undefined,
  options: PruneOptions,
): Promise<{ names: readonly Digest[]; entry?: Descriptor; change?: PrunedList }> {
  const named = namedIn(graph, entry);
  const node = subject === undefined ? undefined : graph.get(subject);
  const isSubjectGone =
    subject !== undefined && !live.has(subject) && (options.keepDangling ? node?.state === "read" : true);
  const stays = (digest: Digest): boolean =>
    live.has(digest) || (!isSubjectGone && graph.get(digest)?.state === "missing");
  const rest = named.filter(stays);
  const list = refName(entry) ?? subject ?? entry.digest;
  if (rest.length === 0 && (isSubjectGone || named.length > 0)) {
    const reason = isSubjectGone ? `its subject ${subject} is gone` : "nothing it names is left";
    return { names: [], change: { list, digest: entry.digest, reason } };
  }
  if (rest.length === named.length) return { names: named, entry };
  const remaining = new Set(rest);
  const { manifest } = await readManifest(layout, entry);
  const items = manifest.kind === "index" ? manifest.manifests.filter(({ digest }) => remaining.has(digest)) : [];
  const { bytes, descriptor } = encodeList(items);
  if (!options.dryRun) await layout.write([bytes], mediaTypes.index);
  return {
    names: rest,
    entry: { ...entry, digest: descriptor.digest, size: descriptor.size },
    change: {
      list,
      digest: entry.digest,
      replacedBy: descriptor.digest,
      reason: `${named.length - rest.length} of ${named.length} referrers are gone`,
    },
  };
}

/**
 * Registers each live referrer that no entry, no list and no live manifest names any more, such as one whose writer was killed
 * before it got that far.
 */
async function withLostReferrers(
  layout: Layout,
  index: LayoutIndex,
  graph: Graph,
  live: ReadonlyMap<Digest, number>,
  listed: ReadonlySet<Digest>,
  options: PruneOptions,
): Promise<LayoutIndex> {
  const named = new Set(index.manifests.map(({ digest }) => digest));
  for (const digest of live.keys()) for (const link of graph.get(digest)?.links ?? []) named.add(link.digest);
  let result = index;
  for (const digest of live.keys()) {
    const node = graph.get(digest);
    if (node?.state !== "read" || node.subject === undefined || named.has(digest) || listed.has(digest)) continue;
    const read = await readIfManifest(layout, digest);
    if (read !== undefined) result = await withLostReferrer(layout, result, read, node.subject.digest, options);
  }
  return result;
}

/** The index with the referrer as an entry and in the list of its subject. */
async function withLostReferrer(
  layout: Layout,
  index: LayoutIndex,
  { descriptor, manifest }: ReadManifest,
  subject: Digest,
  options: PruneOptions,
): Promise<LayoutIndex> {
  const entry = entryForm(descriptor, manifest);
  // The lists written so far are not stored in a dry run; what is in them does not matter then.
  if (options.dryRun) return withEntry(index, entry);
  const items: Descriptor[] = [referrerDescriptor(descriptor, manifest)];
  for (const list of findLists(index, subject)) {
    const before = await readIfManifest(layout, list.digest);
    if (before?.manifest.kind === "index") items.push(...before.manifest.manifests);
  }
  const { bytes } = encodeList(items);
  if (bytes.byteLength > MAXIMUM_MANIFEST_SIZE) return withEntry(index, entry);
  return withReferrer(index, entry, subject, await layout.write([bytes], mediaTypes.index));
}

async function readIfManifest(layout: Layout, digest: Digest): Promise<ReadManifest | undefined> {
  try {
    return await readManifest(layout, await layout.resolve(digest));
  } catch (error) {
    // It is not there, or no manifest by the spec: no reader takes it for a referrer, or for a list of them.
    if (isOciError(error) && error.code !== "REGISTRY") return undefined;
    throw error;
  }
}
