import { attach, copy, type Descriptor, descriptorOf, encodeJson, MemoryStore, mediaTypes } from "@stowage/layout";
import { RegistryClient, type Repository, type UploadOptions } from "@stowage/registry";
import { memoryStore, type ServeOptions, serve } from "@stowage/server";
import { faulty } from "@stowage/server/testing";
import { afterEach, describe, expect, it } from "vitest";

const closing: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function connect(options: ServeOptions, upload: UploadOptions = {}): Promise<Repository> {
  const server = await serve(options);
  closing.push(() => server.close());
  const credentials = { username: "user", password: "password" };
  // Of the requests that are under way at once it is luck which are hit: with every other one broken, five in a row are no rarity.
  const client = new RegistryClient({ credentials, environment: {}, retryDelay: 1, tries: 15, upload });
  closing.push(() => client.close());
  return client.repository(`127.0.0.1:${server.port}/acme/app`);
}

async function push(store: MemoryStore, bytes: Uint8Array, mediaType: string): Promise<Descriptor> {
  const descriptor = descriptorOf(bytes, mediaType);
  await store.push({ descriptor, open: () => [bytes] });
  return descriptor;
}

/** An image with layers larger and smaller than a chunk of the test, and a referrer. */
async function image(): Promise<{ store: MemoryStore; root: Descriptor; layer: Descriptor }> {
  const store = new MemoryStore();
  const config = await push(store, encodeJson({ architecture: "amd64", os: "linux" }), mediaTypes.config);
  const layers: Descriptor[] = [];
  for (const size of [900_000, 300_000, 10])
    layers.push(await push(store, Buffer.alloc(size, `${size}`), mediaTypes.layer));
  const manifest = encodeJson({ schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers });
  const root = await push(store, manifest, mediaTypes.manifest);
  await attach(store, root, { artifactType: "a/b", annotations: { one: "two" } });
  return { store, root, layer: layers[0] as Descriptor };
}

describe("a registry whose connections break and whose answers fail", () => {
  // Which request of which transfer is hit differs with the strategy: together they go through every stage.
  for (const fault of [
    "reset=2",
    "reset=3",
    "reset=4",
    "reset=5",
    "drop",
    "drop-upload",
    "unavailable",
    "broken",
    "bearer-expires",
  ])
    it(`takes and gives an image all the same: ${fault}`, async () => {
      for (const strategy of ["auto", "chunked", "monolithic"] as const) await thereAndBack([fault], strategy);
    });

  it("takes and gives an image all the same: busy", async () => {
    await thereAndBack(["busy=1"], "auto");
  });
});

describe("a registry that does things in its own way", () => {
  for (const faults of [
    ["no-length"],
    ["no-mount"],
    ["mount-needs-from"],
    ["mount-within-host"],
    ["no-single-post"],
    ["no-put-body"],
    ["no-chunks"],
    ["absolute-location"],
    ["upload-elsewhere"],
    ["redirect"],
    ["basic"],
    ["bearer"],
    ["bearer-no-service"],
    ["null-tags", "tags-page=1"],
    ["subject-first"],
    ["no-docker-types", "fixed-tag-type", "strict-platform", "immutable-tags"],
    ["no-referrers"],
    ["lying-subject"],
    ["referrers-elsewhere"],
    ["referrers-type"],
  ])
    it(`takes and gives an image: ${faults.join(" and ")}`, async () => {
      await thereAndBack(faults, "auto");
    });

  for (const fault of ["chunk-maximum=300000", "chunk-minimum=400000", "no-empty-put", "location-state"])
    it(`takes and gives an image in chunks: ${fault}`, async () => {
      await thereAndBack([fault], "chunked");
    });
});

describe("a registry that cannot be served", () => {
  it("is told apart: busy for an hour, wrong about a length, without end, with a login elsewhere, without the right to push", async () => {
    for (const [fault, code] of [
      ["always-busy", "LIMIT"],
      ["wrong-length", "MISMATCH"],
      ["redirect-loop", "REGISTRY"],
      ["redirect-login", "UNAUTHORIZED"],
    ] as const) {
      const { store, root } = await image();
      const content = memoryStore();
      await copy(store, await connect({ store: content }), root, { tags: ["v1"] });
      const registry = await connect({ store: content, layers: faulty([fault]) });
      await expect(copy(registry, new MemoryStore(), "v1")).rejects.toMatchObject({ code });
    }
    const { store, root } = await image();
    const registry = await connect({ store: memoryStore(), layers: faulty(["no-push"]) });
    await expect(copy(store, registry, root)).rejects.toMatchObject({ code: "DENIED" });
  });

  it("has its blobs refused where they are something else, too short or too long", async () => {
    for (const fault of ["corrupt", "short-body", "long-body"]) {
      const { store, root, layer } = await image();
      const content = memoryStore();
      await copy(store, await connect({ store: content }), root);
      const registry = await connect({ store: content, layers: faulty([fault]) });
      const pulled = new MemoryStore();
      const push = pulled.push({ descriptor: layer, open: () => registry.fetch(layer) });
      await expect(push).rejects.toMatchObject({ code: "MISMATCH", message: expect.stringContaining(layer.digest) });
      expect(await pulled.has(layer)).toBe(false);
    }
  });
});

async function thereAndBack(faults: readonly string[], strategy: UploadOptions["strategy"]): Promise<void> {
  const { store, root } = await image();
  const leaks: string[] = [];
  const layers = faulty(faults, { onLeak: (leak) => leaks.push(leak) });
  const registry = await connect({ store: memoryStore(), layers }, { strategy, chunkSize: 256 * 1024 });
  const sent = await copy(store, registry, root, { tags: ["v1"], concurrency: 1 });
  expect([strategy, sent.failures, sent.written]).toEqual([strategy, [], 7]);
  const tags: string[] = [];
  for await (const tag of registry.tags()) tags.push(tag);
  expect(tags).toEqual(["v1"]);
  const back = await copy(registry, new MemoryStore(), "v1", { concurrency: 1 });
  expect(back).toMatchObject({ descriptor: root, failures: [], referrers: { copied: 1 }, written: 7 });
  expect(leaks).toEqual([]);
}
