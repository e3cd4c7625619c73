import { OciError } from "@stowage/layout";
import semver from "semver";
import type { Pattern } from "./pattern.js";

/** One rule of a selection. All that it says has to hold. */
export interface SelectionRule {
  /** The one name it selects, whether it is listed or not. */
  readonly exact?: string | undefined;
  readonly patterns: readonly Pattern[];
  readonly except: readonly Pattern[];
  readonly range?: semver.Range | undefined;
  readonly prerelease: boolean;
  readonly newest?: { readonly count: number; readonly by: "version" | "created" } | undefined;
}

/** Which names are meant: those that any of the rules selects. */
export type Selection = readonly SelectionRule[];

/** More names than this are not dated one by one. */
const MAXIMUM_DATED = 1000;

/** The names of a selection that names each of them, so that nothing has to be listed; undefined otherwise. */
export function exactNames(selection: Selection): readonly string[] | undefined {
  const names = selection.map(({ exact }) => exact);
  return names.every((name) => name !== undefined) ? [...new Set(names)] : undefined;
}

/**
 * The names among `listed` that the selection is about, and those it names outright, sorted. `created` tells the age of a
 * name, in ms since 1970; it is asked only by rules that want the newest by age. Fails with `LIMIT` where these are too many.
 */
export async function select(
  selection: Selection,
  listed: readonly string[],
  created: (name: string) => Promise<number>,
): Promise<readonly string[]> {
  const selected = new Set<string>();
  for (const rule of selection)
    for (const name of rule.exact === undefined ? await selectByRule(rule, listed, created) : [rule.exact])
      selected.add(name);
  return [...selected].sort();
}

async function selectByRule(
  rule: SelectionRule,
  listed: readonly string[],
  created: (name: string) => Promise<number>,
): Promise<readonly string[]> {
  const matching = listed.filter(
    (name) =>
      rule.patterns.every((pattern) => pattern.matches(name)) && !rule.except.some((pattern) => pattern.matches(name)),
  );
  const needsVersion = rule.range !== undefined || rule.newest?.by === "version";
  const versions = new Map<string, semver.SemVer>();
  for (const name of needsVersion ? matching : []) {
    const version = versionOf(name);
    if (version === undefined || (version.prerelease.length > 0 && !rule.prerelease && rule.range === undefined))
      continue;
    if (rule.range?.test(version) !== false) versions.set(name, version);
  }
  const names = needsVersion ? [...versions.keys()] : matching;
  if (rule.newest === undefined) return names;
  const { count, by } = rule.newest;
  if (by === "version")
    return newestFirst(
      names,
      (a, b) => semver.compare(versions.get(b) as semver.SemVer, versions.get(a) as semver.SemVer),
      count,
    );
  if (names.length > MAXIMUM_DATED)
    throw new OciError(
      "LIMIT",
      `the newest of ${names.length} tags by creation would have to be found among more than ${MAXIMUM_DATED}`,
      {
        hint: "Narrow them with glob, regex or semver, or write by: version.",
      },
    );
  const ages = new Map<string, number>();
  for (const name of names) ages.set(name, await created(name));
  return newestFirst(names, (a, b) => (ages.get(b) as number) - (ages.get(a) as number), count);
}

/** Of two that are the same age, the one whose name sorts last counts as the newer. */
function newestFirst(
  names: readonly string[],
  compare: (a: string, b: string) => number,
  count: number,
): readonly string[] {
  return [...names].sort((a, b) => compare(a, b) || (a < b ? 1 : -1)).slice(0, count);
}

/**
 * The version that a tag names: `1.2.3`, with a `v` before it, with parts missing (`3.20` is 3.20.0), with zeros in front
 * (`24.04`), with a pre-release behind a hyphen.
 */
export function versionOf(tag: string): semver.SemVer | undefined {
  const match = /^v?([0-9]{1,9})(?:\.([0-9]{1,9}))?(?:\.([0-9]{1,9}))?(?:-([0-9A-Za-z.-]{1,100}))?$/.exec(tag);
  if (match === null) return undefined;
  const [major, minor, patch] = [match[1], match[2], match[3]].map((part) => Number(part ?? 0));
  const prerelease = match[4]?.split(".").map((part) => (/^0[0-9]+$/.test(part) ? String(Number(part)) : part));
  const behind = prerelease === undefined ? "" : `-${prerelease.join(".")}`;
  return semver.parse(`${major}.${minor}.${patch}${behind}`) ?? undefined;
}

/** Reads a range like `>=1.2 <2` or `3.x`. Fails with `INVALID`. */
export function versionRange(text: string, prerelease: boolean): semver.Range {
  try {
    return new semver.Range(text, { includePrerelease: prerelease });
  } catch (cause) {
    throw new OciError(
      "INVALID",
      `${JSON.stringify(text)} is no range of versions; write for example ">=1.2 <2" or "3.x"`,
      { cause },
    );
  }
}
