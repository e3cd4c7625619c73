import type { Abortable, Source } from "./content.js";
import { type Descriptor, formatDescriptor } from "./model/descriptor.js";
import { OciError } from "./model/errors.js";
import { MAXIMUM_MANIFEST_SIZE, type Manifest } from "./model/manifest.js";
import { isManifestType } from "./model/media-types.js";
import { formatPlatform } from "./model/platform.js";
import { readManifest } from "./model/verified.js";
import { type ReferrerFilter, selectReferrers } from "./referrer-filter.js";

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
  const seen = new Set<string>();
  for (const root of roots) yield* visit({ descriptor: root, path: [], relation: "root" });

  async function* visit(node: Node): AsyncGenerator<Node, void, undefined> {
    options.signal?.throwIfAborted();
    const { descriptor, path } = node;
    if (seen.has(visitKey(descriptor))) return;
    seen.add(visitKey(descriptor));
    checkDepth(path, descriptor);
    if (!isManifestType(descriptor.mediaType)) return yield node;
    let read: { manifest: Manifest; bytes?: Uint8Array };
    try {
      read =
        options.read === undefined
          ? await readManifest(source, descriptor, { limit: MAXIMUM_MANIFEST_SIZE, signal: options.signal })
          : { manifest: await options.read(descriptor) };
    } catch (error) {
      options.signal?.throwIfAborted();
      return yield { ...node, error };
    }
    yield { ...node, ...read };
    for (const { child, step } of steps(read.manifest)) {
      yield* visit({ descriptor: child, path: [...path, step], relation: "child", parent: descriptor });
    }
    if (options.referrers === false) return;
    for (const referrer of await referrersOf(source, node, options)) {
      yield* visit({
        descriptor: referrer,
        path: [...path, referrerStep(referrer)],
        relation: "referrer",
        parent: descriptor,
      });
    }
  }
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
  { descriptor, path }: Node,
  { signal, referrers: choice }: WalkOptions,
): Promise<readonly Descriptor[]> {
  const all: Descriptor[] = [];
  for await (const referrer of source.referrers(descriptor, { signal })) all.push(referrer);
  return typeof choice === "object" ? selectReferrers(all, choice, referrerLevel(path) + 1) : all;
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
