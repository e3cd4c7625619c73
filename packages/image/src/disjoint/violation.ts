import type { Digest } from "@stowage/layout";

/**
 * The rules, as docs/disjoint-layers.md numbers them: V1 what is declared does not overlap; V2 a layer holds what it declares, and
 * the directories that lead there; V3 entries are plain; V4 every parent is a directory of the layer itself; V5 what is declared is
 * there; V6 the rules of what the layer is made of; V7 ordinary layers stay away.
 */
export type DisjointRule = "V1" | "V2" | "V3" | "V4" | "V5" | "V6" | "V7";

/** A layer of an image, in a report. */
export interface LayerName {
  /** The lowest is 1. */
  readonly number: number;
  readonly digest: Digest;
}

/** Something that breaks a rule. */
export interface Violation {
  readonly rule: DisjointRule;
  readonly layer: LayerName;
  /** The path in the image, absolute; absent where it is about the layer as a whole. */
  readonly entry?: string;
  /** The other layer, where two are at odds. */
  readonly other?: LayerName;
  /** What is wrong with the entry, or with the layer. */
  readonly problem: string;
}

/** Told of each violation. It may throw, and then nothing more is looked at. */
export type Report = (violation: Violation) => void;

/** One line for people. */
export function formatViolation({ rule, layer, entry, problem }: Violation): string {
  const where = entry === undefined ? "" : ` ${quotedPath(entry)}`;
  return `${rule} layer ${layer.number} (${layer.digest}):${where} ${problem}`;
}

/** A path for a message: as it is where it is plain. */
export function quotedPath(path: string): string {
  const short = path.length > 300 ? `${path.slice(0, 300)}...` : path;
  return /^[\w@%+=:,./~-]+$/.test(short) ? short : JSON.stringify(short);
}

/** A layer for a message. */
export function formatLayer({ number, digest }: LayerName): string {
  return `layer ${number} (${digest})`;
}
