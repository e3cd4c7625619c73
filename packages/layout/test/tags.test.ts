import { join } from "node:path";
import { attach, digestOf, emptyDescriptor, Layout, type LayoutIndex, refName } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { all, failure, pushBytes, pushImage, temporaryDirectory } from "./support.js";

async function newLayout(): Promise<Layout> {
  return Layout.create(join(await temporaryDirectory(), "layout"));
}

describe("tags", () => {
  it("move, and several may stand for one manifest", async () => {
    const layout = await newLayout();
    const [one, two] = [await pushImage(layout), await pushImage(layout, { layers: ["another"] })];
    await layout.tag("v1", one);
    await layout.tag("latest", one);
    await layout.tag("v2", two);
    await layout.tag("latest", two);
    expect(await all(layout.tags())).toEqual(["latest", "v1", "v2"]);
    expect((await layout.resolve("latest")).digest).toBe(two.digest);
    expect((await layout.resolve("v1")).digest).toBe(one.digest);
    expect((await layout.index()).manifests).toHaveLength(3);
  });

  it("of a referrer may go or move, and the referrer is still found, also where the tag was its only entry", async () => {
    const layout = await newLayout();
    const image = await pushImage(layout);
    await layout.tag("v1", image);
    const { descriptor } = await attach(layout, image, { artifactType: "a/b", annotations: { n: "1" }, tag: "sbom" });
    // As oras leaves it: the tagged entry alone.
    const onlyTagged = (index: LayoutIndex): LayoutIndex => ({
      ...index,
      manifests: index.manifests.filter((entry) => ["v1", "sbom"].includes(refName(entry) ?? "")),
    });
    await layout.update(onlyTagged);
    await layout.tag("sbom", image);
    expect((await all(layout.referrers(image))).map(({ digest }) => digest)).toEqual([descriptor.digest]);
    await layout.tag("sbom", descriptor);
    await layout.update(onlyTagged);
    await layout.untag("sbom");
    expect((await all(layout.referrers(image))).map(({ digest }) => digest)).toEqual([descriptor.digest]);
    expect(await all(layout.tags())).toEqual(["v1"]);
  });

  it("stand in the index with their name, and resolve to the descriptor without it", async () => {
    const layout = await newLayout();
    const image = await pushImage(layout);
    await layout.tag("v1", { ...image, platform: { os: "linux", architecture: "amd64" } });
    expect(await layout.resolve("v1")).toEqual({ ...image, platform: { os: "linux", architecture: "amd64" } });
    expect(await layout.resolve(image.digest)).toEqual(await layout.resolve("v1"));
  });

  it("of a manifest that is not present are NOT_FOUND", async () => {
    const layout = await newLayout();
    await failure(layout.tag("v1", emptyDescriptor), "NOT_FOUND");
    expect((await layout.index()).manifests).toEqual([]);
  });

  it.each(["", " ", "a b", "a\nb", "a\0", "x".repeat(1025), "a\u200bb", digestOf("x")])(
    "cannot be named %j",
    async (name) => {
      const layout = await newLayout();
      const image = await pushImage(layout);
      await failure(layout.tag(name, image), "INVALID");
    },
  );

  it.each(["_x", "a..b", "docker.io/library/alpine:3", "a+b@c", "名前", "__proto__"])(
    "may be named %s",
    async (name) => {
      const layout = await newLayout();
      const image = await pushImage(layout);
      await layout.tag(name, image);
      expect((await layout.resolve(name)).digest).toBe(image.digest);
      expect(await all((await Layout.open(layout.path)).tags())).toEqual([name]);
    },
  );

  it("are removed by untag, while the content and the other tags stay", async () => {
    const layout = await newLayout();
    const image = await pushImage(layout);
    await layout.tag("v1", image);
    await layout.tag("v2", image);
    await layout.untag("v1");
    expect(await all(layout.tags())).toEqual(["v2"]);
    await layout.untag("v2");
    expect(await layout.has(image)).toBe(true);
    expect((await layout.resolve(image.digest)).digest).toBe(image.digest);
    const error = await failure(layout.untag("v2"), "NOT_FOUND");
    expect(error.message).toContain("v2");
  });

  it("that are not there are NOT_FOUND with a hint that names the ones that are", async () => {
    const layout = await newLayout();
    expect((await failure(layout.resolve("v1"), "NOT_FOUND")).hint).toBe("It has no tags.");
    const image = await pushImage(layout);
    for (let count = 0; count < 12; count++) await layout.tag(`t${count}`, image);
    expect((await failure(layout.resolve("v1"), "NOT_FOUND")).hint).toMatch(/^It has t0, .* and more\.$/);
    await failure(layout.resolve(digestOf("nothing")), "NOT_FOUND");
  });

  it("by digest find a manifest that no entry names, and no blob that is none", async () => {
    const layout = await newLayout();
    const image = await pushImage(layout);
    expect(await layout.resolve(image.digest)).toEqual(image);
    const blob = await pushBytes(layout, '{"schemaVersion":2}', "application/json");
    await failure(layout.resolve(blob.digest), "NOT_FOUND");
  });
});
