import {
  type Bytes,
  type Content,
  type Descriptor,
  type DigestAlgorithm,
  descriptorOf,
  digestOf,
  emptyBytes,
  emptyDescriptor,
  encodeJson,
  mediaTypes,
  plainDescriptor,
  type Target,
} from "@stowage/layout";

/** Bytes with their descriptor, and a count of how often they were opened. */
export interface Sample extends Content {
  readonly bytes: Uint8Array;
  readonly opened: { count: number };
}

export function sample(
  bytes: Uint8Array,
  mediaType: string = mediaTypes.octetStream,
  algorithm: DigestAlgorithm = "sha256",
): Sample {
  const opened = { count: 0 };
  const descriptor = { ...descriptorOf(bytes, mediaType), digest: digestOf(bytes, algorithm) };
  const open = (): Bytes => {
    opened.count++;
    return [bytes];
  };
  return { bytes, descriptor, opened, open };
}

/** A blob of `size` bytes that `text` tells from others. Each four of them hold their own number: a chunk in the wrong place shows. */
export function blob(text: string, size = text.length, algorithm: DigestAlgorithm = "sha256"): Sample {
  const numbers = new Uint32Array(Math.ceil(size / 4));
  const first = Buffer.from(digestOf(text).slice(-8), "hex").readUInt32LE();
  for (let at = 0; at < numbers.length; at++) numbers[at] = first + at;
  return sample(Buffer.from(numbers.buffer, 0, size), mediaTypes.octetStream, algorithm);
}

/** What an artifact may hold besides its annotation. */
export interface ArtifactOptions {
  readonly subject?: Descriptor;
  readonly artifactType?: string;
  readonly algorithm?: DigestAlgorithm;
}

/** The manifest of an artifact without blobs; it needs the empty blob only. `text` tells it from others. */
export function artifact(text: string, options: ArtifactOptions = {}): Sample {
  const value = {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    artifactType: options.artifactType ?? "application/example",
    config: emptyDescriptor,
    layers: [emptyDescriptor],
    ...(options.subject === undefined ? {} : { subject: plainDescriptor(options.subject) }),
    annotations: { "example.text": text },
  };
  return sample(encodeJson(value), mediaTypes.manifest, options.algorithm);
}

/** What a list of referrers is to hold for a manifest made by {@link artifact}. */
export function listed(manifest: Sample): Descriptor {
  const { artifactType, annotations } = JSON.parse(Buffer.from(manifest.bytes).toString());
  return { ...manifest.descriptor, artifactType, annotations };
}

/** An index of the given manifests. */
export function indexOf(manifests: readonly Descriptor[], extra: Record<string, unknown> = {}): Sample {
  const value = { schemaVersion: 2, mediaType: mediaTypes.index, manifests, ...extra };
  return sample(encodeJson(value), mediaTypes.index);
}

/** Pushes the empty blob, which all artifacts rest on, and then the given content in order. */
export async function pushAll(target: Target, ...contents: readonly Content[]): Promise<void> {
  await target.push(sample(emptyBytes, mediaTypes.empty));
  for (const content of contents) await target.push(content);
}

/** All bytes of a stream. */
export async function read(bytes: Bytes): Promise<Buffer> {
  const { received, error } = await receive(bytes);
  if (error !== undefined) throw error;
  return received;
}

/** All bytes that come before a stream ends or fails, and why it failed. */
export async function receive(bytes: Bytes): Promise<{ received: Buffer; error: unknown }> {
  const chunks: Uint8Array[] = [];
  let error: unknown;
  try {
    for await (const chunk of bytes) chunks.push(chunk);
  } catch (reason) {
    error = reason;
  }
  return { received: Buffer.concat(chunks), error };
}

/** Everything an iterable yields. */
export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}
