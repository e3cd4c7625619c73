import { type Graph, referrersIn } from "./graph.js";
import type { Descriptor } from "./model/descriptor.js";
import { type Digest, isDigest } from "./model/digest.js";
import { annotationKeys, mediaTypes } from "./model/media-types.js";
import { referrersTag } from "./model/reference.js";
import { type LayoutIndex, refName } from "./store/index-json.js";
import { isListEntry } from "./store/referrer-forms.js";
import { Traversal } from "./traversal.js";

/** The options of {@link reachable}. */
export interface ReachableOptions {
  /** Keep referrers whose subject is not there, as those of an image that was signed where it is not. Default: true. */
  readonly keepDangling?: boolean;
  /** Manifests that stay for another reason, with what they lead to. */
  readonly roots?: Iterable<Digest>;
}

/** What an index keeps alive. */
export interface Reachable {
  /** The digests that stay, with their sizes in bytes. Content that is not there may be among them. */
  readonly live: ReadonlyMap<Digest, number>;
  /** Manifests that stay although their own links are not known, because they are damaged. */
  readonly damaged: readonly Digest[];
}

/**
 * Decides what stays of a layout. Roots are the entries with a name and those whose manifest has no subject. A root keeps
 * what it points at, and whatever stays keeps its referrers, which do not keep their subject. A list of referrers keeps
 * nothing, and whether the list itself stays is for the caller to decide. Each manifest is visited once, so a loop ends.
 */
export function reachable(graph: Graph, index: LayoutIndex, options: ReachableOptions = {}): Reachable {
  const referrers = referrersIn(graph);
  const live = new Map<Digest, number>();
  const damaged: Digest[] = [];
  const traversal = new Traversal(rootsOf(graph, index, options), (digest) => digest);
  const keep = (digest: Digest, size: number): void => {
    if (live.has(digest)) return;
    live.set(digest, size);
    // Also of what is met as a blob only: a manifest may be attached to something as a file.
    traversal.add(referrers.get(digest) ?? []);
  };
  for (let digest = traversal.next(); digest !== undefined; digest = traversal.next()) {
    const node = graph.get(digest);
    keep(digest, node?.size ?? 0);
    if (node?.state === "damaged") damaged.push(digest);
    const links = node?.links ?? [];
    for (const link of links) if (!link.manifest) keep(link.digest, link.size);
    traversal.add(links.filter(({ manifest }) => manifest).map((link) => link.digest));
  }
  return { live, damaged };
}

function rootsOf(graph: Graph, index: LayoutIndex, options: ReachableOptions): Digest[] {
  const roots: Digest[] = [...(options.roots ?? [])];
  const isDangling = (digest: Digest): boolean => {
    const subject = graph.get(digest)?.subject;
    return subject !== undefined && graph.get(subject.digest)?.state === "missing";
  };
  for (const entry of index.manifests) {
    const isList = isReferrersList(graph, entry);
    if (!isList && (refName(entry) !== undefined || graph.get(entry.digest)?.subject === undefined)) {
      roots.push(entry.digest);
    } else if (options.keepDangling !== false) {
      const weak = isList ? namedIn(graph, entry) : [entry.digest];
      for (const digest of weak) if (isDangling(digest)) roots.push(digest);
    }
  }
  return roots;
}

/**
 * True for an entry that only carries a list of referrers. An index that is tagged like one and names something that refers
 * to nothing is what somebody else keeps under such a name, and no list.
 */
export function isReferrersList(graph: Graph, entry: Descriptor): boolean {
  if (!isListEntry(entry) || entry.mediaType !== mediaTypes.index) return false;
  if (refName(entry)?.endsWith(referrersTag(entry.digest)) === true) return false;
  return namedIn(graph, entry).every((digest) => {
    const node = graph.get(digest);
    return node?.state !== "read" || node.subject !== undefined;
  });
}

/** The manifests that a list names. */
export function namedIn(graph: Graph, list: Pick<Descriptor, "digest">): readonly Digest[] {
  return (graph.get(list.digest)?.links ?? []).filter(({ manifest }) => manifest).map(({ digest }) => digest);
}

/** The digest whose referrers a list carries, as its annotation or its tag says. Undefined where nothing in the graph has that tag. */
export function subjectOfList(list: Descriptor, subjectsByTag: ReadonlyMap<string, Digest>): Digest | undefined {
  const annotated = list.annotations?.[annotationKeys.olaregSubject];
  if (annotated !== undefined) return isDigest(annotated) ? annotated : undefined;
  const name = refName(list) ?? "";
  const tag = name.slice(name.lastIndexOf(":") + 1);
  const text = tag.replace("-", ":");
  // Behind sha512- stands only a part of the digest.
  return text.startsWith("sha256:") && isDigest(text) ? text : subjectsByTag.get(tag);
}
