import { join } from "node:path";
import {
  copy,
  type Descriptor,
  descriptorOf,
  Layout,
  MAXIMUM_DEPTH,
  MemoryStore,
  plainDescriptor,
  type Source,
} from "@stowage/layout";
import { describe, expect, it } from "vitest";
import {
  all,
  pushImage,
  pushIndex,
  pushManifest,
  pushReferrer,
  referrerBytes,
  temporaryDirectory,
  utf8,
} from "./support.js";
import { Watched } from "./watched.js";

async function newLayout(): Promise<Layout> {
  return Layout.create(join(await temporaryDirectory(), "layout"));
}

describe("the referrers of a copy", () => {
  it("are all of them, none, or those that are chosen", async () => {
    const memory = new MemoryStore();
    const image = await pushImage(memory);
    const sbom = await pushReferrer(memory, image, "application/spdx+json");
    await pushReferrer(memory, sbom, "application/x-signature");
    await pushReferrer(memory, image, "application/x-signature");
    const count = async (referrers: "all" | "none" | ((referrer: Descriptor) => boolean)): Promise<number> => {
      const target = new MemoryStore();
      const report = await copy(memory, target, image, { referrers });
      expect(report.referrers.copied).toBe(report.referrers.found);
      expect(await all(target.referrers(image))).toHaveLength(
        Math.min(report.referrers.found, referrers === "all" ? 2 : 1),
      );
      return report.referrers.found;
    };
    expect(await count("all")).toBe(3);
    expect(await count("none")).toBe(0);
    expect(await count((referrer) => referrer.artifactType === "application/spdx+json")).toBe(1);
  });

  it("that cannot be copied are reported, not thrown, and the rest arrives with its tags", async () => {
    const memory = new MemoryStore();
    const image = await pushImage(memory);
    const good = await pushReferrer(memory, image, "application/x-good");
    const bad = await pushManifest(memory, {
      artifactType: "application/x-bad",
      config: descriptorOf(utf8("absent"), "text/plain"),
      layers: [],
      subject: plainDescriptor(image),
    });
    const target = await newLayout();
    const report = await copy(memory, target, image, { tags: ["v1"] });
    expect(report.referrers).toEqual({ found: 2, copied: 1 });
    expect(report.failures).toHaveLength(1);
    expect(report.failures[0]).toMatchObject({
      descriptor: { digest: bad.digest },
      path: ["referrer application/x-bad"],
      error: { code: "NOT_FOUND" },
    });
    expect((await all(target.referrers(image))).map(({ digest }) => digest)).toEqual([good.digest]);
    expect(await all(target.tags())).toEqual(["v1"]);
  });

  it("that are present and not yet listed are listed afterwards", async () => {
    const memory = new MemoryStore();
    const image = await pushImage(memory);
    const referrer = await pushReferrer(memory, image);
    const target = await newLayout();
    const bytes = referrerBytes(image);
    await target.write([bytes], "text/plain");
    await copy(memory, target, image);
    expect((await all(target.referrers(image))).map(({ digest }) => digest)).toEqual([referrer.digest]);
  });

  it("may form a loop with the graph, and the copy ends", async () => {
    const memory = new MemoryStore();
    const child = await pushImage(memory);
    const index = await pushIndex(memory, [child], { subject: plainDescriptor(child) });
    for (const root of [child, index]) {
      const target = new MemoryStore();
      const report = await copy(memory, target, root);
      expect(report.failures).toEqual([]);
      expect(await target.has(child)).toBe(true);
      expect(await target.has(index)).toBe(true);
    }
  });

  it("that a lying source lists in a circle, though they refer to nothing, are left out", async () => {
    const memory = new MemoryStore();
    const [one, two] = [await pushImage(memory), await pushImage(memory, { layers: ["two"] })];
    const circle: Source = {
      name: "circle",
      resolve: () => Promise.resolve(one),
      fetch: (descriptor) => memory.fetch(descriptor),
      async *referrers(subject) {
        yield subject.digest === one.digest ? two : one;
        yield subject;
      },
      tags: () => memory.tags(),
    };
    const report = await copy(circle, new MemoryStore(), "v1");
    expect(report.referrers).toEqual({ found: 0, copied: 0 });
  });

  it("that form a chain without end are cut off at the deepest level allowed, and that is reported", async () => {
    const memory = new MemoryStore();
    const first = await pushImage(memory);
    let last = first;
    for (let level = 0; level < MAXIMUM_DEPTH + 10; level++) last = await pushReferrer(memory, last);
    const report = await copy(memory, new MemoryStore(), first, { tags: ["v1"] });
    expect(report.referrers).toEqual({ found: MAXIMUM_DEPTH + 1, copied: MAXIMUM_DEPTH });
    expect(report.failures[0]).toMatchObject({ error: { code: "LIMIT" } });
  });

  it("whose listing fails make the copy fail, with nothing under way any more and no tag", async () => {
    const memory = new MemoryStore();
    const images = await Promise.all(["one", "two"].map((text) => pushImage(memory, { layers: [text] })));
    const root = await pushIndex(memory, images);
    await pushReferrer(memory, images[1] as Descriptor);
    const source = new Watched(memory);
    source.refused.add((images[0] as Descriptor).digest);
    let fetched = 0;
    const slow: Source = {
      name: "slow",
      resolve: (reference) => source.resolve(reference),
      async *fetch(descriptor) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        fetched++;
        yield* memory.fetch(descriptor);
      },
      referrers: (subject) => source.referrers(subject),
      tags: () => source.tags(),
    };
    const target = new MemoryStore();
    await expect(copy(slow, target, root, { tags: ["v1"] })).rejects.toThrow("refused the referrers");
    const before = fetched;
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(fetched).toBe(before);
    expect(await all(target.tags())).toEqual([]);
  });
});
