import { formatPlatform, type TreeNode } from "@stowage/layout";
import { formatSize } from "./log.js";

/** One part of a picture of sizes. */
export interface Bar {
  readonly label: string;
  bytes: number;
}

/** More than fits on a screen is not looked at. */
const MAXIMUM_NODES = 30;
const MAXIMUM_BARS = 12;

/** The sizes as a Mermaid pie; empty where there is nothing to compare. */
export function sizePicture(parts: readonly Bar[]): string {
  const shown = parts.length > MAXIMUM_BARS ? parts.slice(0, MAXIMUM_BARS - 1) : parts;
  const rest = parts.slice(shown.length);
  const all =
    rest.length === 0
      ? shown
      : [...shown, { label: `${rest.length} more`, bytes: rest.reduce((sum, { bytes }) => sum + bytes, 0) }];
  if (all.length < 2) return "";
  // Mermaid takes no slice of 0.
  const lines = all.map(({ label, bytes }) => `  "${plain(label)}, ${formatSize(bytes)}" : ${Math.max(bytes, 1)}`);
  return ["pie", ...lines].join("\n");
}

/** An image, the images in it, and what refers to them, as a Mermaid flowchart; empty where it would be a single box. */
export function graphPicture(root: TreeNode): string {
  const lines: string[] = [];
  const ids = new Map<TreeNode, string>();
  const add = (node: TreeNode): string | undefined => {
    if (ids.size >= MAXIMUM_NODES) return undefined;
    const id = `n${ids.size}`;
    ids.set(node, id);
    lines.push(`  ${id}["${plain(titleOf(node))}<br/>${plain(node.descriptor.digest.slice(0, 19))}"]`);
    for (const child of node.children) link(child, (to) => `${id} --> ${to}`);
    for (const referrer of node.referrers) link(referrer, (from) => `${from} -.-> ${id}`);
    return id;
  };
  const link = (node: TreeNode, arrow: (other: string) => string): void => {
    const other = add(node);
    if (other !== undefined) lines.push(`  ${arrow(other)}`);
  };
  add(root);
  return ids.size < 2 ? "" : ["flowchart LR", ...lines].join("\n");
}

function titleOf({ artifactType, descriptor, children }: TreeNode): string {
  if (artifactType !== undefined) return artifactType;
  if (descriptor.platform !== undefined && descriptor.platform.os !== "unknown")
    return formatPlatform(descriptor.platform);
  if (descriptor.annotations?.["vnd.docker.reference.type"] !== undefined) return "attestation";
  return children.length > 0 ? "index" : "image";
}

/** Names come from strangers: what could end a label, or be markup in it, is left out. */
function plain(text: string): string {
  return text.replace(/[^A-Za-z0-9 ._:/+,=-]/g, "?").slice(0, 80);
}
