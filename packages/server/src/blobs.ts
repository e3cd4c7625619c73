import { type Descriptor, type Digest, mediaTypes } from "@stowage/layout";
import type { Answer } from "./answer.js";
import { Refusal } from "./errors.js";
import { digestIn, type Exchange } from "./exchange.js";
import { type ByteRange, parseRange } from "./range.js";
import { existingRepository, type Registry } from "./registry.js";
import type { Repository } from "./store.js";

/** GET and HEAD of a blob, whole or in part. distribution-spec v1.1.1, "Pulling blobs". */
export async function getBlob(exchange: Exchange, registry: Registry, name: string, text: string): Promise<Answer> {
  const digest = digestIn(text);
  const repository = await existingRepository(registry, name);
  const descriptor = await findBlob(repository, digest);
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
    const bytes = repository.fetch(descriptor, { signal: exchange.signal });
    return { status: 200, headers: { ...headers, "Content-Length": descriptor.size }, body: bytes };
  }
  const partial = {
    ...headers,
    "Content-Length": range.end - range.start + 1,
    "Content-Range": `bytes ${range.start}-${range.end}/${descriptor.size}`,
  };
  return { status: 206, headers: partial, body: part(repository, descriptor, range, exchange.signal) };
}

/** The descriptor of the blob with this digest, if it is there. */
export async function findBlob(repository: Repository, digest: Digest): Promise<Descriptor | undefined> {
  const size = await repository.size(digest);
  return size === undefined ? undefined : { mediaType: mediaTypes.octetStream, digest, size };
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
