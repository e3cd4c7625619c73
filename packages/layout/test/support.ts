import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import {
  type Bytes,
  contentOf,
  type Descriptor,
  descriptorOf,
  digestAlgorithm,
  digestEncoded,
  type ErrorCode,
  emptyBytes,
  emptyDescriptor,
  encodeJson,
  mediaTypes,
  OciError,
  type Platform,
  plainDescriptor,
  type Target,
} from "@stowage/layout";
import { expect, onTestFinished } from "vitest";

/** A new directory that is removed when the test ends. */
export async function temporaryDirectory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "stowage-layout-"));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

export function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** A stream of the given chunks, each of which arrives in a turn of its own. */
export async function* streamOf(...chunks: (Uint8Array | string)[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) {
    await new Promise((resolve) => setImmediate(resolve));
    yield typeof chunk === "string" ? utf8(chunk) : chunk;
  }
}

export async function all<T>(items: AsyncIterable<T> | Iterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

export async function bytesOf(stream: Bytes): Promise<Buffer> {
  return Buffer.concat(await all(stream));
}

/** What `work` fails with, which has to be an OciError of this code. */
export async function failure(work: Promise<unknown> | (() => unknown), code: ErrorCode): Promise<OciError> {
  let error: unknown;
  try {
    await (typeof work === "function" ? work() : work);
  } catch (reason) {
    error = reason;
  }
  expect(error, "it did not fail with an OciError").toBeInstanceOf(OciError);
  expect({ code: (error as OciError).code, message: (error as OciError).message }).toMatchObject({ code });
  return error as OciError;
}

export async function pushBytes(target: Target, bytes: Uint8Array | string, mediaType: string): Promise<Descriptor> {
  const content = typeof bytes === "string" ? utf8(bytes) : bytes;
  const descriptor = descriptorOf(content, mediaType);
  await target.push(contentOf(content, descriptor));
  return descriptor;
}

export interface ImageOptions {
  readonly platform?: Platform;
  readonly layers?: readonly string[];
  readonly annotations?: Record<string, string>;
  readonly config?: Record<string, unknown>;
}

/** Stores an image whose layers hold the given texts. */
export async function pushImage(target: Target, options: ImageOptions = {}): Promise<Descriptor> {
  const layers: Descriptor[] = [];
  for (const text of options.layers ?? ["a layer"]) layers.push(await pushBytes(target, text, mediaTypes.layer));
  const { os, architecture, variant } = options.platform ?? { os: "linux", architecture: "amd64" };
  const config = await pushBytes(
    target,
    encodeJson({
      architecture,
      os,
      ...(variant === undefined ? {} : { variant }),
      rootfs: { type: "layers", diff_ids: layers.map((layer) => layer.digest) },
      ...options.config,
    }),
    mediaTypes.config,
  );
  const { annotations } = options;
  return pushManifest(target, { config, layers, ...(annotations === undefined ? {} : { annotations }) });
}

export function manifestBytes(members: Record<string, unknown>): Uint8Array {
  return encodeJson({ schemaVersion: 2, mediaType: mediaTypes.manifest, ...members });
}

export function indexBytes(members: Record<string, unknown>): Uint8Array {
  return encodeJson({ schemaVersion: 2, mediaType: mediaTypes.index, ...members });
}

export function pushManifest(target: Target, members: Record<string, unknown>): Promise<Descriptor> {
  return pushBytes(target, manifestBytes(members), mediaTypes.manifest);
}

export function pushIndex(
  target: Target,
  manifests: readonly Descriptor[],
  members: Record<string, unknown> = {},
): Promise<Descriptor> {
  return pushBytes(target, indexBytes({ manifests, ...members }), mediaTypes.index);
}

/** The bytes of a referrer of `subject` that consists of its annotations. */
export function referrerBytes(
  subject: Descriptor,
  artifactType = "application/spdx+json",
  annotations: Record<string, string> = {},
): Uint8Array {
  return manifestBytes({
    artifactType,
    config: emptyDescriptor,
    layers: [emptyDescriptor],
    subject: plainDescriptor(subject),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  });
}

export async function pushReferrer(
  target: Target,
  subject: Descriptor,
  artifactType?: string,
  annotations?: Record<string, string>,
): Promise<Descriptor> {
  await target.push(contentOf(emptyBytes, emptyDescriptor));
  return pushBytes(target, referrerBytes(subject, artifactType, annotations), mediaTypes.manifest);
}

/** Writes a file of a layout, with its directories. */
export async function put(directory: string, name: string, content: Uint8Array | string): Promise<void> {
  await mkdir(dirname(join(directory, name)), { recursive: true });
  await writeFile(join(directory, name), content);
}

/** Writes a layout by hand, as another tool would have left it. */
export async function handMadeLayout(
  directory: string,
  index: Record<string, unknown> | string,
  blobs: readonly Uint8Array[] = [],
): Promise<void> {
  await mkdir(join(directory, "blobs", "sha256"), { recursive: true });
  for (const blob of blobs) await put(directory, blobName(descriptorOf(blob, mediaTypes.octetStream)), blob);
  await put(directory, "oci-layout", '{"imageLayoutVersion":"1.0.0"}');
  await put(
    directory,
    "index.json",
    typeof index === "string" ? index : JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.index, ...index }),
  );
}

export function blobName({ digest }: Pick<Descriptor, "digest">): string {
  return `blobs/${digestAlgorithm(digest)}/${digestEncoded(digest)}`;
}

/** The names of all files below a directory, sorted. */
export async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .sort();
}

export const REF_NAME = "org.opencontainers.image.ref.name";

/** The descriptor with a ref.name, as an entry of index.json. */
export function named(descriptor: Descriptor, name: string): Descriptor {
  return { ...descriptor, annotations: { ...descriptor.annotations, [REF_NAME]: name } };
}
