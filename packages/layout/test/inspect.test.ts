import { inspect, MemoryStore, plainDescriptor } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { failure, pushBytes, pushImage, pushIndex, pushManifest, pushReferrer } from "./support.js";

describe("inspecting", () => {
  it("an image tells its platform, config, layers and referrers", async () => {
    const store = new MemoryStore();
    const image = await pushImage(store, {
      layers: ["one", "three"],
      platform: { os: "linux", architecture: "arm", variant: "v7" },
      annotations: { a: "b" },
      config: { created: "2024-01-01T00:00:00Z", config: { Env: ["A=B"], Labels: { __proto__: "x" } } },
    });
    const referrer = await pushReferrer(store, image);
    const seen = await inspect(store, image);
    expect(seen).toMatchObject({
      source: "memory",
      descriptor: image,
      kind: "image",
      annotations: { a: "b" },
      platform: "linux/arm/v7",
      created: "2024-01-01T00:00:00Z",
      config: { Env: ["A=B"] },
      layersSize: 8,
      referrers: [{ ...referrer, artifactType: "application/spdx+json" }],
    });
    expect(seen.diffIds).toEqual(seen.layers?.map(({ digest }) => digest));
  });

  it("an artifact tells its type and subject and does not read its config", async () => {
    const store = new MemoryStore();
    const image = await pushImage(store);
    const config = await pushBytes(store, "not json", "application/x-chart");
    const artifact = await pushManifest(store, { config, layers: [config], subject: plainDescriptor(image) });
    expect(await inspect(store, artifact)).toEqual({
      source: "memory",
      descriptor: artifact,
      kind: "artifact",
      artifactType: "application/x-chart",
      subject: image,
      layers: [config],
      layersSize: 8,
      referrers: [],
    });
  });

  it("an index tells its manifests", async () => {
    const store = new MemoryStore();
    const image = await pushImage(store);
    const index = await pushIndex(store, [image], { artifactType: "a/b", annotations: { a: "b" } });
    expect(await inspect(store, index)).toEqual({
      source: "memory",
      descriptor: index,
      kind: "index",
      artifactType: "a/b",
      annotations: { a: "b" },
      manifests: [image],
      referrers: [],
    });
  });

  it("an image whose config is strange shows what can be shown", async () => {
    const store = new MemoryStore();
    const image = await pushImage(store, { config: { os: 1, created: 7, config: null, rootfs: "x" } });
    const seen = await inspect(store, image);
    expect(seen).toMatchObject({ kind: "image", diffIds: [] });
    expect(seen).not.toHaveProperty("platform");
    expect(seen).not.toHaveProperty("created");
  });

  it("something that is no manifest is UNSUPPORTED, and a config that is no JSON is INVALID", async () => {
    const store = new MemoryStore();
    await failure(inspect(store, await pushBytes(store, '{"schemaVersion":2}', "text/plain")), "UNSUPPORTED");
    const config = await pushBytes(store, "{", "application/vnd.oci.image.config.v1+json");
    await failure(inspect(store, await pushManifest(store, { config, layers: [] })), "INVALID");
  });
});
