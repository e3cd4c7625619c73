import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type Descriptor,
  type Digest,
  descriptorOf,
  emptyBytes,
  Layout,
  type LayoutIndex,
  mediaTypes,
  referrersTag,
} from "@stowage/layout";
import {
  all,
  bytesOf,
  handMadeLayout,
  indexBytes,
  manifestBytes,
  referrerBytes,
  temporaryDirectory,
} from "./support.js";

export const OLAREG_SUBJECT = "org.olareg.referrer.subject";
export const OLAREG_CONVERT = "org.olareg.referrer.convert";
export const config = descriptorOf(emptyBytes, mediaTypes.empty);

/** A manifest and its descriptor, without a place to be. */
export interface Made {
  readonly bytes: Uint8Array;
  readonly descriptor: Descriptor;
}

export function made(bytes: Uint8Array, mediaType: string): Made {
  return { bytes, descriptor: descriptorOf(bytes, mediaType) };
}

export const subject = made(manifestBytes({ config, layers: [config] }), mediaTypes.manifest);
export const other = made(manifestBytes({ config, layers: [config, config] }), mediaTypes.manifest);
export const tag = referrersTag(subject.descriptor.digest);

export function referrer(
  name: string,
  of: Descriptor = subject.descriptor,
  artifactType = "application/spdx+json",
): Made {
  return made(referrerBytes(of, artifactType, { name }), mediaTypes.manifest);
}

export function list(...manifests: Descriptor[]): Made {
  return made(indexBytes({ manifests }), mediaTypes.index);
}

export async function layoutOf(manifests: Descriptor[], blobs: Made[], members: object = {}): Promise<Layout> {
  const path = await temporaryDirectory();
  await handMadeLayout(path, { manifests, ...members }, [emptyBytes, ...blobs.map(({ bytes }) => bytes)]);
  return Layout.open(path);
}

export async function digestsFound(layout: Layout, of: Descriptor = subject.descriptor): Promise<Digest[]> {
  return (await all(layout.referrers(of))).map(({ digest }) => digest);
}

export const sorted = (...those: Made[]): Digest[] => those.map(({ descriptor }) => descriptor.digest).sort();

export async function onDisk(layout: Layout): Promise<LayoutIndex> {
  return JSON.parse(await readFile(join(layout.path, "index.json"), "utf8")) as LayoutIndex;
}

export async function listed(layout: Layout, entry: Descriptor | undefined): Promise<Descriptor[]> {
  return JSON.parse((await bytesOf(layout.fetch(entry as Descriptor))).toString()).manifests;
}
