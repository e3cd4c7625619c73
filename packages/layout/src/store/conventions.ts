import type { Descriptor } from "../model/descriptor.js";
import { type Digest, isDigest, isVerifiable } from "../model/digest.js";
import { annotationKeys, isIndexType } from "../model/media-types.js";

/**
 * Ways in which other tools tie a manifest to an image without a `subject` in the manifest, or beside it:
 *
 * - a *legacy tag*: cosign's `sha256-<hex>.sig`, `.att` and `.sbom`;
 * - an *attestation*: a child of an index with `vnd.docker.reference.*` annotations, as BuildKit writes them;
 * - an *annotated* entry of index.json: `kind` as `cosign save` and hauler write it, `hauler.dev/subject-digest`,
 *   `io.containerd.manifest.subject` as containerd and buildx write it, and the keys of image-spec pull request 1171.
 */

/** The pairs of keys that mark a list of referrers in index.json, and that a tool keeps its lists so. */
export const responseKeys: readonly { readonly subject: string; readonly convert: string }[] = [
  { subject: annotationKeys.olaregSubject, convert: annotationKeys.olaregConvert },
  { subject: annotationKeys.proposedSubject, convert: annotationKeys.proposedConvert },
];

/** What a manifest is for its subject, where the convention tells. */
export type RelatedRole = "signature" | "attestation" | "sbom";

const LEGACY_ROLES: ReadonlyMap<string, RelatedRole> = new Map([
  ["sig", "signature"],
  ["att", "attestation"],
  ["sbom", "sbom"],
]);

/** What a tag in cosign's older style says: `sha256-<hex>.sig` is the signature of `sha256:<hex>`. A full image name may stand before it. */
export function parseLegacyTag(name: string): { readonly subject: Digest; readonly role: RelatedRole } | undefined {
  const match = /(?:^|:)(sha256|sha512)-([0-9a-f]{64,128})\.(sig|att|sbom)$/.exec(name);
  if (match === null) return undefined;
  const subject = `${match[1]}:${match[2]}`;
  const role = LEGACY_ROLES.get(match[3] as string);
  return role !== undefined && isDigest(subject) && isVerifiable(subject) ? { subject, role } : undefined;
}

const KIND_ROLES: ReadonlyMap<string, RelatedRole> = new Map([
  ["sigs", "signature"],
  ["atts", "attestation"],
  ["sboms", "sbom"],
]);

/**
 * What the `kind` annotation of an entry says: an image, or something that accompanies the image of the same name. Undefined
 * where there is none, or one of somebody else.
 */
export function parseKind(
  entry: Descriptor,
): { readonly accompanies: boolean; readonly role?: RelatedRole } | undefined {
  const match = /^dev\.(?:cosignproject\.cosign|hauler)\/(image|imageIndex|sigs|atts|sboms|referrers\/.*)$/.exec(
    entry.annotations?.[annotationKeys.kind] ?? "",
  );
  if (match === null) return undefined;
  const kind = match[1] as string;
  if (kind.startsWith("image")) return { accompanies: false };
  const role = KIND_ROLES.get(kind);
  return { accompanies: true, ...(role === undefined ? {} : { role }) };
}

/** True for an entry that has its name from the image it accompanies: the name stands for the image. */
export function isAccompanying(entry: Descriptor): boolean {
  return parseKind(entry)?.accompanies === true;
}

/** The subject that an annotation of an entry of index.json names, whichever tool's annotation it is. */
export function annotatedSubject(entry: Descriptor): Digest | undefined {
  const { annotations } = entry;
  const text =
    annotations?.[annotationKeys.haulerSubject] ??
    annotations?.[annotationKeys.containerdSubject] ??
    annotations?.[annotationKeys.proposedSubject] ??
    annotations?.[annotationKeys.referenceDigest];
  return text !== undefined && isDigest(text) ? text : undefined;
}

/**
 * True for a child of an index that attests another child, as BuildKit writes it. Its platform is `unknown/unknown`, which
 * is no platform.
 */
export function isAttestation(child: Descriptor): boolean {
  return child.annotations?.[annotationKeys.referenceType] === "attestation-manifest";
}

/** The sibling that an attestation is about. Undefined where `child` is none, or does not say. */
export function attestedDigest(child: Descriptor): Digest | undefined {
  const digest = child.annotations?.[annotationKeys.referenceDigest];
  return isAttestation(child) && digest !== undefined && isDigest(digest) ? digest : undefined;
}

/** True for an entry that stands for a list of the referrers of `subject` under one of the {@link responseKeys}. */
export function isResponseFor(entry: Descriptor, subject: Digest): boolean {
  return isIndexType(entry.mediaType) && responseKeys.some((key) => entry.annotations?.[key.subject] === subject);
}
