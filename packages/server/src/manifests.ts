import {
  childrenOf,
  collect,
  contentOf,
  type Descriptor,
  type Digest,
  type DigestAlgorithm,
  digestAlgorithm,
  digestOf,
  isDigest,
  isManifestType,
  isOciError,
  isTag,
  MAXIMUM_MANIFEST_SIZE,
  type Manifest,
  OciError,
  parseJsonObject,
  parseManifest,
  readBytes,
  sniffManifestType,
} from "@stowage/layout";
import type { Answer } from "./answer.js";
import { Refusal } from "./errors.js";
import { digestIn, type Exchange } from "./exchange.js";
import { type FoundManifest, knownManifest } from "./known-manifests.js";
import { existingRepository, type Registry, writableRepository } from "./registry.js";
import type { Repository } from "./store.js";

/** GET and HEAD of a manifest by tag or digest, byte for byte as it was pushed. distribution-spec v1.1.1, "Pulling manifests". */
export async function getManifest(exchange: Exchange, registry: Registry, name: string, text: string): Promise<Answer> {
  const reference = referenceIn(text);
  const repository = await existingRepository(registry, name);
  const found = await knownManifest(repository, reference, () => findManifest(repository, reference, exchange.signal));
  if (found === undefined) throw new Refusal(404, "MANIFEST_UNKNOWN", `${name} has no manifest ${reference}`);
  const { descriptor, bytes } = found;
  const headers = { "Content-Type": descriptor.mediaType, "Docker-Content-Digest": descriptor.digest };
  return { status: 200, headers, body: bytes };
}

/**
 * Stores a manifest, exactly as sent, under its digest and the tag in the path or the tags in `?tag=`. What it points at
 * must be there already, except the subject. distribution-spec v1.1.1, "Pushing Manifests".
 */
export async function putManifest(exchange: Exchange, registry: Registry, name: string, text: string): Promise<Answer> {
  const reference = referenceIn(text);
  const tags = tagsIn(exchange, registry, reference);
  const bytes = await readManifestBody(exchange, registry);
  const repository = await writableRepository(registry, name);
  const algorithm = isDigest(reference) ? (digestAlgorithm(reference) as DigestAlgorithm) : "sha256";
  const digest = digestOf(bytes, algorithm);
  if (isDigest(reference) && reference !== digest) {
    throw new Refusal(400, "DIGEST_INVALID", `the manifest has the digest ${digest}, not ${reference}`);
  }
  const mediaType = manifestType(exchange, bytes);
  const manifest = parseBody(bytes, mediaType, digest);
  const descriptor = { mediaType, digest, size: bytes.byteLength };
  const { signal } = exchange;
  // Nothing that it points at may be deleted between the look at it and the tag.
  await registry.turns.together(async () => {
    if (!registry.sparse) await checkChildren(repository, manifest, signal);
    await repository.push(contentOf(bytes, descriptor), { signal });
    for (const tag of tags) await repository.tag(tag, descriptor, { signal });
  });
  const headers = {
    Location: `/v2/${name}/manifests/${digest}`,
    "Docker-Content-Digest": digest,
    ...(manifest.subject === undefined ? {} : { "OCI-Subject": manifest.subject.digest }),
    ...(isDigest(reference) && tags.length > 0 ? { "OCI-Tag": tags.join(", ") } : {}),
  };
  return { status: 201, headers };
}

/**
 * Removes a tag, or a manifest with its tags. A manifest that an index needs stays, and so does one that another repository
 * of the same layout has a tag for. distribution-spec v1.1.1, "Deleting tags" and "Deleting Manifests".
 */
export async function deleteManifest(
  exchange: Exchange,
  registry: Registry,
  name: string,
  text: string,
): Promise<Answer> {
  const reference = referenceIn(text);
  const repository = await existingRepository(registry, name);
  const { signal } = exchange;
  try {
    if (!isDigest(reference)) await repository.untag(reference, { signal });
    else await registry.turns.alone(() => repository.removeManifest(reference, { signal }));
  } catch (error) {
    if (isOciError(error, "NOT_FOUND")) throw new Refusal(404, "MANIFEST_UNKNOWN", `${name} has no ${reference}`);
    if (isOciError(error, "CONFLICT")) throw new Refusal(405, "DENIED", `an index needs ${reference}`);
    throw error;
  }
  return { status: 202, headers: {} };
}

/** What a tag or digest stands for; undefined where there is nothing, where the content is missing, or is not registered. */
async function findManifest(
  repository: Repository,
  reference: string,
  signal: AbortSignal,
): Promise<FoundManifest | undefined> {
  try {
    const descriptor = await repository.resolve(reference, { signal });
    if (descriptor.size > MAXIMUM_MANIFEST_SIZE || !(await repository.has(descriptor, { signal }))) return undefined;
    const bytes = await readBytes(repository, descriptor, { signal });
    if (isDigest(reference) && !(await isRegistered(repository, descriptor, bytes, signal))) return undefined;
    return { descriptor, bytes };
  } catch (error) {
    if (isOciError(error, "NOT_FOUND")) return undefined;
    throw error;
  }
}

/**
 * False for a manifest with a subject that is not among its referrers: its bytes came as a blob, or its push was cut short.
 * To say that it is here would keep a client from pushing it, and so from making it a referrer.
 */
async function isRegistered(
  repository: Repository,
  descriptor: Descriptor,
  bytes: Uint8Array,
  signal: AbortSignal,
): Promise<boolean> {
  const subject = subjectOf(bytes, descriptor);
  if (subject === undefined) return true;
  for await (const referrer of repository.referrers(subject, { signal })) {
    if (referrer.digest === descriptor.digest) return true;
  }
  return false;
}

function subjectOf(bytes: Uint8Array, descriptor: Descriptor): Descriptor | undefined {
  try {
    return parseManifest(bytes, descriptor.mediaType, descriptor.digest).subject;
  } catch {
    // Nobody's referrer. It is served as it lies there.
    return undefined;
  }
}

function referenceIn(text: string): string {
  if (isTag(text)) return text;
  if (text.includes(":")) return digestIn(text);
  throw new Refusal(400, "MANIFEST_INVALID", "neither a tag nor a digest");
}

function tagsIn(exchange: Exchange, registry: Registry, reference: string): readonly string[] {
  if (!isDigest(reference)) return [reference];
  const tags = [...new Set(exchange.query.getAll("tag"))];
  if (tags.length > registry.limits.listLength) throw new Refusal(414, "MANIFEST_INVALID", "too many tags");
  if (!tags.every(isTag)) throw new Refusal(400, "MANIFEST_INVALID", "one of the tags is no tag");
  return tags;
}

async function readManifestBody(exchange: Exchange, registry: Registry): Promise<Uint8Array> {
  const limit = registry.limits.manifestSize;
  const tooLarge = new Refusal(413, "SIZE_INVALID", `a manifest may have ${limit} bytes`);
  if ((exchange.contentLength ?? 0) > limit) throw tooLarge;
  try {
    return await collect(exchange.body(), limit);
  } catch (error) {
    throw isOciError(error, "LIMIT") ? tooLarge : error;
  }
}

/** The type a client gives, without parameters; where it gives none, what the manifest says of itself. */
function manifestType(exchange: Exchange, bytes: Uint8Array): string {
  const given = exchange.header("content-type")?.split(";", 1)[0]?.trim();
  const mediaType = given || sniff(bytes);
  if (mediaType !== undefined && isManifestType(mediaType)) return mediaType;
  throw new Refusal(400, "MANIFEST_INVALID", "the Content-Type is not that of a manifest or index");
}

function sniff(bytes: Uint8Array): string | undefined {
  try {
    return sniffManifestType(parseJsonObject(bytes, "the manifest"));
  } catch {
    return undefined;
  }
}

function parseBody(bytes: Uint8Array, mediaType: string, digest: Digest): Manifest {
  try {
    return parseManifest(bytes, mediaType, digest);
  } catch (error) {
    if (error instanceof OciError) throw new Refusal(400, "MANIFEST_INVALID", error.message);
    throw error;
  }
}

/** image-spec v1.1.1, layer.md "Non-Distributable Layers": these a registry need not hold. */
const NONDISTRIBUTABLE = /\.nondistributable\.|\.rootfs\.foreign\.diff\./;

async function checkChildren(repository: Repository, manifest: Manifest, signal: AbortSignal): Promise<void> {
  const checked = new Set<string>();
  for (const child of childrenOf(manifest)) {
    if (checked.has(child.digest) || NONDISTRIBUTABLE.test(child.mediaType)) continue;
    checked.add(child.digest);
    // What it says yes to is spared by a collection.
    if (await repository.has(child, { signal })) continue;
    const size = await repository.size(child.digest);
    if (size === undefined) {
      throw new Refusal(404, "MANIFEST_BLOB_UNKNOWN", `the manifest points at ${child.digest}, which is not here`);
    }
    const problem = `the manifest says that ${child.digest} has ${child.size} bytes; it has ${size}`;
    throw new Refusal(400, "SIZE_INVALID", problem);
  }
}
