import { lstat } from "node:fs/promises";
import type { Abortable } from "./content.js";
import type { Graph } from "./graph.js";
import type { Descriptor } from "./model/descriptor.js";
import type { Digest } from "./model/digest.js";
import { isOciError, OciError } from "./model/errors.js";
import { isJsonObject, parseJsonObject } from "./model/json.js";
import { annotationKeys } from "./model/media-types.js";
import { readBytes, readManifest } from "./model/verified.js";
import { forEachParallel, PARALLEL_READS } from "./parallel.js";
import { isReferrersList, namedIn, reachable } from "./reachable.js";
import { parseLegacyTag } from "./store/conventions.js";
import { compareText, isNamed, type LayoutIndex, refName } from "./store/index-json.js";
import type { Layout } from "./store/layout.js";
import { listBlobs } from "./store/sweep.js";

/** Which tags a layout keeps. Without a member, that member asks for nothing. */
export interface Retention {
  /**
   * The newest tags of each group that are never removed, by number. Without `maxAge` and `maxSize` all others are; with
   * them, those that these select.
   */
  readonly keepLast?: number | undefined;
  /**
   * Patterns for tags. The groups are the tags that match one and have the same text in its capture groups; a pattern
   * without parentheses is a glob (`*`, `?`), and what matches it is one group. The first that matches counts. A tag that
   * matches none is kept. Default: all tags are one group.
   */
  readonly per?: readonly string[] | undefined;
  /** Tags whose image is older than this, in ms, are removed. */
  readonly maxAge?: number | undefined;
  /** The oldest tags are removed until what remains takes no more than this, in bytes. */
  readonly maxSize?: number | undefined;
}

/** A tag that a retention removes, and why. */
export interface ExpiredTag {
  readonly tag: string;
  readonly digest: Digest;
  /** When its image was made, as far as the image tells; else when it was stored. */
  readonly created: string;
  readonly reason: string;
}

/** What a retention makes of the tags. */
export interface RetentionResult {
  readonly expired: readonly ExpiredTag[];
  /** False where what must be kept takes more than `maxSize`. */
  readonly fits: boolean;
}

/** 1980-01-02. Reproducible builds state some earlier moment that says nothing about the age of an image. */
const FIRST_TIME_THAT_TELLS = Date.UTC(1980, 0, 2);

interface DatedTag {
  readonly tag: string;
  readonly entry: Descriptor;
  readonly group: string;
  readonly created: number;
}

/**
 * Selects the tags that the retention removes. An image is dated by the annotation `org.opencontainers.image.created`, else
 * by its config, else by the time its manifest was stored. Fails with `INVALID` for a pattern that cannot be read.
 */
export async function expiredTags(
  layout: Layout,
  index: LayoutIndex,
  graph: Graph,
  retention: Retention,
  options: Abortable,
): Promise<RetentionResult> {
  const { keepLast, maxAge, maxSize } = retention;
  if (keepLast === undefined && maxAge === undefined && maxSize === undefined) return { expired: [], fits: true };
  const tags = await datedTags(layout, index, graph, groupsOf(retention.per), options);
  const kept = newestOfEachGroup(tags, keepLast ?? 0);
  const removable = tags.filter((tag) => !kept.has(tag));
  const expired = new Map<DatedTag, string>();
  if (maxAge === undefined && maxSize === undefined) {
    for (const tag of removable) expired.set(tag, `not among the newest ${keepLast}`);
  }
  if (maxAge !== undefined) {
    const before = Date.now() - maxAge;
    for (const tag of removable) if (tag.created < before) expired.set(tag, "older than the maximum age");
  }
  let fits = true;
  if (maxSize !== undefined) {
    const rest = removable.filter((tag) => !expired.has(tag)).reverse();
    const measure = await measurer(layout, index, graph);
    const enough = fewestToRemove(rest, [...expired.keys()], maxSize, measure);
    fits = enough.fits;
    for (const tag of rest.slice(0, enough.count)) expired.set(tag, "the layout is larger than the maximum size");
  }
  return { expired: [...expired].map(([tag, reason]) => describe(tag, reason)), fits };
}

function describe({ tag, entry, created }: DatedTag, reason: string): ExpiredTag {
  return { tag, digest: entry.digest, created: new Date(created).toISOString(), reason };
}

/** Newest first; of two of the same age the one whose name sorts last. */
async function datedTags(
  layout: Layout,
  index: LayoutIndex,
  graph: Graph,
  groupOf: (tag: string) => string | undefined,
  options: Abortable,
): Promise<readonly DatedTag[]> {
  const tags: DatedTag[] = [];
  await forEachParallel(index.manifests, PARALLEL_READS, async (entry) => {
    options.signal?.throwIfAborted();
    const tag = refName(entry);
    if (tag === undefined || !isNamed(entry) || parseLegacyTag(tag) !== undefined || isReferrersList(graph, entry))
      return;
    const group = groupOf(tag);
    if (group !== undefined) tags.push({ tag, entry, group, created: await creationTime(layout, entry, options) });
  });
  return tags.sort((a, b) => b.created - a.created || compareText(b.tag, a.tag));
}

function newestOfEachGroup(tags: readonly DatedTag[], count: number): ReadonlySet<DatedTag> {
  const counts = new Map<string, number>();
  const kept = new Set<DatedTag>();
  for (const tag of tags) {
    const before = counts.get(tag.group) ?? 0;
    if (before < count) kept.add(tag);
    counts.set(tag.group, before + 1);
  }
  return kept;
}

function groupsOf(patterns: readonly string[] = []): (tag: string) => string | undefined {
  if (patterns.length === 0) return () => "";
  const expressions = patterns.map(expressionOf);
  return (tag) => {
    for (const [at, expression] of expressions.entries()) {
      const match = expression.exec(tag);
      if (match !== null) return JSON.stringify([at, ...match.slice(1)]);
    }
    return undefined;
  };
}

function expressionOf(pattern: string): RegExp {
  const isGlob = !pattern.includes("(");
  const glob = pattern
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  try {
    return new RegExp(`^(?:${isGlob ? glob : pattern})$`, "u");
  } catch (cause) {
    throw new OciError("INVALID", `not a pattern for tags: ${JSON.stringify(pattern)}`, {
      hint: "Write a glob like main-*, or a regular expression with a capture group like (.*)-[0-9]+.",
      cause,
    });
  }
}

async function creationTime(layout: Layout, entry: Descriptor, options: Abortable): Promise<number> {
  const stated = timeIn(entry.annotations?.[annotationKeys.created]) ?? (await statedTime(layout, entry, options));
  if (stated !== undefined) return stated;
  const stat = await lstat(layout.blobPath(entry.digest)).catch(() => undefined);
  // Of a manifest that is not there nothing is known; it counts as new.
  return stat?.mtimeMs ?? Date.now();
}

async function statedTime(layout: Layout, entry: Descriptor, options: Abortable): Promise<number | undefined> {
  try {
    const { manifest } = await readManifest(layout, entry, options);
    const annotated = timeIn(manifest.annotations?.[annotationKeys.created]);
    if (annotated !== undefined || manifest.kind !== "image") return annotated;
    const config = parseJsonObject(await readBytes(layout, manifest.config, options), "the config");
    return isJsonObject(config) ? timeIn(config.created) : undefined;
  } catch (error) {
    if (isOciError(error) && error.code !== "REGISTRY") return undefined;
    throw error;
  }
}

function timeIn(text: unknown): number | undefined {
  const time = typeof text === "string" ? Date.parse(text) : Number.NaN;
  return time >= FIRST_TIME_THAT_TELLS ? time : undefined;
}

/** A function that tells how many bytes on the disk remain live when some tags are removed. */
async function measurer(
  layout: Layout,
  index: LayoutIndex,
  graph: Graph,
): Promise<(removed: readonly DatedTag[]) => number> {
  const present = new Set((await listBlobs(layout.path)).digests);
  // A list stays for as long as something in it does, and is the larger now, if it changes.
  const lists = new Map(
    index.manifests.filter((entry) => isReferrersList(graph, entry)).map((entry) => [entry.digest, entry]),
  );
  return (removed) => {
    const entries = new Set(removed.map(({ entry }) => entry));
    const rest = { ...index, manifests: index.manifests.filter((entry) => !entries.has(entry)) };
    let size = 0;
    const { live } = reachable(graph, rest);
    for (const [digest, bytes] of live) if (present.has(digest)) size += bytes;
    for (const list of lists.values())
      if (!live.has(list.digest) && namedIn(graph, list).some((digest) => live.has(digest))) size += list.size;
    return size;
  };
}

/** How many of `tags`, from the front, have to go besides `others`. What remains only shrinks, so halving finds it. */
function fewestToRemove(
  tags: readonly DatedTag[],
  others: readonly DatedTag[],
  maxSize: number,
  measure: (removed: readonly DatedTag[]) => number,
): { count: number; fits: boolean } {
  const fits = (count: number): boolean => measure([...others, ...tags.slice(0, count)]) <= maxSize;
  let [low, high] = [0, tags.length];
  if (!fits(high)) return { count: high, fits: false };
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (fits(middle)) high = middle;
    else low = middle + 1;
  }
  return { count: low, fits: true };
}
