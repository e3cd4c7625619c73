import type { RenameRule } from "./pattern.js";

/** The rules that these pairs of an expression and a new name are, as in the `rename` of a sync file. Fails with `INVALID`. */
export async function renameRules(
  pairs: readonly (readonly [from: string, to: string])[],
): Promise<readonly RenameRule[]> {
  // What reads patterns takes a while to load.
  const { renameRule } = await import("./pattern.js");
  return pairs.map(([from, to]) => renameRule(from, to));
}
