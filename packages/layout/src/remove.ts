import type { Abortable } from "./content.js";
import { type Graph, readGraph } from "./graph.js";
import type { Digest } from "./model/digest.js";
import { isOciError, OciError } from "./model/errors.js";
import { readManifest } from "./model/verified.js";
import { isReferrersList, reachable } from "./reachable.js";
import { type LayoutIndex, refName } from "./store/index-json.js";
import type { Layout } from "./store/layout.js";
import type { MemoryStore } from "./store/memory.js";
import { encodeList, findLists } from "./store/referrer-forms.js";

/** What content can be removed from. */
export type Removable = Layout | MemoryStore;

/** The options of {@link removeManifest}. */
export interface RemoveOptions extends Abortable {
  /** True for a name that goes with the manifest; others keep it. Default: every name goes. */
  readonly goes?: (name: string) => boolean;
}

/** What is known of the manifests of each target: content never changes under its digest. */
const graphs = new WeakMap<Removable, Graph>();

/**
 * Removes a manifest at once, whatever the grace time of a collection: its tags, its entry, its place in the lists of
 * referrers, then its bytes, unless a name that does not go still stands for it. What it points at stays for a collection.
 * Fails with `NOT_FOUND` where it is not there and with `CONFLICT`, and removes nothing, where an index needs it.
 */
export async function removeManifest(target: Removable, digest: Digest, options: RemoveOptions = {}): Promise<void> {
  const { goes = () => true } = options;
  const descriptor = await target.resolve(digest, options);
  if (!(await target.has(descriptor, options)))
    throw new OciError("NOT_FOUND", `${target.name} has no manifest ${digest}`);
  await target.update(async (index) => {
    const manifests = index.manifests.filter((entry) => {
      const name = refName(entry);
      return entry.digest !== digest || (name !== undefined && !goes(name));
    });
    const rest = manifests.length === index.manifests.length ? index : { ...index, manifests };
    if (rest.manifests.some((entry) => entry.digest === digest)) return rest;
    if (await isNeeded(target, digest, rest, options)) {
      throw new OciError("CONFLICT", `cannot remove ${digest} from ${target.name}: an index needs it`);
    }
    return withoutReferrer(target, digest, rest, options);
  }, options);
  await target.discard(digest, (index) => isNeeded(target, digest, index, options));
}

/**
 * Removes a blob at once, whatever the grace time of a collection. Fails with `NOT_FOUND` where it is not there and with
 * `CONFLICT`, and removes nothing, where a manifest needs it.
 */
export async function removeBlob(target: Removable, digest: Digest, options: Abortable = {}): Promise<void> {
  if ((await target.size(digest)) === undefined)
    throw new OciError("NOT_FOUND", `${target.name} has no blob ${digest}`);
  if (await target.discard(digest, (index) => isNeeded(target, digest, index, options))) return;
  throw new OciError("CONFLICT", `cannot remove ${digest} from ${target.name}: a manifest needs it`);
}

/** True if something that the index leads to points at the content, or an entry is it. Being a subject is no need. */
async function isNeeded(target: Removable, digest: Digest, index: LayoutIndex, options: Abortable): Promise<boolean> {
  const graph = await readGraph(target, index, { ...options, known: graphs.get(target) });
  graphs.set(target, graph);
  if (index.manifests.some((entry) => entry.digest === digest)) return true;
  const lists = index.manifests.filter((entry) => isReferrersList(graph, entry));
  const named = lists.flatMap((list) => graph.get(list.digest)?.links ?? []).map((link) => link.digest);
  const { live, damaged } = reachable(graph, index, { roots: named.filter((one) => one !== digest) });
  // What a damaged manifest needs cannot be told: then nothing goes.
  if (damaged.length > 0) return true;
  const node = graph.get(digest);
  // A referrer stays alive with its subject, but only by its entry or a list, which are taken away.
  if (node?.subject === undefined) return live.has(digest);
  return [...live.keys()].some((one) => (graph.get(one)?.links ?? []).some((link) => link.digest === digest));
}

/** The index with lists of referrers that do not name the manifest. */
async function withoutReferrer(
  target: Removable,
  digest: Digest,
  index: LayoutIndex,
  options: Abortable,
): Promise<LayoutIndex> {
  const subject = await subjectOf(target, digest, options);
  if (subject === undefined) return index;
  let result = index;
  for (const list of findLists(index, subject)) {
    const items = await itemsOf(target, list, options);
    const left = items.filter((item) => item.digest !== digest);
    if (left.length === items.length) continue;
    const { bytes, descriptor } = encodeList(left);
    if (left.length > 0) await target.write([bytes], descriptor.mediaType);
    const changed = { ...list, digest: descriptor.digest, size: descriptor.size };
    const manifests = result.manifests.flatMap((entry) =>
      entry !== list ? [entry] : left.length > 0 ? [changed] : [],
    );
    result = { ...result, manifests };
  }
  return result;
}

async function subjectOf(target: Removable, digest: Digest, options: Abortable): Promise<Digest | undefined> {
  try {
    return (await readManifest(target, await target.resolve(digest, options), options)).manifest.subject?.digest;
  } catch (error) {
    // Nobody's referrer, as far as can be told.
    if (isOciError(error)) return undefined;
    throw error;
  }
}

async function itemsOf(target: Removable, list: LayoutIndex["manifests"][number], options: Abortable) {
  try {
    const { manifest } = await readManifest(target, list, options);
    return manifest.kind === "index" ? manifest.manifests : [];
  } catch (error) {
    if (isOciError(error)) return [];
    throw error;
  }
}
