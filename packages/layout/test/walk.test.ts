import { type Digest, MAXIMUM_DEPTH, MemoryStore, mediaTypes, type Node, plainDescriptor, walk } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { all, failure, pushBytes, pushImage, pushIndex, pushReferrer } from "./support.js";

const arm = { os: "linux", architecture: "arm64" };

const steps = (nodes: Node[]): string[] => nodes.map((node) => [node.relation, ...node.path].join(" > "));

describe("a walk", () => {
  it("shows a parent before its children and those before its referrers, each with its path", async () => {
    const store = new MemoryStore();
    const image = await pushImage(store, { layers: ["one", "two"], platform: arm });
    const root = await pushIndex(store, [{ ...image, platform: arm }]);
    const sbom = await pushReferrer(store, image, "application/spdx+json");
    await pushReferrer(store, sbom, "application/x-signature");
    await pushReferrer(store, root, "application/x-signature");
    const nodes = await all(walk(store, [root]));
    expect(steps(nodes)).toEqual([
      "root",
      "child > manifests[0] linux/arm64",
      "child > manifests[0] linux/arm64 > config",
      "child > manifests[0] linux/arm64 > layers[0]",
      "child > manifests[0] linux/arm64 > layers[1]",
      "referrer > manifests[0] linux/arm64 > referrer application/spdx+json",
      "child > manifests[0] linux/arm64 > referrer application/spdx+json > config",
      "referrer > manifests[0] linux/arm64 > referrer application/spdx+json > referrer application/x-signature",
      "referrer > referrer application/x-signature",
    ]);
    expect(nodes[0]?.manifest?.kind).toBe("index");
    expect(nodes[1]?.parent).toEqual(root);
    expect(nodes[3]?.manifest).toBeUndefined();
    expect(steps(await all(walk(store, [root], { referrers: false })))).toHaveLength(5);
  });

  it("visits a digest once, also below two roots and where 2^30 paths lead to it", async () => {
    const store = new MemoryStore();
    let root = await pushImage(store);
    for (let level = 0; level < 30; level++) root = await pushIndex(store, [root, root]);
    expect(await all(walk(store, [root, root]))).toHaveLength(33);
  });

  it("goes on beside what is missing or broken, and says why it could not be read", async () => {
    const store = new MemoryStore();
    const image = await pushImage(store);
    const missing = { ...image, digest: image.digest.replace(/.$/, (digit) => (digit === "0" ? "1" : "0")) as Digest };
    const broken = await pushBytes(store, "{", "text/plain");
    const root = await pushIndex(store, [missing, { ...broken, mediaType: mediaTypes.manifest }, image]);
    const nodes = await all(walk(store, [root]));
    expect(nodes.map(({ error }) => (error as { code?: string } | undefined)?.code)).toEqual([
      undefined,
      "NOT_FOUND",
      "INVALID",
      undefined,
      undefined,
      undefined,
    ]);
  });

  it("ends where an index has its own child for a subject, from either side", async () => {
    const store = new MemoryStore();
    const child = await pushImage(store);
    const index = await pushIndex(store, [child], { subject: plainDescriptor(child) });
    for (const root of [child, index]) {
      const digests = (await all(walk(store, [root]))).map(({ descriptor }) => descriptor.digest);
      expect(new Set(digests).size).toBe(digests.length);
      expect(digests).toEqual(expect.arrayContaining([child.digest, index.digest]));
    }
  });

  it("is LIMIT where indexes or referrers nest deeper than anybody builds them", async () => {
    const store = new MemoryStore();
    let deep = await pushImage(store);
    for (let level = 0; level < 1000; level++) deep = await pushIndex(store, [deep]);
    await failure(all(walk(store, [deep])), "LIMIT");
    const first = await pushImage(store);
    let last = first;
    for (let level = 0; level <= MAXIMUM_DEPTH; level++) last = await pushReferrer(store, last);
    await failure(all(walk(store, [first])), "LIMIT");
    expect(await all(walk(store, [last]))).toHaveLength(2);
  });

  it("reads the children of a manifest though a blob of the same digest was met before", async () => {
    const store = new MemoryStore();
    const image = await pushImage(store);
    const carrier = await pushIndex(store, [{ ...image, mediaType: "text/plain" }, image]);
    const types = (await all(walk(store, [carrier]))).map(({ descriptor }) => descriptor.mediaType);
    expect(types).toContain(mediaTypes.layer);
  });

  it("gives up where the signal is aborted", async () => {
    const store = new MemoryStore();
    const root = await pushIndex(store, [await pushImage(store)]);
    const controller = new AbortController();
    const seen: Node[] = [];
    const walking = (async () => {
      for await (const node of walk(store, [root], { signal: controller.signal })) {
        seen.push(node);
        controller.abort(new RangeError("given up"));
      }
    })();
    await expect(walking).rejects.toThrow("given up");
    expect(seen).toHaveLength(1);
  });
});
