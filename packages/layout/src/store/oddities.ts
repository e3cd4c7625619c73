import { DELTA_FILE } from "../delta/delta.js";
import { isMediaType } from "../model/descriptor.js";
import { isDigest } from "../model/digest.js";
import { isJsonObject, type JsonObject } from "../model/json.js";
import { annotationKeys, mediaTypes } from "../model/media-types.js";
import { COMPRESSED_LAYERS } from "./compressed-layers.js";
import { DERIVED_INDEX } from "./derived-file.js";
import { compareText } from "./index-json.js";

/**
 * Something in a layout that is read although it is not as this program would write it. None of them loses anything; each
 * is a place where another reader may see something else.
 *
 * - `manifests-null`: index.json has `null` for `manifests`.
 * - `index-media-type`: index.json has no `mediaType`, or not that of an index.
 * - `unknown-member`: index.json or an entry has a member the spec does not name.
 * - `null-member`: a member that may be left out stands there with the value `null`.
 * - `entry-media-type`: an entry has no `mediaType`; its content was looked at instead.
 * - `entry-twice`: an entry repeats the name and the digest of another one.
 * - `entry-differs`: entries of the same digest disagree about its size or type.
 * - `entry-order`: the entries are not sorted by name and digest.
 * - `artifact-type`: an entry has an `artifactType` that is no media type.
 * - `name-ambiguous`: one name stands for several digests.
 * - `name-full`: a name is a full image name and not only a tag.
 * - `name-grammar`: a name breaks the grammar of `org.opencontainers.image.ref.name`.
 * - `digest-algorithm`: the content of an entry has a digest of an algorithm that cannot be verified here.
 * - `unknown-file`: the directory holds a file that belongs to no layout.
 */
export type OddityCode =
  | "manifests-null"
  | "index-media-type"
  | "unknown-member"
  | "null-member"
  | "entry-media-type"
  | "entry-twice"
  | "entry-differs"
  | "entry-order"
  | "artifact-type"
  | "name-ambiguous"
  | "name-full"
  | "name-grammar"
  | "digest-algorithm"
  | "unknown-file";

/** One tolerated oddity. */
export interface Oddity {
  readonly code: OddityCode;
  /** Where it is and what it is, in one line. */
  readonly message: string;
}

const INDEX_MEMBERS = new Set(["schemaVersion", "mediaType", "artifactType", "manifests", "subject", "annotations"]);
const ENTRY_MEMBERS = new Set([
  "mediaType",
  "digest",
  "size",
  "urls",
  "annotations",
  "data",
  "artifactType",
  "platform",
]);

/** image-spec v1.1.1, annotations.md "Pre-Defined Annotation Keys", `org.opencontainers.image.ref.name`. */
const REF_NAME = /^[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*(?:\/[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*)*$/;

/**
 * What is odd about the content of an `index.json`, in the order in which it stands there. Takes the value as it stands in
 * the file; what has been read as a `LayoutIndex` no longer shows what reading put right. Never
 * fails: what is wrong rather than odd is refused where it is read, and not judged here.
 */
export function oddities(index: unknown): readonly Oddity[] {
  if (!isJsonObject(index)) return [];
  const found: Oddity[] = [];
  if (index.manifests === null) found.push({ code: "manifests-null", message: "manifests is null, not a list" });
  if (index.mediaType !== mediaTypes.index) {
    const stated = index.mediaType === undefined ? "no mediaType" : `the mediaType ${quote(index.mediaType)}`;
    found.push({ code: "index-media-type", message: `index.json has ${stated}` });
  }
  found.push(...members(index, INDEX_MEMBERS, "index.json"));
  const entries = (Array.isArray(index.manifests) ? index.manifests : []).filter(isJsonObject);
  for (const [at, entry] of entries.entries()) found.push(...oddEntry(entry, `manifests[${at}]`));
  found.push(...oddDigests(entries), ...oddNames(entries));
  const unsorted = entries.findIndex((entry, at) => at > 0 && compareEntries(entries[at - 1] as JsonObject, entry) > 0);
  if (unsorted > 0)
    found.push({ code: "entry-order", message: `manifests[${unsorted}] stands behind one that sorts after it` });
  return found;
}

function members(object: JsonObject, known: ReadonlySet<string>, where: string): Oddity[] {
  const found: Oddity[] = [];
  for (const [key, value] of Object.entries(object)) {
    if (!known.has(key)) found.push({ code: "unknown-member", message: `${where} has the member ${quote(key)}` });
    else if (value === null && key !== "manifests" && key !== "mediaType")
      found.push({ code: "null-member", message: `${where} has null for ${key}` });
  }
  return found;
}

function oddEntry(entry: JsonObject, where: string): Oddity[] {
  const found: Oddity[] = [];
  if (lacksMediaType(entry)) found.push({ code: "entry-media-type", message: `${where} has no mediaType` });
  found.push(...members(entry, ENTRY_MEMBERS, where));
  if (typeof entry.digest === "string" && !/^sha(?:256|512):/.test(entry.digest))
    found.push({
      code: "digest-algorithm",
      message: `${where} has the digest ${quote(entry.digest)}, which cannot be verified here`,
    });
  const { artifactType } = entry;
  if (typeof artifactType === "string" && artifactType !== "" && !isMediaType(artifactType))
    found.push({
      code: "artifact-type",
      message: `${where} has the artifactType ${quote(artifactType)}, no media type`,
    });
  const name = nameOf(entry);
  if (name === undefined) return found;
  if (!REF_NAME.test(name)) found.push({ code: "name-grammar", message: `${where} has the name ${quote(name)}` });
  else if (/[/:@]/.test(name))
    found.push({ code: "name-full", message: `${where} has ${quote(name)} for a tag, which other tools cannot name` });
  return found;
}

function oddDigests(entries: readonly JsonObject[]): Oddity[] {
  const found: Oddity[] = [];
  const first = new Map<unknown, { readonly at: number; readonly entry: JsonObject }>();
  const seen = new Map<string, number>();
  for (const [at, entry] of entries.entries()) {
    const other = first.get(entry.digest);
    if (other === undefined) first.set(entry.digest, { at, entry });
    else if (other.entry.size !== entry.size || other.entry.mediaType !== entry.mediaType)
      found.push({
        code: "entry-differs",
        message: `manifests[${at}] has the digest of manifests[${other.at}] and another size or mediaType`,
      });
    const key = JSON.stringify([nameOf(entry), entry.digest]);
    const twin = seen.get(key);
    if (twin !== undefined)
      found.push({ code: "entry-twice", message: `manifests[${at}] has the name and digest of manifests[${twin}]` });
    seen.set(key, twin ?? at);
  }
  return found;
}

function oddNames(entries: readonly JsonObject[]): Oddity[] {
  const digests = new Map<string, Set<unknown>>();
  for (const entry of entries) {
    const name = nameOf(entry);
    if (name !== undefined) digests.set(name, (digests.get(name) ?? new Set()).add(entry.digest));
  }
  return [...digests]
    .filter(([, { size }]) => size > 1)
    .map(([name, { size }]) => ({ code: "name-ambiguous", message: `${quote(name)} stands for ${size} digests` }));
}

/** True for an entry that does not say of which type its content is. */
export function lacksMediaType(entry: JsonObject): boolean {
  return entry.mediaType === undefined || entry.mediaType === null || entry.mediaType === "";
}

function nameOf(entry: JsonObject): string | undefined {
  const name = isJsonObject(entry.annotations) ? entry.annotations[annotationKeys.refName] : undefined;
  return typeof name === "string" ? name : undefined;
}

/** A digest that is no text sorts as its JSON does: an object from a file may have members that defeat `String()`. */
function digestText({ digest }: JsonObject): string {
  return typeof digest === "string" ? digest : quote(digest);
}

/** Names first, then digests, as index.json is written here. */
function compareEntries(a: JsonObject, b: JsonObject): number {
  const [nameA, nameB] = [nameOf(a), nameOf(b)];
  const byDigest = compareText(digestText(a), digestText(b));
  if (nameA === undefined || nameB === undefined) return nameA === nameB ? byDigest : nameA === undefined ? 1 : -1;
  return compareText(nameA, nameB) || byDigest;
}

const OWN_NAMES = new Set(["oci-layout", "index.json", "ingest", DERIVED_INDEX, COMPRESSED_LAYERS, DELTA_FILE]);

/**
 * What is odd about the files of a layout, given as paths from its root with `/` between the parts: one beside those of a
 * layout, and one under `blobs` whose name is no digest.
 */
export function oddFiles(paths: Iterable<string>): readonly Oddity[] {
  const found: Oddity[] = [];
  for (const path of paths) {
    const [algorithm, encoded, ...more] = path.startsWith("blobs/") ? path.slice("blobs/".length).split("/") : [];
    const isBlob = algorithm !== undefined && encoded !== undefined && more.length === 0;
    if (!OWN_NAMES.has(path) && !(isBlob && isDigest(`${algorithm}:${encoded}`)))
      found.push({ code: "unknown-file", message: `${quote(path)} is no file of a layout` });
  }
  return found;
}

function quote(value: unknown): string {
  return JSON.stringify(typeof value === "string" ? value.slice(0, 200) : value) ?? "undefined";
}
