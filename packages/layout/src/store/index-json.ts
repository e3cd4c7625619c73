import { type Descriptor, parseAnnotations, parseArtifactType, parseDescriptor } from "../model/descriptor.js";
import { isDigest, isVerifiable } from "../model/digest.js";
import { OciError } from "../model/errors.js";
import { isJsonObject, type JsonObject } from "../model/json.js";
import type { ImageIndex } from "../model/manifest.js";
import { annotationKeys, isImageManifestType, mediaTypes } from "../model/media-types.js";
import { isReferrersTag } from "../model/reference.js";
import { isAccompanying } from "./conventions.js";

/**
 * The content of `index.json`. It is never changed, only replaced; members and annotations that Stowage does not know
 * are carried over. image-spec v1.1.1, image-layout.md "index.json".
 */
export interface LayoutIndex extends ImageIndex {
  readonly [unknownMember: string]: unknown;
}

/** The largest `index.json` that is read, in bytes: room for about half a million entries. */
export const MAXIMUM_INDEX_SIZE = 256 * 1024 * 1024;

/** An `index.json` without an entry. */
export const emptyIndex: LayoutIndex = { schemaVersion: 2, mediaType: mediaTypes.index, manifests: [] };

/** Members that may be left out. Some writers put `null` there; it is read as absent and not written again. */
const OPTIONAL_MEMBERS = ["artifactType", "subject", "annotations", "urls", "data", "platform"];

/**
 * Returns `value` as the content of an `index.json`: `manifests: null` is empty, `null` for an optional member is absent,
 * and a `mediaType` that is none of an index becomes one. Fails with `INVALID` where a field breaks the spec otherwise. An
 * entry that is also one of `before`, an index that was checked, is not checked again.
 */
export function checkIndex(value: unknown, where: string, before?: LayoutIndex): LayoutIndex {
  if (!isJsonObject(value)) throw new OciError("INVALID", `${where} is not an object`);
  if (value.schemaVersion !== 2)
    throw new OciError("INVALID", `${where} has schemaVersion ${JSON.stringify(value.schemaVersion)}, not 2`);
  if (value.layers !== undefined || value.config !== undefined)
    throw new OciError("INVALID", `${where} is an index, yet it has layers or a config`);
  if (typeof value.mediaType === "string" && isImageManifestType(value.mediaType))
    throw new OciError("INVALID", `${where} is an index, yet its mediaType is ${value.mediaType}`);
  if (value.manifests !== null && !Array.isArray(value.manifests))
    throw new OciError("INVALID", `${where} has no manifests array`);
  const index = withoutNulls(value);
  parseAnnotations(index.annotations, where);
  parseArtifactType(index.artifactType, where);
  if (index.subject !== undefined) parseDescriptor(index.subject, `the subject of ${where}`);
  const known = before?.manifests ?? [];
  let next = 0;
  const manifests = (value.manifests ?? []).map((entry: unknown, at: number) => {
    // A change leaves most entries where they are, one further up or one further down.
    if (known[next] !== entry && known[next + 1] === entry) next++;
    const same = known[next];
    if (same === undefined || same !== entry) return checkEntry(entry, where, at);
    next++;
    return same;
  });
  return {
    ...index,
    schemaVersion: 2,
    ...(index.mediaType === undefined ? {} : { mediaType: mediaTypes.index }),
    manifests,
  };
}

function withoutNulls(object: JsonObject): JsonObject {
  if (!OPTIONAL_MEMBERS.some((key) => object[key] === null)) return object;
  return Object.fromEntries(
    Object.entries(object).filter(([key, value]) => value !== null || !OPTIONAL_MEMBERS.includes(key)),
  );
}

/** An entry as {@link checkIndex} reads it. Its place is put into words only where there is something to say about it: an index may have a hundred thousand entries. */
export function checkEntry(value: unknown, where: string, at: number): Descriptor {
  const entry = isJsonObject(value) ? withoutNulls(value) : value;
  try {
    return parseDescriptor(entry, where);
  } catch {
    return parseDescriptor(entry, `manifests[${at}] of ${where}`);
  }
}

/** The `org.opencontainers.image.ref.name` of an entry: a tag, or a full image name, or anything else. */
export function refName(entry: Descriptor): string | undefined {
  return entry.annotations?.[annotationKeys.refName];
}

/** True for an entry that a user named, as against one that only carries referrers or goes by the name of what it accompanies. */
export function isNamed(entry: Descriptor): boolean {
  const name = refName(entry);
  return name !== undefined && !isReferrersTag(name.slice(name.lastIndexOf(":") + 1)) && !isAccompanying(entry);
}

/**
 * The entry a reference stands for: a digest, an exact ref.name, or the tag of a full image name in ref.name. Fails with
 * `CONFLICT` where the name stands for several digests.
 */
export function findEntry(index: LayoutIndex, reference: string, where: string): Descriptor | undefined {
  if (isDigest(reference)) {
    const entry = index.manifests.find((other) => other.digest === reference);
    // alpine:3 has the form of a digest of some algorithm, and is a name.
    if (entry !== undefined || isVerifiable(reference)) return entry;
  }
  const entries = index.manifests.filter((entry) => !isAccompanying(entry));
  const exact = entries.filter((entry) => refName(entry) === reference);
  const found = exact.length > 0 ? exact : entries.filter((entry) => refName(entry)?.endsWith(`:${reference}`));
  const digests = new Set(found.map((entry) => entry.digest));
  if (digests.size > 1) {
    throw new OciError(
      "CONFLICT",
      `${JSON.stringify(reference)} stands for ${digests.size} manifests in ${where}: ${[...digests].join(", ")}`,
      {
        hint: "Name the one that is meant by its digest: @sha256:...",
      },
    );
  }
  return found[0];
}

/** The index with `name` standing for `descriptor`, and for nothing else. Other names of the same content stay. */
export function withTag(index: LayoutIndex, name: string, descriptor: Descriptor): LayoutIndex {
  const current = index.manifests.filter((entry) => goesBy(entry, name));
  if (current.length === 1 && current[0]?.digest === descriptor.digest && current[0].mediaType === descriptor.mediaType)
    return index;
  const { data: _data, ...rest } = unnamed(descriptor);
  const entry = { ...rest, annotations: { ...rest.annotations, [annotationKeys.refName]: name } };
  return insert({ ...index, manifests: index.manifests.filter((other) => !goesBy(other, name)) }, entry);
}

/** The index without the entries named `name`. */
export function withoutTag(index: LayoutIndex, name: string): LayoutIndex {
  const manifests = index.manifests.filter((entry) => !goesBy(entry, name));
  return manifests.length === index.manifests.length ? index : { ...index, manifests };
}

/** True for an entry that the name stands for, as against one that merely accompanies it. */
function goesBy(entry: Descriptor, name: string): boolean {
  return refName(entry) === name && !isAccompanying(entry);
}

/** The index with an entry for `descriptor`, whatever its name. */
export function withEntry(index: LayoutIndex, descriptor: Descriptor): LayoutIndex {
  return index.manifests.some((entry) => entry.digest === descriptor.digest) ? index : insert(index, descriptor);
}

/**
 * Puts an entry where it belongs in a sorted list (names first, then digests) and leaves the order of all others alone.
 * So an index that only Stowage wrote does not depend on who came first, and one that others wrote is not shuffled.
 */
export function insert(index: LayoutIndex, entry: Descriptor): LayoutIndex {
  let at = index.manifests.length;
  while (at > 0 && compareEntries(index.manifests[at - 1] as Descriptor, entry) > 0) at--;
  return { ...index, manifests: [...index.manifests.slice(0, at), entry, ...index.manifests.slice(at)] };
}

/** The order of entries that Stowage writes: names first, then digests. */
export function compareEntries(a: Descriptor, b: Descriptor): number {
  const [nameA, nameB] = [refName(a), refName(b)];
  if (nameA === undefined || nameB === undefined)
    return nameA === nameB ? compareText(a.digest, b.digest) : nameA === undefined ? 1 : -1;
  return compareText(nameA, nameB) || compareText(a.digest, b.digest);
}

/** Bytewise order for digests and tags, whatever the locale. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/**
 * The descriptor without the annotations that mean something on one `index.json` entry only. Carried along to another
 * place they would mint a tag there.
 */
export function unnamed(entry: Descriptor): Descriptor {
  const { annotations, ...rest } = entry;
  const kept = Object.entries(annotations ?? {}).filter(
    ([key]) =>
      key !== annotationKeys.refName && key !== annotationKeys.containerdName && !key.startsWith("org.olareg."),
  );
  return kept.length === 0 ? rest : { ...rest, annotations: Object.fromEntries(kept) };
}
