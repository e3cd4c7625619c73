import type { Source } from "./content.js";
import type { Descriptor } from "./model/descriptor.js";
import type { Digest } from "./model/digest.js";
import { isOciError } from "./model/errors.js";
import { childrenOf, effectiveArtifactType } from "./model/manifest.js";
import { isManifestType } from "./model/media-types.js";
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
  /** Set where the manifest is not there, or cannot be read. */
  readonly problem?: string;
  /** Set where the same manifest stands elsewhere in the tree with all that hangs on it. */
  readonly repeated?: true;
}

/** The manifests below `root`, with their referrers and the referrers of those. Blobs are counted, not shown. */
export async function tree(source: Source, root: Descriptor, options: WalkOptions = {}): Promise<TreeNode> {
  const nodes = new Map<Digest, TreeNode>();
  const inside = new Map<Digest, readonly Descriptor[]>();
  for await (const node of walk(source, [root], options)) {
    if (!isManifestType(node.descriptor.mediaType)) continue;
    const made = treeNode(node);
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

function problemOf(error: unknown): string {
  if (isOciError(error, "NOT_FOUND")) return "missing";
  return error instanceof Error ? error.message : String(error);
}
