import type { Source } from "./content.js";
import type { Descriptor } from "./model/descriptor.js";
import type { Digest } from "./model/digest.js";
import { isOciError } from "./model/errors.js";
import { childrenOf, effectiveArtifactType } from "./model/manifest.js";
import { isManifestType } from "./model/media-types.js";
import { allRelated, type RelatedManifest, related } from "./related.js";
import { IndexedSource } from "./store/indexed-source.js";
import { type Node, type WalkOptions, walk } from "./walk.js";

/** A manifest, the manifests it consists of, and those that refer to it. */
export interface TreeNode {
  readonly descriptor: Descriptor;
  /** Of a manifest that is an artifact, or is listed as one. */
  readonly artifactType?: string;
  readonly annotations?: Descriptor["annotations"];
  /** Bytes of the manifest and of what it directly points at, manifests excepted. */
  readonly size: number;
  readonly children: TreeNode[];
  readonly referrers: TreeNode[];
  /** What it refers to, where that does not stand above it in the tree, and whether it is not there. */
  readonly subject?: { readonly descriptor: Descriptor; readonly missing: boolean };
  /** What goes with it and has no `subject` that says so; in a registry, what legacy tags tell of the manifests of the image. */
  readonly related?: readonly RelatedManifest[];
  /** Set where the manifest is not there, or cannot be read. */
  readonly problem?: string;
  /** Set where the same manifest stands elsewhere in the tree with all that hangs on it. */
  readonly repeated?: true;
}

/** The manifests below `root`, with their referrers and the referrers of those. Blobs are counted, not shown. */
export async function tree(source: Source, root: Descriptor, options: WalkOptions = {}): Promise<TreeNode> {
  const nodes = new Map<Digest, TreeNode>();
  const others = source instanceof IndexedSource ? await allRelated(source, options) : undefined;
  // A registry has to be asked for the tags of each manifest: those that make up the image are worth it, its referrers not.
  const relatedOf = async ({ descriptor, relation }: Node): Promise<readonly RelatedManifest[] | undefined> => {
    if (others !== undefined) return others.get(descriptor.digest);
    return relation === "referrer" ? undefined : related(source, descriptor, { signal: options.signal });
  };
  const inside = new Map<Digest, readonly Descriptor[]>();
  for await (const node of walk(source, [root], options)) {
    if (!isManifestType(node.descriptor.mediaType)) continue;
    const made = {
      ...treeNode(node),
      ...(await subjectOf(source, node, options)),
      // An attestation stands among the children of its index already.
      ...relatedTo((await relatedOf(node))?.filter(({ kind }) => kind !== "attestation")),
    };
    nodes.set(node.descriptor.digest, made);
    inside.set(node.descriptor.digest, node.manifest === undefined ? [] : childrenOf(node.manifest));
    const parent = node.parent === undefined ? undefined : nodes.get(node.parent.digest);
    (node.relation === "referrer" ? parent?.referrers : parent?.children)?.push(made);
  }
  // The walk shows each manifest once. Where a second parent has it too, it is named there without its branches.
  for (const [digest, children] of inside) {
    const node = nodes.get(digest) as TreeNode;
    for (const child of children.filter(({ mediaType }) => isManifestType(mediaType))) {
      const known = nodes.get(child.digest);
      if (known !== undefined && !node.children.includes(known))
        node.children.push({ ...known, descriptor: child, children: [], referrers: [], repeated: true });
    }
  }
  return nodes.get(root.digest) as TreeNode;
}

function treeNode({ descriptor, manifest, relation, error }: Node): TreeNode {
  if (manifest === undefined)
    return { descriptor, size: descriptor.size, children: [], referrers: [], problem: problemOf(error) };
  const artifactType = manifest.artifactType ?? (relation === "referrer" ? effectiveArtifactType(manifest) : undefined);
  const blobs = childrenOf(manifest).filter((child) => !isManifestType(child.mediaType));
  return {
    descriptor,
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(manifest.annotations === undefined ? {} : { annotations: manifest.annotations }),
    size: blobs.reduce((sum, blob) => sum + blob.size, descriptor.size),
    children: [],
    referrers: [],
  };
}

/** The subject of a manifest that was not reached from it. */
async function subjectOf(
  source: Source,
  { manifest, relation, parent }: Node,
  { signal }: WalkOptions,
): Promise<Pick<TreeNode, "subject">> {
  const descriptor = manifest?.subject;
  if (descriptor === undefined || (relation === "referrer" && parent?.digest === descriptor.digest)) return {};
  try {
    await source.resolve(descriptor.digest, { signal });
    return { subject: { descriptor, missing: false } };
  } catch (error) {
    if (!isOciError(error, "NOT_FOUND")) throw error;
    return { subject: { descriptor, missing: true } };
  }
}

function relatedTo(related: readonly RelatedManifest[] | undefined): Pick<TreeNode, "related"> {
  return related === undefined || related.length === 0 ? {} : { related };
}

function problemOf(error: unknown): string {
  if (isOciError(error, "NOT_FOUND")) return "missing";
  return error instanceof Error ? error.message : String(error);
}
