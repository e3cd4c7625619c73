import type { Abortable, Source } from "./content.js";
import { type Descriptor, formatDescriptor } from "./model/descriptor.js";
import { OciError } from "./model/errors.js";
import { MAXIMUM_MANIFEST_SIZE, type Manifest } from "./model/manifest.js";
import { isManifestType } from "./model/media-types.js";
import { formatPlatform } from "./model/platform.js";
import { readManifest } from "./model/verified.js";
import { type ReferrerFilter, selectReferrers } from "./referrer-filter.js";
import { Traversal } from "./traversal.js";

/** How deep indexes and referrers may nest. What people build has three levels. */
export const MAXIMUM_DEPTH = 64;

/** One step on the way from a root: `manifests[1] linux/arm64`, `layers[0]`, `referrer application/spdx+json`. */
export type GraphPath = readonly string[];

/** Something met on a {@link walk}. */
export interface Node {
  readonly descriptor: Descriptor;
  readonly path: GraphPath;
  /** How it was reached: as a root, as part of its parent, or as a manifest whose subject the parent is. */
  readonly relation: "root" | "child" | "referrer";
  /** The manifest that led here. */
  readonly parent?: Descriptor;
  /** The content, for a manifest or index that could be read. */
  readonly manifest?: Manifest;
  /** Its raw form, where `manifest` was read for this. */
  readonly bytes?: Uint8Array;
  /** Why a manifest or index could not be read. The walk goes on beside it. */
  readonly error?: unknown;
}

/** The options of {@link walk}. */
export interface WalkOptions extends Abortable {
  /** Follow the referrers of every manifest, and theirs: all, none, or those that a filter lets through. Default: true. */
  readonly referrers?: boolean | ReferrerFilter | undefined;
  /** Reads a manifest, for a caller that has it already; its bytes are not told then. Default: it is read from the source. */
  readonly read?: ((descriptor: Descriptor) => Promise<Manifest>) | undefined;
}

/**
 * Visits everything that can be reached from `roots`, each digest once, a parent before its children and its children
 * before its referrers. A loop ends, since nothing is visited twice; what nests deeper than {@link MAXIMUM_DEPTH} levels
 * fails with `LIMIT`. Blobs are named, not read.
 */
export async function* walk(
  source: Source,
  roots: Iterable<Descriptor>,
  options: WalkOptions = {},
): AsyncGenerator<Node, void, undefined> {
  const starts = [...roots].map((root): Node => ({ descriptor: root, path: [], relation: "root" }));
  const traversal = new Traversal(starts, ({ descriptor }) => visitKey(descriptor));
  for (let node = traversal.next(); node !== undefined; node = traversal.next()) {
    options.signal?.throwIfAborted();
    checkDepth(node.path, node.descriptor);
    const read = isManifestType(node.descriptor.mediaType) ? await readNode(source, node, options) : node;
    yield read;
    if (read.manifest === undefined) continue;
    // What is added last comes first: the children before the referrers.
    if (options.referrers !== false) traversal.add(await referrersOf(source, node, options));
    traversal.add(childrenOf(node, read.manifest));
  }
}

/** The node with its content, or with why it could not be read. */
async function readNode(source: Source, node: Node, { read, signal }: WalkOptions): Promise<Node> {
  const { descriptor } = node;
  try {
    if (read !== undefined) return { ...node, manifest: await read(descriptor) };
    return { ...node, ...(await readManifest(source, descriptor, { limit: MAXIMUM_MANIFEST_SIZE, signal })) };
  } catch (error) {
    signal?.throwIfAborted();
    return { ...node, error };
  }
}

function* childrenOf({ descriptor: parent, path }: Node, manifest: Manifest): Generator<Node, void, undefined> {
  for (const { child, step } of steps(manifest))
    yield { descriptor: child, path: [...path, step], relation: "child", parent };
}

/** The nodes of a walk with the name of their root at the beginning of their path. */
export async function* withRootNames(
  nodes: AsyncIterable<Node>,
  names: ReadonlyMap<string, string>,
): AsyncGenerator<Node, void, undefined> {
  let root = "";
  for await (const node of nodes) {
    if (node.relation === "root") root = names.get(node.descriptor.digest) ?? node.descriptor.digest;
    yield { ...node, path: [root, ...node.path] };
  }
}

async function referrersOf(
  source: Source,
  { descriptor: parent, path }: Node,
  { signal, referrers: choice }: WalkOptions,
): Promise<readonly Node[]> {
  const all: Descriptor[] = [];
  for await (const referrer of source.referrers(parent, { signal })) all.push(referrer);
  const chosen = typeof choice === "object" ? selectReferrers(all, choice, referrerLevel(path) + 1) : all;
  return chosen.map((descriptor) => ({
    descriptor,
    path: [...path, referrerStep(descriptor)],
    relation: "referrer",
    parent,
  }));
}

/** What a manifest points at, each with its place in it. */
export function steps(manifest: Manifest): readonly { readonly child: Descriptor; readonly step: string }[] {
  switch (manifest.kind) {
    case "image":
      return [
        { child: manifest.config, step: "config" },
        ...manifest.layers.map((child, at) => ({ child, step: `layers[${at}]` })),
      ];
    case "index":
      return manifest.manifests.map((child, at) => ({
        child,
        step: child.platform === undefined ? `manifests[${at}]` : `manifests[${at}] ${formatPlatform(child.platform)}`,
      }));
    case "artifact":
      return manifest.blobs.map((child, at) => ({ child, step: `blobs[${at}]` }));
  }
}

/**
 * What counts as the same content on the way through a graph. A manifest that also stands somewhere as a blob, a file that
 * was attached for instance, is met as either: as a blob nothing hangs on it.
 */
export function visitKey(descriptor: Descriptor): string {
  return `${isManifestType(descriptor.mediaType) ? "manifest" : "blob"} ${descriptor.digest}`;
}

/** The step from a subject to one of its referrers. */
export function referrerStep(referrer: Descriptor): string {
  return `referrer ${referrer.artifactType ?? referrer.digest}`;
}

/** How many times a path goes from a subject to a referrer. */
export function referrerLevel(path: GraphPath): number {
  return path.filter((step) => step.startsWith("referrer ")).length;
}

/** Fails with `LIMIT` where a path is deeper than {@link MAXIMUM_DEPTH} levels. */
export function checkDepth(path: GraphPath, descriptor: Descriptor): void {
  if (path.length <= MAXIMUM_DEPTH) return;
  throw new OciError("LIMIT", `${formatDescriptor(descriptor)} is nested deeper than ${MAXIMUM_DEPTH} levels`);
}
