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
  const client = new RegistryClient({ credentials, environment: {}, retryDelay: 1, upload });
  closing.push(() => client.close());
  return client.repository(`127.0.0.1:${server.port}/acme/app`);
}

async function push(store: MemoryStore, bytes: Uint8Array, mediaType: string): Promise<Descriptor> {
  const descriptor = descriptorOf(bytes, mediaType);
  await store.push({ descriptor, open: () => [bytes] });
  return descriptor;
}

/** An image with layers larger and smaller than a chunk of the test, and a referrer. */
async function image(): Promise<{ store: MemoryStore; root: Descriptor }> {
  const store = new MemoryStore();
  const config = await push(store, encodeJson({ architecture: "amd64", os: "linux" }), mediaTypes.config);
  const layers: Descriptor[] = [];
  for (const size of [900_000, 300_000, 10])
    layers.push(await push(store, Buffer.alloc(size, `${size}`), mediaTypes.layer));
  const manifest = encodeJson({ schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers });
  const root = await push(store, manifest, mediaTypes.manifest);
  await attach(store, root, { artifactType: "a/b", annotations: { one: "two" } });
  return { store, root };
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
      for (const strategy of ["auto", "chunked", "monolithic"] as const) await thereAndBack(fault, strategy);
    });

  it("takes and gives an image all the same: busy", async () => {
    await thereAndBack("busy=1", "auto");
  });
});

async function thereAndBack(fault: string, strategy: "auto" | "chunked" | "monolithic"): Promise<void> {
  const { store, root } = await image();
  const layers = faulty([fault]);
  const registry = await connect({ store: memoryStore(), layers }, { strategy, chunkSize: 256 * 1024 });
  const sent = await copy(store, registry, root, { tags: ["v1"], concurrency: 1 });
  expect([strategy, sent.failures, sent.written]).toEqual([strategy, [], 7]);
  const back = await copy(registry, new MemoryStore(), "v1", { concurrency: 1 });
  expect(back).toMatchObject({ descriptor: root, failures: [], referrers: { copied: 1 }, written: 7 });
}
