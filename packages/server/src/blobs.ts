import { type Descriptor, type Digest, isOciError, mediaTypes } from "@stowage/layout";
import type { Answer } from "./answer.js";
import { Refusal } from "./errors.js";
import { digestIn, type Exchange } from "./exchange.js";
import { FileBody } from "./file-body.js";
import { type ByteRange, parseRange } from "./range.js";
import { existingRepository, type Registry } from "./registry.js";
import type { Repository } from "./store.js";

/** Fewer bytes are read at once. */
const WORTH_A_FILE = 512 * 1024;

/** GET and HEAD of a blob, whole or in part. distribution-spec v1.1.1, "Pulling blobs". */
export async function getBlob(exchange: Exchange, registry: Registry, name: string, text: string): Promise<Answer> {
  const digest = digestIn(text);
  const repository = await existingRepository(registry, name);
  const descriptor = await findBlob(repository, digest, exchange.signal);
  if (descriptor === undefined) throw new Refusal(404, "BLOB_UNKNOWN", `${name} has no blob ${digest}`);
  const headers = {
    "Content-Type": mediaTypes.octetStream,
    "Docker-Content-Digest": digest,
    "Accept-Ranges": "bytes",
  };
  if (exchange.method === "HEAD") return { status: 200, headers: { ...headers, "Content-Length": descriptor.size } };
  // No validator is sent with a blob, so a condition on one cannot hold (RFC 9110, section 13.1.5).
  const range =
    exchange.header("if-range") === undefined ? parseRange(exchange.header("range"), descriptor.size) : undefined;
  if (range === undefined) {
    const all = { start: 0, end: descriptor.size - 1 };
    const body = bytesOf(repository, descriptor, all, exchange.signal);
    return { status: 200, headers: { ...headers, "Content-Length": descriptor.size }, body };
  }
  const partial = {
    ...headers,
    "Content-Length": range.end - range.start + 1,
    "Content-Range": `bytes ${range.start}-${range.end}/${descriptor.size}`,
  };
  return { status: 206, headers: partial, body: bytesOf(repository, descriptor, range, exchange.signal) };
}

/**
 * Removes a blob that no manifest needs. With other repositories of the same layout it is shared, so only where the server was
 * told that it may. distribution-spec v1.1.1, "Deleting Blobs".
 */
export async function deleteBlob(exchange: Exchange, registry: Registry, name: string, text: string): Promise<Answer> {
  const digest = digestIn(text);
  if (!registry.deleteBlobs) {
    throw new Refusal(405, "UNSUPPORTED", "this server deletes no blobs", { Allow: "GET, HEAD" });
  }
  const repository = await existingRepository(registry, name);
  try {
    await registry.turns.alone(() => repository.removeBlob(digest, { signal: exchange.signal }));
  } catch (error) {
    if (isOciError(error, "NOT_FOUND")) throw new Refusal(404, "BLOB_UNKNOWN", `${name} has no blob ${digest}`);
    if (isOciError(error, "CONFLICT")) throw new Refusal(405, "DENIED", `a manifest needs ${digest}`);
    throw error;
  }
  return { status: 202, headers: {} };
}

/** The descriptor of the blob with this digest, if it is there. A collection spares it for a while: the client may count on it. */
export async function findBlob(
  repository: Repository,
  digest: Digest,
  signal: AbortSignal,
): Promise<Descriptor | undefined> {
  const size = await repository.size(digest);
  if (size === undefined) return undefined;
  const descriptor = { mediaType: mediaTypes.octetStream, digest, size };
  return (await repository.has(descriptor, { signal })) ? descriptor : undefined;
}

function bytesOf(
  repository: Repository,
  descriptor: Descriptor,
  { start, end }: ByteRange,
  signal: AbortSignal,
): AsyncIterable<Uint8Array> {
  const { openBlob } = repository;
  const whole = start === 0 && end === descriptor.size - 1;
  if (openBlob !== undefined && end - start >= WORTH_A_FILE)
    return new FileBody(() => openBlob(descriptor), start, end + 1, whole);
  return whole ? repository.fetch(descriptor, { signal }) : part(repository, descriptor, { start, end }, signal);
}

async function* part(
  repository: Repository,
  descriptor: Descriptor,
  range: ByteRange,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let left = range.end - range.start + 1;
  for await (const chunk of repository.fetch(descriptor, { from: range.start, signal })) {
    yield chunk.byteLength <= left ? chunk : chunk.subarray(0, left);
    left -= chunk.byteLength;
    if (left <= 0) return;
  }
}
