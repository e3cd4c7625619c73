import { gzipSync } from "node:zlib";
import {
  contentOf,
  type Descriptor,
  descriptorOf,
  digestOf,
  encodeJson,
  MemoryStore,
  mediaTypes,
} from "@stowage/layout";
import { type TarMember, tarOf } from "../../layout/test/tar.js";

/** A layer: the members of a tar, or bytes that are stored as they are with the digest their tar is to have. */
export type TestLayer = readonly TarMember[] | { readonly bytes: Uint8Array; readonly tar: Uint8Array };

/** An image in memory with these layers, the lowest first. */
export async function imageOf(
  layers: readonly TestLayer[],
  annotations: Readonly<Record<string, string>> = {},
): Promise<{ store: MemoryStore; descriptor: Descriptor }> {
  const store = new MemoryStore();
  const push = async (bytes: Uint8Array, mediaType: string): Promise<Descriptor> => {
    const descriptor = descriptorOf(bytes, mediaType);
    await store.push(contentOf(bytes, descriptor));
    return descriptor;
  };
  const diffIds: string[] = [];
  const descriptors: Descriptor[] = [];
  for (const layer of layers) {
    const tar = "tar" in layer ? layer.tar : tarOf(layer);
    diffIds.push(digestOf(tar));
    descriptors.push(await push("bytes" in layer ? layer.bytes : gzipSync(tar), mediaTypes.layerGzip));
  }
  const config = await push(
    encodeJson({ architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: diffIds } }),
    mediaTypes.config,
  );
  const manifest = { schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers: descriptors, annotations };
  const descriptor = await push(encodeJson(manifest), mediaTypes.manifest);
  return { store, descriptor };
}

export const file = (name: string, content: string | Uint8Array = "", more: Partial<TarMember> = {}): TarMember => ({
  name,
  content,
  ...more,
});
export const directory = (name: string, more: Partial<TarMember> = {}): TarMember => ({
  name: `${name}/`,
  type: "5",
  mode: 0o755,
  ...more,
});
export const symlink = (name: string, link: string): TarMember => ({ name, type: "2", link, mode: 0o777 });
export const hardlink = (name: string, link: string): TarMember => ({ name, type: "1", link });
