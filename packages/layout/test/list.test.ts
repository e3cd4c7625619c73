import { contentOf, descriptorOf, Layout, list, MemoryStore, mediaTypes, platformsOf } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import {
  handMadeLayout,
  manifestBytes,
  named,
  pushBytes,
  pushImage,
  pushIndex,
  pushManifest,
  pushReferrer,
  temporaryDirectory,
  utf8,
} from "./support.js";

const arm = { os: "linux", architecture: "arm64" };

describe("a list of tags", () => {
  it("looks at a manifest once, however many tags stand for it", async () => {
    const asked: string[] = [];
    class Watched extends MemoryStore {
      override referrers(...args: Parameters<MemoryStore["referrers"]>) {
        asked.push(args[0].digest);
        return super.referrers(...args);
      }
    }
    const store = new Watched();
    const image = await pushImage(store);
    await pushReferrer(store, image, "application/spdx+json");
    const tags = Array.from({ length: 30 }, (_, at) => `v${String(at).padStart(2, "0")}`);
    for (const tag of tags) await store.tag(tag, image);
    const listed = await list(store);
    expect(listed.map(({ tag }) => tag)).toEqual(tags);
    expect(listed.every(({ referrers }) => referrers === 1)).toBe(true);
    expect(asked).toEqual([image.digest]);
  });

  it("has each with its digest, platforms and number of referrers, in bytewise order", async () => {
    const store = new MemoryStore();
    const image = await pushImage(store);
    const other = await pushImage(store, { platform: arm });
    const attestation = {
      ...(await pushManifest(store, { config: image, layers: [] })),
      platform: { os: "unknown", architecture: "unknown" },
    };
    const index = await pushIndex(store, [
      { ...image, platform: { os: "linux", architecture: "amd64" } },
      { ...other, platform: { ...arm, variant: "v8" } },
      attestation,
    ]);
    await store.tag("b", image);
    await store.tag("a", index);
    await store.tag("B", image);
    await pushReferrer(store, image);
    await pushReferrer(store, image, "application/x-other");
    expect(await list(store)).toEqual([
      { tag: "B", descriptor: image, platforms: ["linux/amd64"], referrers: 2 },
      { tag: "a", descriptor: index, platforms: ["linux/amd64", "linux/arm64/v8"], referrers: 0 },
      { tag: "b", descriptor: image, platforms: ["linux/amd64"], referrers: 2 },
    ]);
    expect(await list(store, { namesOnly: true })).toEqual([{ tag: "B" }, { tag: "a" }, { tag: "b" }]);
  });

  it("has a manifest that is missing or damaged with what its tag says", async () => {
    const path = await temporaryDirectory();
    const missing = descriptorOf(manifestBytes({ absent: true }), mediaTypes.manifest);
    const broken = descriptorOf(utf8("{"), mediaTypes.manifest);
    await handMadeLayout(path, { manifests: [named(missing, "missing"), named(broken, "broken")] }, [utf8("{")]);
    expect(await list(await Layout.open(path))).toEqual([
      { tag: "broken", descriptor: broken, platforms: [], referrers: 0 },
      { tag: "missing", descriptor: missing, platforms: [], referrers: 0 },
    ]);
  });

  it("has a name that stands for two manifests without saying which", async () => {
    const path = await temporaryDirectory();
    const [a, b] = ["a", "b"].map((x) => manifestBytes({ config: descriptorOf(utf8("{}"), "a/b"), layers: [], x }));
    const descriptors = [a, b].map((bytes) => descriptorOf(bytes as Uint8Array, mediaTypes.manifest));
    const manifests = descriptors.map((descriptor) => named(descriptor, "twice"));
    await handMadeLayout(path, { manifests: [...manifests, named(descriptors[0] as never, "once")] }, [a, b] as never);
    expect(await list(await Layout.open(path))).toEqual([
      { tag: "once", descriptor: descriptors[0], platforms: [], referrers: 0 },
      { tag: "twice" },
    ]);
  });
});

describe("the platforms of a manifest", () => {
  it("are none for an artifact, whose config is not read", async () => {
    const store = new MemoryStore();
    const config = await pushBytes(store, '{"os":"linux","architecture":"amd64"}', "application/x-chart");
    let fetched = 0;
    const watched = {
      ...store,
      name: "watched",
      resolve: store.resolve.bind(store),
      referrers: store.referrers.bind(store),
      tags: store.tags.bind(store),
      fetch: (...parameters: Parameters<MemoryStore["fetch"]>) => {
        fetched++;
        return store.fetch(...parameters);
      },
    };
    expect(await platformsOf(watched, await pushManifest(store, { config, layers: [] }))).toEqual([]);
    expect(fetched).toBe(1);
  });

  it("say where an index holds another index", async () => {
    const store = new MemoryStore();
    const image = await pushImage(store, { platform: arm });
    const inner = await pushIndex(store, [{ ...image, platform: arm }]);
    expect(await platformsOf(store, await pushIndex(store, [inner, { ...image, platform: arm }]))).toEqual([
      "linux/arm64",
      "(nested)",
    ]);
  });

  it("are those of a Docker image too", async () => {
    const store = new MemoryStore();
    const config = await pushBytes(
      store,
      '{"os":"windows","architecture":"amd64","os.version":"10.0.1"}',
      mediaTypes.dockerConfig,
    );
    const bytes = manifestBytes({ mediaType: mediaTypes.dockerManifest, config, layers: [] });
    const image = descriptorOf(bytes, mediaTypes.dockerManifest);
    await store.push(contentOf(bytes, image));
    expect(await platformsOf(store, image)).toEqual(["windows/amd64:10.0.1"]);
  });
});
