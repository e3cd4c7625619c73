import type { Abortable, Source } from "./content.js";
import type { Descriptor } from "./model/descriptor.js";
import type { Digest } from "./model/digest.js";
import { isOciError } from "./model/errors.js";
import { referrerDescriptor } from "./model/manifest.js";
import { isIndexType, isManifestType } from "./model/media-types.js";
import { isTag } from "./model/reference.js";
import { readManifest } from "./model/verified.js";
import {
  annotatedSubject,
  attestedDigest,
  isAttestation,
  parseKind,
  parseLegacyTag,
  type RelatedRole,
} from "./store/conventions.js";
import { compareText, type LayoutIndex, refName } from "./store/index-json.js";
import { IndexedSource } from "./store/indexed-source.js";
import { Traversal } from "./traversal.js";

/** A manifest that goes with a subject, although its own `subject` does not say so. */
export interface RelatedManifest {
  /**
   * How it is tied to the subject: `legacy-tag` by a tag like cosign's `sha256-<hex>.sig`, `attestation` as a child of the
   * same index, as BuildKit does, `annotated` by an annotation of its entry in index.json, as `cosign save`, hauler and
   * containerd do.
   */
  readonly kind: "legacy-tag" | "attestation" | "annotated";
  /** What it is for the subject, where that is told. */
  readonly role?: RelatedRole;
  readonly subject: Digest;
  readonly descriptor: Descriptor;
  /** The name of its entry, where it has one. */
  readonly name?: string;
  /** Of an attestation: the index that holds it. */
  readonly index?: Digest;
}

/**
 * The manifests that go with `subject` by another convention than a `subject` of their own, sorted by digest. They are no
 * referrers, and {@link Source.referrers} never lists them. Everything is found in a layout, an archive or a memory store; in
 * a registry the legacy tags are.
 */
export async function related(
  source: Source,
  subject: Pick<Descriptor, "digest">,
  options: Abortable = {},
): Promise<readonly RelatedManifest[]> {
  if (source instanceof IndexedSource) return (await allRelated(source, options)).get(subject.digest) ?? [];
  const tagged = ["sig", "att", "sbom"].map((ending) => legacyTag(source, subject.digest, ending, options));
  const found = (await Promise.all(tagged)).filter((one) => one !== undefined);
  return found.sort((a, b) => compareText(a.descriptor.digest, b.descriptor.digest));
}

async function legacyTag(
  source: Source,
  subject: Digest,
  ending: string,
  options: Abortable,
): Promise<RelatedManifest | undefined> {
  const name = `${subject.replace(":", "-")}.${ending}`;
  const role = parseLegacyTag(name)?.role;
  // The tag of a sha512 digest would be longer than a tag may be.
  const descriptor = role === undefined || !isTag(name) ? undefined : await resolveIfPresent(source, name, options);
  if (role === undefined || descriptor === undefined) return undefined;
  const facts = await factsOf(source, descriptor, options);
  if (facts?.subject === subject) return undefined;
  return { kind: "legacy-tag", role, subject, descriptor: facts?.descriptor ?? descriptor, name };
}

/** All that {@link related} finds in a source with an index.json, by subject. Reads every index, and what is related. */
export async function allRelated(
  source: IndexedSource,
  options: Abortable = {},
): Promise<ReadonlyMap<Digest, readonly RelatedManifest[]>> {
  const index = await source.index(options);
  const claims = [...claimsOfEntries(index), ...(await claimsOfIndexes(source, index, options))];
  const found = new Map<Digest, RelatedManifest[]>();
  const seen = new Set<string>();
  for (const claim of claims.sort((a, b) => compareText(a.descriptor.digest, b.descriptor.digest))) {
    options.signal?.throwIfAborted();
    const key = `${claim.kind} ${claim.subject} ${claim.descriptor.digest} ${claim.name ?? ""}`;
    if (seen.has(key) || claim.subject === claim.descriptor.digest) continue;
    seen.add(key);
    const facts = await factsOf(source, claim.descriptor, options);
    // An honest referrer needs no other tie.
    if (facts?.subject === claim.subject) continue;
    const those = found.get(claim.subject) ?? [];
    those.push({ ...claim, descriptor: facts?.descriptor ?? plainEntry(claim.descriptor) });
    found.set(claim.subject, those);
  }
  return found;
}

/** What the entries of index.json say, taken at their word. */
function claimsOfEntries(index: LayoutIndex): RelatedManifest[] {
  const claims: RelatedManifest[] = [];
  const images = index.manifests.filter((entry) => parseKind(entry)?.accompanies === false);
  for (const entry of index.manifests) {
    if (!isManifestType(entry.mediaType) || isAttestation(entry)) continue;
    const name = refName(entry);
    const named = name === undefined ? {} : { name };
    const legacy = name === undefined ? undefined : parseLegacyTag(name);
    if (legacy !== undefined) claims.push({ kind: "legacy-tag", descriptor: entry, ...legacy, ...named });
    const kind = parseKind(entry);
    const role = kind?.role === undefined ? {} : { role: kind.role };
    const subject = annotatedSubject(entry) ?? (kind?.accompanies === true ? imageOf(entry, images) : undefined);
    // A response of olareg's kind is a list of referrers, which is read as such.
    if (subject !== undefined && (kind !== undefined || !isIndexType(entry.mediaType)))
      claims.push({ kind: "annotated", descriptor: entry, subject, ...role, ...named });
  }
  return claims;
}

/** `cosign save` names no subject: what it saves goes with the image of the same name, or with the only one there is. */
function imageOf(entry: Descriptor, images: readonly Descriptor[]): Digest | undefined {
  const sameName = images.filter((image) => refName(image) === refName(entry));
  const candidates = sameName.length > 0 || refName(entry) !== undefined ? sameName : images;
  return candidates.length === 1 ? candidates[0]?.digest : undefined;
}

/** The attestations in every index that can be reached. */
async function claimsOfIndexes(
  source: IndexedSource,
  index: LayoutIndex,
  options: Abortable,
): Promise<RelatedManifest[]> {
  const claims: RelatedManifest[] = attestationsIn(index.manifests).map(withoutIndex);
  const indexes = (those: readonly Descriptor[]): Descriptor[] => those.filter((one) => isIndexType(one.mediaType));
  const traversal = new Traversal(indexes(index.manifests), ({ digest }) => digest);
  for (let next = traversal.next(); next !== undefined; next = traversal.next()) {
    options.signal?.throwIfAborted();
    const children = (await manifestsIn(source, next, options)) ?? [];
    claims.push(...attestationsIn(children, next.digest));
    traversal.add(indexes(children));
  }
  return claims;
}

function withoutIndex({ index: _index, ...claim }: RelatedManifest): RelatedManifest {
  return claim;
}

/** The attestations among the manifests of an index, with what each of them attests. */
export function attestationsIn(manifests: readonly Descriptor[], index?: Digest): RelatedManifest[] {
  return manifests.filter(isAttestation).flatMap((child): RelatedManifest[] => {
    const subject = attestedDigest(child);
    if (subject === undefined) return [];
    const holder = index === undefined ? {} : { index };
    return [{ kind: "attestation", role: "attestation", subject, descriptor: child, ...holder }];
  });
}

async function manifestsIn(
  source: Source,
  descriptor: Descriptor,
  options: Abortable,
): Promise<readonly Descriptor[] | undefined> {
  const manifest = await readIfPossible(source, descriptor, options);
  return manifest?.kind === "index" ? manifest.manifests : undefined;
}

async function factsOf(
  source: Source,
  descriptor: Descriptor,
  options: Abortable,
): Promise<{ readonly subject: Digest | undefined; readonly descriptor: Descriptor } | undefined> {
  const manifest = await readIfPossible(source, descriptor, options);
  if (manifest === undefined) return undefined;
  return { subject: manifest.subject?.digest, descriptor: referrerDescriptor(descriptor, manifest) };
}

async function readIfPossible(source: Source, descriptor: Descriptor, options: Abortable) {
  try {
    return (await readManifest(source, descriptor, options)).manifest;
  } catch (error) {
    // What is absent or damaged is still tied to its subject, and is shown so.
    if (isOciError(error) && error.code !== "REGISTRY") return undefined;
    throw error;
  }
}

async function resolveIfPresent(source: Source, name: string, options: Abortable): Promise<Descriptor | undefined> {
  try {
    return await source.resolve(name, options);
  } catch (error) {
    if (isOciError(error, "NOT_FOUND")) return undefined;
    throw error;
  }
}

function plainEntry({ mediaType, digest, size }: Descriptor): Descriptor {
  return { mediaType, digest, size };
}
