import { copy, type Descriptor, filterPlatforms, MemoryStore, parseJson, parsePlatform } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { all, bytesOf, failure, pushImage, pushIndex, pushManifest, pushReferrer } from "./support.js";

const [amd64, arm64, armv7] = ["linux/amd64", "linux/arm64", "linux/arm/v7"].map((text) => parsePlatform(text));
const platforms = [amd64, arm64, armv7].map((platform) => platform as NonNullable<typeof amd64>);

/** An index of three images, the first with an attestation by BuildKit, and signatures of the index and of an image. */
async function sample() {
  const source = new MemoryStore();
  const images: Descriptor[] = [];
  for (const platform of platforms)
    images.push({ ...(await pushImage(source, { platform, layers: [platform.architecture] })), platform });
  const attestations: Descriptor[] = [];
  for (const image of images.slice(0, 2))
    attestations.push({
      ...(await pushImage(source, { layers: [`statement about ${image.digest}`] })),
      platform: { os: "unknown", architecture: "unknown" },
      annotations: {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image.digest,
      },
    });
  const root = await pushIndex(source, [...images, ...attestations], { annotations: { kept: "yes" } });
  await source.tag("v1", root);
  const ofIndex = await pushReferrer(source, root, "application/x-signature");
  const ofImage = await pushReferrer(source, images[0] as Descriptor, "application/x-signature");
  return { source, root, images, attestations, ofIndex, ofImage };
}

async function manifestsOf(store: MemoryStore, index: Descriptor): Promise<string[]> {
  const value = parseJson(await bytesOf(store.fetch(index)), "index") as { manifests: Descriptor[] };
  return value.manifests.map(({ digest }) => digest);
}

describe("a copy for some platforms", () => {
  it("has a new index of them and their attestations, which says what it was made from", async () => {
    const { source, root, images, attestations, ofIndex, ofImage } = await sample();
    const target = new MemoryStore();
    const report = await copy(source, target, "v1", { platforms: platforms.slice(0, 2), tags: ["v1"] });
    expect(report.descriptor.digest).not.toBe(root.digest);
    expect((await target.resolve("v1")).digest).toBe(report.descriptor.digest);
    const bytes = await bytesOf(target.fetch(report.descriptor));
    expect(JSON.parse(bytes.toString())).toEqual({
      schemaVersion: 2,
      mediaType: root.mediaType,
      manifests: [...images.slice(0, 2), ...attestations],
      annotations: { kept: "yes", "dev.stowage.index.filtered-from": root.digest },
    });
    expect(report.leftOut.platforms.map(({ digest }) => digest)).toEqual([images[2]?.digest]);
    expect(report.leftOut.referrers.map(({ digest }) => digest)).toEqual([ofIndex.digest]);
    expect((await all(target.referrers(images[0] as Descriptor))).map(({ digest }) => digest)).toEqual([
      ofImage.digest,
    ]);
    const again = await copy(source, new MemoryStore(), root, { platforms: platforms.slice(0, 2).reverse() });
    expect(again.descriptor).toEqual(report.descriptor);
  });

  it("keeps the index, and with it what refers to it, where that is asked for; the others are missing", async () => {
    const { source, root, images, attestations, ofIndex } = await sample();
    const target = new MemoryStore();
    const report = await copy(source, target, root, { platforms: [platforms[1] as never], index: "keep" });
    expect(report.descriptor.digest).toBe(root.digest);
    expect(await all(target.referrers(root))).toHaveLength(1);
    const there = [images[1], attestations[1], ofIndex];
    const missing = [images[0], images[2], attestations[0]];
    for (const one of there) expect(await target.has(one as Descriptor)).toBe(true);
    for (const one of missing) expect(await target.has(one as Descriptor)).toBe(false);
    expect(report.leftOut.platforms.map(({ digest }) => digest).sort()).toEqual(
      missing.map((one) => one?.digest).sort(),
    );
  });

  it("is the image alone for one platform, unless the index is asked for", async () => {
    const { source, root, images, attestations } = await sample();
    const target = new MemoryStore();
    expect((await copy(source, target, root, { platforms: [platforms[0] as never] })).descriptor.digest).toBe(
      images[0]?.digest,
    );
    const { descriptor } = await copy(source, target, root, { platforms: [platforms[0] as never], index: "filter" });
    expect(await manifestsOf(target, descriptor)).toEqual([images[0]?.digest, attestations[0]?.digest]);
  });

  it("changes nothing where every platform is wanted", async () => {
    const { source, root } = await sample();
    const { descriptor, leftOut } = await filterPlatforms(source, root, platforms, "filter");
    expect([descriptor, leftOut]).toEqual([root, []]);
  });

  it("looks into indexes within the index, and keeps what names no platform", async () => {
    const { source, root, images } = await sample();
    const plain = await pushManifest(source, { config: images[0], layers: [] });
    const outer = await pushIndex(source, [root, plain]);
    const filtered = await filterPlatforms(source, outer, [platforms[2] as never], "filter");
    const [inner, other] = (
      parseJson(await bytesOf(filtered.source.fetch(filtered.descriptor)), "outer") as { manifests: Descriptor[] }
    ).manifests;
    expect(other).toEqual(plain);
    const value = parseJson(await bytesOf(filtered.source.fetch(inner as Descriptor)), "inner");
    expect((value as { manifests: Descriptor[] }).manifests).toEqual([images[2]]);
  });

  it("fails with NOT_FOUND, naming what there is, where one that is wanted is missing", async () => {
    const { source, root, images } = await sample();
    const wanted = [platforms[0] as never, parsePlatform("windows/amd64")];
    for (const index of ["keep", "filter"] as const) {
      const error = await failure(copy(source, new MemoryStore(), root, { platforms: wanted, index }), "NOT_FOUND");
      expect(error.message).toContain("windows/amd64");
      expect(error.hint).toContain("linux/arm64");
    }
    await failure(filterPlatforms(source, images[0] as Descriptor, [wanted[1] as never], "filter"), "NOT_FOUND");
    const { descriptor } = await filterPlatforms(source, images[0] as Descriptor, wanted, "filter");
    expect(descriptor).toEqual(images[0]);
  });
});
