import type { Bytes, Content, Source } from "../content.js";
import { type Descriptor, embeddedData, formatDescriptor } from "./descriptor.js";
import { Hasher } from "./digest.js";
import { OciError } from "./errors.js";
import { MAXIMUM_MANIFEST_SIZE, type Manifest, parseManifest } from "./manifest.js";

/**
 * Yields the bytes of `stream` and guarantees that whoever has received all of them has received the content of
 * `descriptor`: the last chunk is withheld until size and digest are known to match. Stops at the first byte too many.
 * Fails with `MISMATCH`; a negative or wrong size is told apart from a wrong digest. image-spec v1.1.1, descriptor.md "Verification".
 */
export async function* verified(
  stream: Bytes,
  descriptor: Descriptor,
  where = formatDescriptor(descriptor),
): AsyncGenerator<Uint8Array, void, undefined> {
  const hasher = Hasher.for(descriptor.digest);
  let size = 0;
  let held: Uint8Array | undefined;
  for await (const chunk of stream) {
    if (chunk.byteLength === 0) continue;
    size += chunk.byteLength;
    if (size > descriptor.size) {
      throw new OciError("MISMATCH", `${where} is larger than the ${descriptor.size} bytes it was declared with`);
    }
    hasher.update(chunk);
    if (held !== undefined) yield held;
    held = chunk;
  }
  if (size !== descriptor.size) {
    throw new OciError("MISMATCH", `${where} ended after ${size} bytes; ${descriptor.size} were declared`);
  }
  const digest = hasher.digest();
  if (digest !== descriptor.digest) {
    throw damaged(where, digest);
  }
  if (held !== undefined) yield held;
}

/** The error for content that has another digest than it should. */
export function damaged(where: string, digest: string): OciError {
  return new OciError("MISMATCH", `${where} has the digest ${digest}`, {
    hint: "The content was damaged or replaced. Fetch it again from where it came.",
  });
}

/** All bytes of `stream` in one piece. Fails with `LIMIT` as soon as there are more than `limit` bytes. */
export async function collect(stream: Bytes, limit: number, what = "the content"): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.byteLength;
    if (size > limit) throw new OciError("LIMIT", `${what} is larger than ${limit} bytes`);
    chunks.push(chunk);
  }
  return chunks.length === 1 ? (chunks[0] as Uint8Array) : Buffer.concat(chunks, size);
}

/** The options of {@link readBytes} and {@link readManifest}. */
export interface ReadOptions {
  /** The largest content that is read, in bytes. Default: {@link MAXIMUM_MANIFEST_SIZE}. */
  readonly limit?: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The verified bytes of small content, from its `data` field where that is right, otherwise from `source`. Fails with
 * `LIMIT` before anything is read where the declared size is above the limit.
 */
export async function readBytes(
  source: Pick<Source, "fetch">,
  descriptor: Descriptor,
  options: ReadOptions = {},
): Promise<Uint8Array> {
  const limit = options.limit ?? MAXIMUM_MANIFEST_SIZE;
  if (descriptor.size > limit)
    throw new OciError(
      "LIMIT",
      `${formatDescriptor(descriptor)} is larger than the ${limit} bytes that are read at once`,
    );
  const embedded = embeddedData(descriptor);
  if (embedded !== undefined) return embedded;
  return collect(source.fetch(descriptor, { signal: options.signal }), limit);
}

/** A manifest together with the bytes it was parsed from, which are what gets stored or sent. */
export interface ReadManifest {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
}

/** Reads, verifies and parses the manifest or index that `descriptor` names. Fails as {@link readBytes} and {@link parseManifest} do. */
export async function readManifest(
  source: Pick<Source, "fetch">,
  descriptor: Descriptor,
  options: ReadOptions = {},
): Promise<ReadManifest> {
  const bytes = await readBytes(source, descriptor, options);
  return { descriptor, bytes, manifest: parseManifest(bytes, descriptor.mediaType, descriptor.digest) };
}

/** Content that is in memory already. */
export function contentOf(bytes: Uint8Array, descriptor: Descriptor): Content {
  return { descriptor, open: () => [bytes] };
}
