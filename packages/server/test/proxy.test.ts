import { join } from "node:path";
import {
  contentOf,
  descriptorOf,
  encodeJson,
  Layout,
  MemoryStore,
  mediaTypes,
  OciError,
  type Source,
} from "@stowage/layout";
import { describe, expect, test } from "vitest";
import { directoryStore, layoutStore, memoryStore, proxyStore, type Store } from "../src/index.js";
import { artifact, content, pushArtifact, startRegistry, temporaryDirectory } from "./registry.js";

/** An upstream with an image that has a layer and a referrer, and which can go away. */
async function startUpstream() {
  const upstream = new MemoryStore("upstream");
  const layer = descriptorOf(content("layer", 50_000), mediaTypes.layerGzip);
  await upstream.push(contentOf(content("layer", 50_000), layer));
  const bytes = encodeJson({ ...JSON.parse(Buffer.from(artifact("image")).toString()), layers: [layer] });
  const image = descriptorOf(bytes, mediaTypes.manifest);
  await upstream.push(contentOf(bytes, image));
  await upstream.tag("v1", image);
  const signature = artifact("signature", { subject: image });
  const referrer = descriptorOf(signature, mediaTypes.manifest);
  await upstream.push(contentOf(signature, referrer));
  const state = { reachable: true, fetched: [] as string[] };
  const check = (): void => {
    if (!state.reachable) throw new OciError("REGISTRY", "the upstream cannot be reached");
  };
  const source: Source = {
    name: "upstream",
    resolve: async (reference) => {
      check();
      return upstream.resolve(reference);
    },
    async *fetch(descriptor, options) {
      check();
      state.fetched.push(descriptor.digest);
      yield* upstream.fetch(descriptor, options);
    },
    async *referrers(subject, options) {
      check();
      yield* upstream.referrers(subject, options);
    },
    async *tags() {
      check();
      yield* upstream.tags();
    },
  };
  return { upstream, source, state, layer, image, referrer };
}

const kinds: Readonly<Record<string, () => Promise<Store>>> = {
  memory: async () => memoryStore(),
  directory: async () => directoryStore(await temporaryDirectory()),
  layout: async () => layoutStore(await Layout.create(join(await temporaryDirectory(), "layout"))),
};

describe.each(Object.entries(kinds))("a proxy in front of a %s store", (_name, kind) => {
  test("fetches what it does not have once, and serves it without the upstream from then on", async () => {
    const { source, state, layer, image, referrer } = await startUpstream();
    const store = await kind();
    const registry = await startRegistry({ store: proxyStore(store, async () => source), readonly: true });
    const pull = async (): Promise<unknown[]> => {
      const manifest = await registry.request("manifests/v1");
      const head = await registry.request(`blobs/${layer.digest}`, { method: "HEAD" });
      const blob = await registry.request(`blobs/${layer.digest}`);
      const referrers = (await (await registry.request(`referrers/${image.digest}`)).json()) as {
        manifests: { digest: string }[];
      };
      const tags = await (await registry.request("tags/list")).json();
      return [
        manifest.headers.get("docker-content-digest"),
        head.headers.get("content-length"),
        (await blob.arrayBuffer()).byteLength,
        referrers.manifests.map(({ digest }) => digest),
        tags,
      ];
    };
    const expected = [image.digest, "50000", 50_000, [referrer.digest], { name: "team/app", tags: ["v1"] }];
    expect(await pull()).toEqual(expected);
    expect(await pull()).toEqual(expected);
    expect([...state.fetched].sort()).toEqual([image.digest, layer.digest, referrer.digest].sort());
    state.reachable = false;
    expect(await pull()).toEqual(expected);
    // A server that starts anew, without the upstream and without what the one before remembered.
    const again = await startRegistry({ store: proxyStore(store, async () => source), readonly: true });
    expect((await again.request(`blobs/${layer.digest}`)).status).toBe(200);
    expect((await again.request("manifests/v1")).status).toBe(200);
  });

  test("follows a tag that moves, and says so where the upstream has nothing or is away", async () => {
    const { upstream, source, state } = await startUpstream();
    const registry = await startRegistry({ store: proxyStore(await kind(), async () => source), readonly: true });
    await registry.request("manifests/v1");
    const other = artifact("other");
    const moved = descriptorOf(other, mediaTypes.manifest);
    await upstream.push(contentOf(other, moved));
    await upstream.tag("v1", moved);
    expect((await registry.request("manifests/v1")).headers.get("docker-content-digest")).toBe(moved.digest);
    expect((await registry.request("manifests/none")).status).toBe(404);
    state.reachable = false;
    expect((await registry.request("manifests/v1")).headers.get("docker-content-digest")).toBe(moved.digest);
    expect((await registry.request("manifests/unseen")).status).toBe(502);
  });
});

test("a blob that only the manifest from before a restart names is found", async () => {
  const { source, layer } = await startUpstream();
  const store = memoryStore();
  const first = await startRegistry({ store: proxyStore(store, async () => source), readonly: true });
  await first.request("manifests/v1");
  const second = await startRegistry({ store: proxyStore(store, async () => source), readonly: true });
  expect((await (await second.request(`blobs/${layer.digest}`)).arrayBuffer()).byteLength).toBe(50_000);
  await pushArtifact(await startRegistry({ store }), "here", { tag: "here" });
  expect((await second.request("manifests/here")).status).toBe(200);
});
