import type { FileAspect, FileChange } from "./compare-files.js";
import type { FieldChange } from "./compare-json.js";
import type { LayerChange } from "./diff.js";

/** What was found to differ between two images. */
export interface Differences {
  readonly manifest: readonly FieldChange[];
  readonly config: readonly FieldChange[];
  readonly layers: readonly LayerChange[];
  readonly files: readonly FileChange[];
}

/**
 * Why two images have other digests, in one line: what is the same comes first, then what is not, such as
 * `same files, other mtime` or `same layers, other annotations`.
 */
export function explain(found: Differences): string {
  const parts = [...explainLayers(found), ...explainManifest(found.manifest), ...explainConfig(found.config)];
  return parts.length === 1 && parts[0] === "same layers" ? "same layers, written in another way" : parts.join(", ");
}

function explainLayers({ layers, files }: Differences): string[] {
  const described = layers.some(({ change }) => change === "description") ? ["layers described in another way"] : [];
  const content = layers.filter(({ change }) => ["content", "added", "removed"].includes(change));
  if (content.length === 0) {
    const recompressed = layers.some(({ change }) => change === "compression");
    return [...(recompressed ? ["same content", "other compression"] : ["same layers"]), ...described];
  }
  if (files.length === 0) {
    const split = layers.some(({ change }) => change === "added" || change === "removed");
    return ["same files", split ? "in other layers" : "in another order or form in their layers"];
  }
  const count = (change: FileChange["change"]): number => files.filter((file) => file.change === change).length;
  const [added, removed, changed] = [count("added"), count("removed"), count("changed")];
  const aspects = [...new Set(files.flatMap((file) => file.aspects))];
  if (added === 0 && removed === 0 && !aspects.some((aspect) => CONTENT.has(aspect)))
    return ["same files", `other ${aspects.map((aspect) => NAMES[aspect] ?? aspect).join(" and ")}`];
  const numbers = [
    [added, "added"],
    [removed, "removed"],
    [changed, "changed"],
  ] as const;
  return [
    `other files: ${numbers
      .filter(([number]) => number > 0)
      .map((pair) => pair.join(" "))
      .join(", ")}`,
  ];
}

const CONTENT: ReadonlySet<FileAspect> = new Set(["type", "content", "target", "device"]);
const NAMES: Partial<Record<FileAspect, string>> = {
  mode: "modes",
  owner: "owners",
  acl: "access control lists",
  links: "hard links",
};

function explainManifest(changes: readonly FieldChange[]): string[] {
  const roots = new Set(changes.map(({ path }) => rootOf(path)));
  const parts: string[] = [];
  if (roots.delete("annotations")) parts.push("other annotations");
  if (changes.some(({ path }) => path === "mediaType" || path === "config.mediaType")) {
    parts.push("other media types");
    roots.delete("mediaType");
    if (!changes.some(({ path }) => path.startsWith("config.") && path !== "config.mediaType")) roots.delete("config");
  }
  return roots.size === 0 ? parts : [...parts, `other ${[...roots].join(" and ")} in the manifest`];
}

function explainConfig(changes: readonly FieldChange[]): string[] {
  const roots = new Set(changes.map(({ path }) => (path.startsWith("config.") ? rootOf(path.slice(7)) : rootOf(path))));
  const parts: string[] = [];
  if (roots.delete("created")) parts.push("other time of creation");
  if (roots.delete("history")) parts.push("other history");
  return roots.size === 0 ? parts : [...parts, `other configuration (${[...roots].join(", ")})`];
}

function rootOf(path: string): string {
  return /^[A-Za-z_][A-Za-z0-9_]*|^\["(?:[^"\\]|\\.)*"\]/.exec(path)?.[0] ?? path;
}
