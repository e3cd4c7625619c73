import { type Digest, type DigestAlgorithm, digestAlgorithm, isOciError, mediaTypes } from "@stowage/layout";
import type { Answer } from "./answer.js";
import { findBlob } from "./blobs.js";
import { Refusal } from "./errors.js";
import { digestIn, type Exchange } from "./exchange.js";
import { parseChunkRange } from "./range.js";
import { findRepository, type Registry, writableRepository } from "./registry.js";
import type { Repository } from "./store.js";
import { tooLarge, type Upload } from "./upload.js";

/** How many repositories are looked through for a blob whose place the client does not name. */
const MOUNT_SOURCES = 1000;

/**
 * Opens an upload, unless the blob can be mounted (`?mount=`, with or without `from`) or comes along (`?digest=`).
 * distribution-spec v1.1.1, "Pushing blobs" and "Mounting a blob from another repository".
 */
export async function startUpload(exchange: Exchange, registry: Registry, name: string): Promise<Answer> {
  const { query } = exchange;
  const digest = query.has("digest") ? digestIn(query.get("digest")) : undefined;
  const mount = query.has("mount") ? digestIn(query.get("mount")) : undefined;
  const algorithm = algorithmIn(query.get("digest-algorithm") ?? "sha256");
  const repository = await writableRepository(registry, name);
  if (mount !== undefined && (await mountBlob(exchange, registry, repository, mount))) {
    return created(name, mount);
  }
  if (digest !== undefined) {
    await receiveBlob(exchange, registry, name, repository, digest);
    return created(name, digest);
  }
  return progress(await registry.uploads.open(name, repository, algorithm), 202);
}

/** Says how much of an upload has arrived. distribution-spec v1.1.1, "Pushing a blob in chunks". */
export async function uploadStatus(_exchange: Exchange, registry: Registry, name: string, id: string): Promise<Answer> {
  return progress(await registry.uploads.get(registry.store, name, id), 204);
}

/** Adds a chunk, or with no Content-Range whatever comes, to the end of an upload. distribution-spec v1.1.1, "Pushing a blob in chunks". */
export async function appendToUpload(
  exchange: Exchange,
  registry: Registry,
  name: string,
  id: string,
): Promise<Answer> {
  const upload = await registry.uploads.get(registry.store, name, id);
  checkChunk(exchange, registry, upload);
  await append(exchange, registry, upload);
  return progress(upload, 202);
}

/** Ends an upload; the body may hold all of the blob or the last chunk. distribution-spec v1.1.1, "POST then PUT". */
export async function finishUpload(exchange: Exchange, registry: Registry, name: string, id: string): Promise<Answer> {
  const upload = await registry.uploads.get(registry.store, name, id);
  const digest = digestIn(exchange.query.get("digest"));
  checkChunk(exchange, registry, upload);
  const repository = await writableRepository(registry, name);
  if (upload.size === 0 && (await findBlob(repository, digest, exchange.signal)) !== undefined) {
    registry.uploads.remove(upload);
    // A client must be let finish before it looks for the answer.
    await Promise.all([upload.cancel(), exchange.finishBody()]);
    return created(name, digest);
  }
  if (exchange.contentLength !== 0) await append(exchange, registry, upload);
  registry.uploads.remove(upload);
  await refusingMismatch(upload.finish(digest));
  return created(name, digest);
}

/** Gives an upload up. distribution-spec (after v1.1.1), "Cancel a blob upload". */
export async function cancelUpload(_exchange: Exchange, registry: Registry, name: string, id: string): Promise<Answer> {
  const upload = await registry.uploads.get(registry.store, name, id);
  registry.uploads.remove(upload);
  await upload.cancel();
  return { status: 204, headers: {} };
}

/** Makes a blob present that another repository has, or this one. */
async function mountBlob(
  exchange: Exchange,
  registry: Registry,
  repository: Repository,
  digest: Digest,
): Promise<boolean> {
  const { signal } = exchange;
  if ((await findBlob(repository, digest, signal)) !== undefined) return true;
  for await (const source of mountSources(exchange, registry)) {
    const descriptor = await findBlob(source, digest, signal);
    if (descriptor === undefined) continue;
    const origin = source.origin ?? source;
    await repository.push({ descriptor, open: () => source.fetch(descriptor, { signal }), origin }, { signal });
    return true;
  }
  return false;
}

/** The repository that a mount names, or, where it names none, those there are: whoever may push here may read them. */
async function* mountSources(exchange: Exchange, registry: Registry): AsyncGenerator<Repository, void, undefined> {
  const from = exchange.query.get("from");
  if (from) {
    const source = await findRepository(registry, from);
    if (source !== undefined) yield source;
    return;
  }
  let count = 0;
  for await (const name of registry.store.repositories({ signal: exchange.signal })) {
    if (++count > MOUNT_SOURCES) return;
    const source = await findRepository(registry, name);
    if (source !== undefined) yield source;
  }
}

/** Stores a request body as the blob with this digest. With a known length it goes straight to its place. */
async function receiveBlob(
  exchange: Exchange,
  registry: Registry,
  name: string,
  repository: Repository,
  digest: Digest,
): Promise<void> {
  checkSize(exchange, registry, 0);
  const size = exchange.contentLength;
  if (size === undefined) {
    const upload = await registry.uploads.open(name, repository, digestAlgorithm(digest) as DigestAlgorithm);
    try {
      await append(exchange, registry, upload);
      await refusingMismatch(upload.finish(digest));
    } finally {
      registry.uploads.remove(upload);
    }
    return;
  }
  const descriptor = { mediaType: mediaTypes.octetStream, digest, size };
  const { signal } = exchange;
  await refusingMismatch(repository.push({ descriptor, open: () => exchange.body() }, { signal }));
  // The blob was there already. A client must be let finish before it looks for the answer.
  await exchange.finishBody();
}

async function append(exchange: Exchange, registry: Registry, upload: Upload): Promise<void> {
  try {
    await upload.append(exchange.body());
  } catch (error) {
    if (!isOciError(error)) throw error;
    registry.uploads.remove(upload);
    await upload.cancel();
    if (error.code === "CONFLICT") throw new Refusal(404, "BLOB_UPLOAD_UNKNOWN", "the upload was given up");
    throw error;
  }
}

/** Refuses with 416 a chunk that does not start where the last one ended, and one that comes while another is on its way. */
function checkChunk(exchange: Exchange, registry: Registry, upload: Upload): void {
  const range = parseChunkRange(exchange.header("content-range"));
  if (upload.busy || (range !== undefined && range.start !== upload.size)) {
    const problem = upload.busy
      ? "another request is adding to this upload"
      : `the upload goes on at byte ${upload.size}`;
    throw new Refusal(416, "BLOB_UPLOAD_INVALID", problem, progressHeaders(upload));
  }
  const length = exchange.contentLength;
  if (range !== undefined && length !== undefined && length !== range.end - range.start + 1) {
    throw new Refusal(400, "SIZE_INVALID", "the Content-Range and the Content-Length do not agree");
  }
  checkSize(exchange, registry, upload.size);
}

function checkSize(exchange: Exchange, registry: Registry, before: number): void {
  const size = before + (exchange.contentLength ?? 0);
  if (size <= registry.limits.blobSize) return;
  throw tooLarge(registry.limits.blobSize);
}

async function refusingMismatch(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (isOciError(error, "MISMATCH"))
      throw new Refusal(400, "DIGEST_INVALID", "the content does not have this digest");
    throw error;
  }
}

function algorithmIn(text: string): DigestAlgorithm {
  if (text === "sha256" || text === "sha512") return text;
  throw new Refusal(400, "DIGEST_INVALID", "the digest algorithm is not known here");
}

function progressHeaders(upload: Upload): Record<string, string> {
  return {
    Location: `/v2/${upload.repositoryName}/blobs/uploads/${upload.id}`,
    // An upload without a byte cannot be expressed; 0-0 is what clients know.
    Range: `0-${Math.max(upload.size - 1, 0)}`,
    "Docker-Upload-UUID": upload.id,
  };
}

function progress(upload: Upload, status: number): Answer {
  return { status, headers: progressHeaders(upload) };
}

function created(name: string, digest: Digest): Answer {
  return { status: 201, headers: { Location: `/v2/${name}/blobs/${digest}`, "Docker-Content-Digest": digest } };
}
