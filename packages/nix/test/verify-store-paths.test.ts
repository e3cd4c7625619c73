import { verifyDisjoint } from "@stowage/image";
import {
  type Annotations,
  contentOf,
  type Descriptor,
  descriptorOf,
  encodeJson,
  MemoryStore,
  readManifest,
} from "@stowage/layout";
import { expect, it } from "vitest";
import { exportClosure, nixKeys, readCacheDirectory, verifyStorePaths } from "../src/index.js";
import { fixtures, LIBC, SCRIPT, ZLIB } from "./fixtures.js";

/** An image of the closure of the fixtures, with other annotations of its first layers. */
async function image(maxLayers: number, ...changes: readonly Annotations[]): Promise<[MemoryStore, Descriptor]> {
  const store = new MemoryStore();
  const closure = await readCacheDirectory(`${fixtures}/cache`, [SCRIPT]);
  const { image: exported } = await exportClosure(store, closure, { maxLayers });
  const { manifest } = await readManifest(store, exported);
  const layers = manifest.kind === "image" ? manifest.layers : [];
  const changed = layers.map((layer, at) => ({ ...layer, annotations: { ...layer.annotations, ...changes[at] } }));
  const bytes = encodeJson({ ...manifest, kind: undefined, layers: changed });
  const descriptor = descriptorOf(bytes, exported.mediaType);
  await store.push(contentOf(bytes, descriptor));
  return [store, descriptor];
}

it("what an export says of its layers is true, of a path each and of several in one", async () => {
  for (const maxLayers of [100, 3]) {
    const [store, descriptor] = await image(maxLayers);
    expect(await verifyStorePaths(store, descriptor)).toEqual([]);
    expect(await verifyDisjoint(store, descriptor)).toMatchObject({ violations: [] });
  }
});

it("another size or hash, a reference to what is not there, and what makes no sense are told with layer and path", async () => {
  const [store, descriptor] = await image(
    100,
    { [nixKeys.narSize]: "1" },
    { [nixKeys.references]: "0123456789abcdfghijklmnpqrsvwxyz-gone" },
    { [nixKeys.narHash]: "sha256:x" },
  );
  expect(await verifyStorePaths(store, descriptor)).toMatchObject([
    { rule: "V6", layer: { number: 3 } },
    { rule: "V6", layer: { number: 1 }, entry: LIBC },
    {
      rule: "V6",
      layer: { number: 2 },
      entry: ZLIB,
      problem: expect.stringContaining("-gone, which the image does not have"),
    },
    { rule: "V6", layer: { number: 5 }, entry: SCRIPT },
  ]);
});
