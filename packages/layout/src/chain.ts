import type { Descriptor } from "./model/descriptor.js";
import type { Digest } from "./model/digest.js";
import { annotationKeys } from "./model/media-types.js";
import { compareCreated } from "./referrer-filter.js";
import type { TreeNode } from "./tree.js";

/** A referrer in the history of an image. */
export interface ChainLink {
  readonly descriptor: Descriptor;
  readonly artifactType?: string;
  /** When it was made, as it says itself. */
  readonly created?: string;
  /** What it refers to: the image, a manifest inside it, or another link. */
  readonly subject: Digest;
  /** 1 for what refers to the image or a manifest inside it, 2 for what refers to that, and so on. */
  readonly depth: number;
  readonly annotations?: Descriptor["annotations"];
}

/**
 * All referrers in a tree, those of its platforms and of other referrers included, each once, in the order in which they were
 * made: by `org.opencontainers.image.created`, then by digest. Those that do not say when come first.
 */
export function chain(root: TreeNode): readonly ChainLink[] {
  const links = new Map<Digest, ChainLink>();
  const visit = (node: TreeNode, depth: number): void => {
    for (const child of node.children) visit(child, depth);
    for (const referrer of node.referrers) {
      if (!links.has(referrer.descriptor.digest))
        links.set(referrer.descriptor.digest, linkOf(referrer, node.descriptor.digest, depth + 1));
      visit(referrer, depth + 1);
    }
  };
  visit(root, 0);
  return [...links.values()].sort((a, b) =>
    compareCreated(
      { ...a.descriptor, annotations: a.annotations ?? {} },
      { ...b.descriptor, annotations: b.annotations ?? {} },
    ),
  );
}

function linkOf({ descriptor, artifactType, annotations }: TreeNode, subject: Digest, depth: number): ChainLink {
  const created = annotations?.[annotationKeys.created];
  return {
    descriptor,
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(created === undefined ? {} : { created }),
    subject,
    depth,
    ...(annotations === undefined ? {} : { annotations }),
  };
}
