import type { Abortable, Source, Target } from "./content.js";
import { type CopyOptions, type CopyReport, copy } from "./copy.js";
import { type Descriptor, descriptorOf, emptyBytes, emptyDescriptor, plainDescriptor } from "./model/descriptor.js";
import type { Digest } from "./model/digest.js";
import { parseJsonObject } from "./model/json.js";
import { encodeJson } from "./model/manifest.js";
import { isImageManifestType, isIndexType, mediaTypes } from "./model/media-types.js";
import { contentOf, type ReadManifest, readManifest } from "./model/verified.js";
import { attestedDigest, isAttestation } from "./store/conventions.js";
import { MemoryStore } from "./store/memory.js";
import { Overlay } from "./store/overlay.js";
import { checkDepth } from "./walk.js";

/** The artifactType that BuildKit itself gives to an attestation that it writes as an artifact. */
const ATTESTATION_TYPE = "application/vnd.docker.attestation.manifest.v1+json";

/** An attestation that became a referrer. */
export interface ConvertedAttestation {
  readonly subject: Descriptor;
  /** As it was: a child of the index. */
  readonly attestation: Descriptor;
  /** As it is: a referrer of the subject. It has the same statements and another digest. */
  readonly descriptor: Descriptor;
}

/** What a {@link convertAttestations} did. */
export interface ConvertReport {
  /** The root as it was. What refers to it, a signature for instance, refers to this and not to the new one. */
  readonly before: Descriptor;
  /** The root as it is. The same where there was nothing to convert. */
  readonly descriptor: Descriptor;
  readonly converted: readonly ConvertedAttestation[];
  /** Attestations that stay where they are, since what they attest is not beside them or they are no image manifests. */
  readonly kept: readonly Descriptor[];
  /** What refers to an index that has another digest now. It is not copied. */
  readonly left: readonly Descriptor[];
  readonly copy: CopyReport;
}

/**
 * Copies an image, turning the attestations that BuildKit put into its index into referrers of the images they are about. Images
 * keep their digests; every index that held an attestation gets a new one. The same input makes the same digests. Fails
 * as {@link copy} does, and with `NOT_FOUND` where an attestation is missing.
 */
export async function convertAttestations(
  source: Source,
  target: Target,
  root: Descriptor,
  options: CopyOptions = {},
): Promise<ConvertReport> {
  const made = new MemoryStore(source.name);
  const run: Conversion = {
    source,
    made,
    replaced: new Map(),
    converted: [],
    kept: [],
    left: [],
    signal: options.signal,
  };
  const descriptor = await convert(run, root, []);
  const { converted, kept, left } = run;
  // A choice among the referrers there were is not about those that are made here.
  const requiredReferrers = new Set(converted.map((one) => one.descriptor.digest));
  const copied = await copy(new Overlay(source, made), target, descriptor, { ...options, requiredReferrers });
  return { before: root, descriptor, converted, kept, left, copy: copied };
}

interface Conversion extends Abortable {
  readonly source: Source;
  /** The manifests that are new. */
  readonly made: MemoryStore;
  /** What took the place of each index, by its digest. */
  readonly replaced: Map<Digest, Descriptor>;
  readonly converted: ConvertedAttestation[];
  readonly kept: Descriptor[];
  readonly left: Descriptor[];
}

/** What takes the place of `descriptor`: itself, where it is no index or holds no attestation. Each index is converted once. */
async function convert(run: Conversion, descriptor: Descriptor, path: readonly string[]): Promise<Descriptor> {
  checkDepth(path, descriptor);
  if (!isIndexType(descriptor.mediaType)) return descriptor;
  const known = run.replaced.get(descriptor.digest);
  if (known !== undefined) return known.digest === descriptor.digest ? descriptor : withoutData(descriptor, known);
  const replacement = await convertIndex(run, descriptor, path);
  run.replaced.set(descriptor.digest, replacement);
  return replacement;
}

async function convertIndex(run: Conversion, descriptor: Descriptor, path: readonly string[]): Promise<Descriptor> {
  const { manifest, bytes } = await readManifest(run.source, descriptor, { signal: run.signal });
  if (manifest.kind !== "index") return descriptor;
  const images = new Map(manifest.manifests.filter((child) => !isAttestation(child)).map((one) => [one.digest, one]));
  const manifests: Descriptor[] = [];
  for (const child of manifest.manifests) {
    const attested = attestedDigest(child);
    const subject = attested === undefined ? undefined : images.get(attested);
    if (!isAttestation(child)) manifests.push(await convert(run, child, [...path, child.digest]));
    else if (subject !== undefined && isImageManifestType(child.mediaType)) await convertOne(run, child, subject);
    else {
      run.kept.push(child);
      manifests.push(child);
    }
  }
  const isSame = manifests.length === manifest.manifests.length;
  if (isSame && manifests.every((child, at) => child.digest === manifest.manifests[at]?.digest)) return descriptor;
  for await (const referrer of run.source.referrers(descriptor, { signal: run.signal })) run.left.push(referrer);
  const changed = encodeJson({ ...parseJsonObject(bytes, descriptor.digest), manifests });
  const replacement = withoutData(descriptor, descriptorOf(changed, descriptor.mediaType));
  await run.made.push(contentOf(changed, plainDescriptor(replacement)));
  return replacement;
}

async function convertOne(run: Conversion, child: Descriptor, subject: Descriptor): Promise<void> {
  const read = await readManifest(run.source, child, { signal: run.signal });
  const bytes = referrerBytes(read, subject);
  const descriptor = descriptorOf(
    bytes,
    child.mediaType === mediaTypes.dockerManifest ? mediaTypes.manifest : child.mediaType,
  );
  await run.made.push(contentOf(emptyBytes, emptyDescriptor));
  await run.made.push(contentOf(bytes, descriptor));
  run.converted.push({ subject: plainDescriptor(subject), attestation: child, descriptor });
}

/** The manifest of the referrer. BuildKit can write one itself, inside the index; that is taken as it is. */
function referrerBytes({ manifest, bytes }: ReadManifest, subject: Descriptor): Uint8Array {
  if (manifest.kind !== "image" || manifest.subject?.digest === subject.digest) return bytes;
  return encodeJson({
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    artifactType: manifest.artifactType ?? ATTESTATION_TYPE,
    // The config says unknown/unknown and what the layers are; an artifact has none.
    config: emptyDescriptor,
    layers: manifest.layers,
    subject: plainDescriptor(subject),
    ...(manifest.annotations === undefined ? {} : { annotations: manifest.annotations }),
  });
}

/** The descriptor with the digest and size of another. What was embedded in it is not the same any more. */
function withoutData({ data: _data, ...descriptor }: Descriptor, { digest, size }: Descriptor): Descriptor {
  return { ...descriptor, digest, size };
}
