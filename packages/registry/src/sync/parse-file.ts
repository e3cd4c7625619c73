import { dirname, isAbsolute, join } from "node:path";
import {
  digestOf,
  encodeJson,
  type JsonObject,
  OciError,
  parseAnnotationFilter,
  parseLocation,
  parsePlatform,
  parseReference,
} from "@stowage/layout";
import { LineCounter, type Node, parseDocument } from "yaml";
import { globPattern, isGlob, type RenameRule, regexPattern, renameRule } from "./pattern.js";
import { exactNames, type Selection, type SelectionRule, versionRange } from "./selection.js";
import { Reader } from "./shape.js";
import { type FileValue, fileShape, type ItemValue, problemOf, type SelectionValue } from "./shape-of-file.js";
import { DEFAULT_CONCURRENCY, type SyncFile, type SyncItem, type SyncPlace } from "./sync-file.js";

/** The JSON schema of the files, for editors. */
export function schemaOfFile(): JsonObject {
  return { $schema: "http://json-schema.org/draft-07/schema#", title: "stowage sync", ...fileShape.schema };
}

/** What is in a file. Fails with `INVALID`, with a line for each mistake: file, line, column, what is wrong and what to write. */
export function parseText(text: string, path: string): SyncFile {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    schema: "failsafe",
    uniqueKeys: true,
  });
  const reader = new Reader(path, document, lines);
  for (const error of document.errors) reader.mistake(error.pos[0], `this is no YAML: ${error.message}`);
  reader.finish();
  const value = fileShape.read(reader.follow(document.contents as Node | null), reader, 0);
  const items = value?.sync?.map((item) => readItem(item, value.defaults ?? {}, reader, path)) ?? [];
  reader.finish();
  return {
    path,
    items: items.filter((item) => item !== undefined),
    concurrency: value?.concurrency ?? DEFAULT_CONCURRENCY,
  };
}

/** An item that is not in a file: the values of one, as text. Fails with `INVALID`. */
export function parseItem(value: ItemValue): SyncItem {
  const reader = new Reader("", parseDocument(""), new LineCounter());
  const mistakes: string[] = [];
  reader.mistake = (_at, text) => void mistakes.push(text);
  const item = readItem(value, {}, reader, "");
  if (item === undefined || mistakes.length > 0) throw new OciError("INVALID", mistakes.join("\n"));
  return { ...item, where: "the command line" };
}

function readItem(
  value: ItemValue,
  defaults: NonNullable<FileValue["defaults"]>,
  reader: Reader,
  path: string,
): SyncItem | undefined {
  const at = reader.placeOf(value, "source", 0);
  const wrong = (key: keyof ItemValue, text: string): undefined => reader.mistake(reader.placeOf(value, key, at), text);
  if (value.source === undefined) return undefined;
  const many = value.repositories !== undefined;
  const place = (key: "source" | "target"): SyncPlace | undefined => {
    const text = value[key];
    if (text === undefined) return undefined;
    let read: SyncPlace | undefined;
    const problem = problemOf(() => {
      read = readPlace(text, many, path);
    });
    return problem === undefined ? read : wrong(key, problem);
  };
  const [source, target] = [place("source"), place("target")];
  const repositories = readSelection(value.repositories, reader);
  const tags = readSelection(value.tags, reader);
  const merged = { ...defaults, ...value };
  if (source === undefined || (target === undefined && value.target !== undefined)) return undefined;
  checkPlaces(value, source, target, merged, wrong);
  return {
    where: reader.place(at),
    source,
    target,
    repositories,
    tags,
    rename: readRules(value, reader),
    names: merged.names ?? "full",
    platforms: (merged.platforms ?? []).map(parsePlatform),
    index: merged.index,
    referrers: readReferrers(merged.referrers) ?? (target?.kind === "docker-archive" ? "none" : "all"),
    legacyTags: merged.legacyTags ?? (!namesImage(source) && (tags === undefined || exactNames(tags) === undefined)),
    prune: (merged.prune ?? false) && !isArchive(target),
    noClobber: merged.noClobber ?? false,
    forceRecursive: merged.forceRecursive ?? false,
    includeExternal: merged.includeExternal ?? false,
    fast: merged.fast ?? false,
    digest: digestOf(encodeJson(sorted(deciding(value, merged)))),
  };
}

/** What of an item decides which images there are, and how they are called. */
function deciding(value: ItemValue, merged: ItemValue): JsonObject {
  const { source, target, repositories, tags, rename } = value;
  const { platforms, index, referrers, legacyTags, names } = merged;
  const rules = rename?.map((rule) => [rule.key, rule.value]);
  return { source, target, repositories, tags, rename: rules, platforms, index, referrers, legacyTags, names };
}

/** The same value with the members of each object in one order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  return Object.fromEntries(members.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, member]) => [key, sorted(member)]));
}

/** Reads a location; one with `many` repositories may be a registry, or a part of it. Paths are relative to the file. */
function readPlace(text: string, many: boolean, file: string): SyncPlace {
  const isFile = /^(?:oci|ocidir|oci-archive|docker-archive):|^\.{0,2}[/\\]|^[a-z][a-z0-9+-]*:\/\//.test(text);
  if (!many || (isFile && !text.startsWith("docker://"))) {
    const location = parseLocation(text);
    if (location.kind === "registry") return { kind: "registry", reference: givenReference(location.reference, text) };
    if (location.path === "-")
      throw new OciError("INVALID", `${JSON.stringify(text)} is a stream; write the name of a file`);
    return {
      ...location,
      path: isAbsolute(location.path) || file === "" ? location.path : join(dirname(file), location.path),
    };
  }
  const [host, ...rest] = text
    .replace(/^docker:\/\//, "")
    .replace(/\/$/, "")
    .split("/");
  const prefix = rest.join("/");
  if (host === undefined || (!/[.:]/.test(host) && host !== "localhost"))
    throw new OciError(
      "INVALID",
      `${JSON.stringify(text)} names no registry; write its host first, as docker.io/library`,
    );
  const reference = parseReference(`${host}/${prefix === "" ? "x/x" : `${prefix}/x`}`);
  return { kind: "registry-prefix", host: reference.host, prefix };
}

/** Without the tag `latest` where the text names neither tag nor digest: then the repository is meant. */
function givenReference(reference: ReturnType<typeof parseReference>, text: string): ReturnType<typeof parseReference> {
  const names = /:[^/]*$/.test(text.replace(/^docker:\/\//, "")) || reference.digest !== undefined;
  if (names) return reference;
  const { tag: _tag, ...rest } = reference;
  return rest;
}

function checkPlaces(
  value: ItemValue,
  source: SyncPlace,
  target: SyncPlace | undefined,
  merged: ItemValue,
  wrong: (key: keyof ItemValue, text: string) => undefined,
): void {
  const many = value.repositories !== undefined;
  const one = namesImage(source);
  if (value.tags !== undefined && one)
    wrong("tags", "the source names one image already; leave tags out, or the tag of the source");
  if (many && one) wrong("source", "the source names one image, and repositories asks for many; leave one of them out");
  if (target === undefined && value.rename === undefined)
    wrong(
      "source",
      'there is no target; write target: and a location, or rename: with whole references like "mirror.local/hub/$1"',
    );
  if (target !== undefined && namesImage(target)) {
    if (target.kind === "registry" ? target.reference.digest !== undefined : "digest" in target)
      wrong("target", "a target cannot be named by digest; write a tag, or nothing to keep the source's");
    if (!one) wrong("target", "the target names one image, and the source may be many; leave the tag out");
  }
  const toRegistry = target?.kind === "registry" || target?.kind === "registry-prefix";
  if (toRegistry && value.rename !== undefined)
    wrong(
      "rename",
      "with a registry as target the new names would have no place; leave target out and write whole references in rename",
    );
  if (toRegistry && value.names !== undefined) wrong("names", "names is for layouts and archives; leave it out");
  if (value.prune === true && isArchive(target))
    wrong("prune", "an archive is written anew each time, so there is nothing to prune; leave it out");
  if (merged.index !== undefined && merged.platforms === undefined && value.index !== undefined)
    wrong("index", "index says what becomes of an index without some platforms; write platforms too");
}

/** True where a place names one image. */
export function namesImage(place: SyncPlace): boolean {
  if (place.kind === "registry-prefix") return false;
  const { tag, digest } = place.kind === "registry" ? place.reference : place;
  return tag !== undefined || digest !== undefined;
}

function isArchive(place: SyncPlace | undefined): boolean {
  return place?.kind === "oci-archive" || place?.kind === "docker-archive";
}

function readRules(value: ItemValue, reader: Reader): readonly RenameRule[] {
  return (value.rename ?? []).flatMap(({ key, value: to, at }) => {
    let rule: RenameRule | undefined;
    const problem = problemOf(() => {
      rule = renameRule(key, to);
    });
    if (problem !== undefined) reader.mistake(at, problem);
    return rule === undefined ? [] : [rule];
  });
}

function readSelection(value: SelectionValue | undefined, reader: Reader): Selection | undefined {
  return value?.map((rule) => {
    if (typeof rule !== "string" && rule.by !== undefined && rule.newest === undefined)
      reader.mistake(reader.placeOf(rule, "by", 0), "by says which are the newest; write newest: and how many");
    return readRule(rule);
  });
}

function readRule(rule: SelectionValue[number]): SelectionRule {
  if (typeof rule === "string") {
    const glob = isGlob(rule);
    return { patterns: glob ? [globPattern(rule)] : [], exact: glob ? undefined : rule, except: [], prerelease: false };
  }
  const { glob, regex, semver, newest, by, except = [], prerelease = false } = rule;
  return {
    patterns: [
      ...(glob === undefined ? [] : [globPattern(glob)]),
      ...(regex === undefined ? [] : [regexPattern(regex)]),
    ],
    except: except.map(globPattern),
    range: semver === undefined ? undefined : versionRange(semver, prerelease),
    prerelease,
    newest: newest === undefined ? undefined : { count: newest, by: by ?? "version" },
  };
}

function readReferrers(value: ItemValue["referrers"]): SyncItem["referrers"] | undefined {
  if (value === undefined || typeof value === "string") return value;
  const annotations = value.annotations?.map(parseAnnotationFilter);
  return { artifactTypes: value.artifactTypes, annotations, latest: value.latest, depth: value.depth };
}
