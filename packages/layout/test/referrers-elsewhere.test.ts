import { copy, copyReferrersTo, MemoryStore, tree, withReferrersFrom } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { all, pushImage, pushReferrer } from "./support.js";

/** An image with an SBOM beside it, and elsewhere its signature and a signature of the SBOM. */
async function twoPlaces() {
  const [here, there] = [new MemoryStore("here"), new MemoryStore("there")];
  const image = await pushImage(here);
  await here.tag("v1", image);
  const sbom = await pushReferrer(here, image, "a/sbom");
  const signature = await pushReferrer(there, image, "a/signature");
  const ofSbom = await pushReferrer(there, sbom, "a/signature", { of: "sbom" });
  return { here, there, image, sbom, signature, ofSbom };
}

const digests = (...descriptors: readonly { readonly digest: string }[]): string[] =>
  descriptors.map(({ digest }) => digest).sort();

describe("a source with the referrers of another", () => {
  it("has those of both, each once and in order, and no other tags", async () => {
    const { here, there, image, sbom, signature, ofSbom } = await twoPlaces();
    await pushReferrer(there, image, "a/sbom");
    const both = withReferrersFrom(here, there);
    expect((await all(both.referrers(image))).map(({ digest }) => digest)).toEqual(digests(sbom, signature));
    expect((await all(both.referrers(sbom))).map(({ digest }) => digest)).toEqual(digests(ofSbom));
    expect(await all(both.tags())).toEqual(["v1"]);
    expect(await both.resolve("v1")).toEqual(image);
    expect(both.name).toBe("here with referrers from there");
  });

  it("is copied whole, whichever of the two has a piece", async () => {
    const { here, there, image, sbom, signature, ofSbom } = await twoPlaces();
    const target = new MemoryStore();
    const report = await copy(withReferrersFrom(here, there), target, image, { tags: ["v1"] });
    expect(report).toMatchObject({ referrers: { found: 3, copied: 3 }, failures: [] });
    const root = await tree(target, image);
    expect(digests(...root.referrers.map(({ descriptor }) => descriptor))).toEqual(digests(sbom, signature));
    expect((await all(target.referrers(sbom))).map(({ digest }) => digest)).toEqual([ofSbom.digest]);
  });
});

describe("a copy with the referrers to another place", () => {
  it("puts the image here and every referrer there, also the referrer of a referrer", async () => {
    const { here, there, image, sbom, signature, ofSbom } = await twoPlaces();
    const [images, signatures] = [new MemoryStore("images"), new MemoryStore("signatures")];
    const source = withReferrersFrom(here, there);
    const report = await copyReferrersTo(source, images, signatures, image, { tags: ["v1"] });
    expect(report).toMatchObject({ referrers: { found: 3, copied: 3 }, failures: [], tags: ["v1"], target: "images" });
    expect(await all(images.referrers(image))).toEqual([]);
    expect((await all(signatures.referrers(image))).map(({ digest }) => digest)).toEqual(digests(sbom, signature));
    expect((await all(signatures.referrers(sbom))).map(({ digest }) => digest)).toEqual([ofSbom.digest]);
    expect(await signatures.has(image)).toBe(false);
    expect(await images.resolve("v1")).toEqual(image);
  });

  it("keeps to the filter, whose levels count from the image", async () => {
    const { here, there, image, sbom, signature } = await twoPlaces();
    const [images, signatures] = [new MemoryStore(), new MemoryStore()];
    const report = await copyReferrersTo(withReferrersFrom(here, there), images, signatures, image, {
      referrers: { depth: 1 },
    });
    expect(report.referrers).toEqual({ found: 2, copied: 2 });
    expect(await signatures.has(signature)).toBe(true);
    expect(await all(signatures.referrers(sbom))).toEqual([]);
    const none = await copyReferrersTo(here, new MemoryStore(), new MemoryStore(), image, { referrers: "none" });
    expect(none.referrers).toEqual({ found: 0, copied: 0 });
  });

  it("names what did not get there, and copies the image all the same", async () => {
    const { here, image, sbom } = await twoPlaces();
    const images = new MemoryStore();
    const broken = new MemoryStore("broken");
    broken.push = () => Promise.reject(new Error("no"));
    const report = await copyReferrersTo(here, images, broken, image, { tags: ["v1"] });
    expect(report.referrers).toEqual({ found: 1, copied: 0 });
    expect(report.failures).toMatchObject([{ descriptor: { digest: sbom.digest }, path: ["referrer a/sbom"] }]);
    expect(await images.resolve("v1")).toEqual(image);
  });
});
