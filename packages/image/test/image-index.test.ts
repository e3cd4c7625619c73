import {
  attach,
  contentOf,
  type Descriptor,
  descriptorOf,
  encodeJson,
  isOciError,
  MemoryStore,
  mediaTypes,
  type Platform,
  readManifest,
} from "@stowage/layout";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { addToIndex, createIndex, mergeIndexes, removeFromIndex } from "../src/image-index.js";
import type { IndexPart } from "../src/index-entries.js";

const amd64: Platform = { os: "linux", architecture: "amd64" };
const arm64: Platform = { os: "linux", architecture: "arm64" };
const armv7: Platform = { os: "linux", architecture: "arm", variant: "v7" };

async function put(store: MemoryStore, value: unknown, mediaType: string): Promise<Descriptor> {
  const bytes = encodeJson(value);
  const descriptor = descriptorOf(bytes, mediaType);
  await store.push(contentOf(bytes, descriptor));
  return descriptor;
}

async function image(store: MemoryStore, platform: Platform | undefined, content = "x"): Promise<Descriptor> {
  const config = await put(
    store,
    { ...platform, rootfs: { type: "layers", diff_ids: [] }, config: { Labels: { content } } },
    mediaTypes.config,
  );
  const layer = await put(store, { layer: content }, mediaTypes.layer);
  return put(store, { schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers: [layer] }, mediaTypes.manifest);
}

/** An image in a store of its own, as one job of a matrix makes it. */
async function part(platform: Platform, content = "x"): Promise<IndexPart> {
  const source = new MemoryStore(`${platform.architecture}-${content}`);
  return { source, descriptor: await image(source, platform, content), name: source.name };
}

/** An index as BuildKit makes it: an image and its attestation. */
async function attested(platform: Platform): Promise<IndexPart> {
  const source = new MemoryStore(`buildkit-${platform.architecture}`);
  const subject = await image(source, platform, "attested");
  const statement = await put(source, { _type: platform.architecture }, "application/vnd.in-toto+json");
  const config = await put(source, { os: "unknown", architecture: "unknown" }, mediaTypes.config);
  const attestation = await put(
    source,
    { schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers: [statement] },
    mediaTypes.manifest,
  );
  const annotations = {
    "vnd.docker.reference.type": "attestation-manifest",
    "vnd.docker.reference.digest": subject.digest,
  };
  const manifests = [
    { ...attestation, platform: { os: "unknown", architecture: "unknown" }, annotations },
    { ...subject, platform },
  ];
  const descriptor = await put(source, { schemaVersion: 2, mediaType: mediaTypes.index, manifests }, mediaTypes.index);
  return { source, descriptor, name: source.name };
}

async function failure(work: Promise<unknown>): Promise<{ code: string; message: string; hint?: string | undefined }> {
  const error: unknown = await work.then(
    () => undefined,
    (caught: unknown) => caught,
  );
  if (!isOciError(error)) throw error ?? new Error("it did not fail");
  return error;
}

describe("mergeIndexes", () => {
  it("makes the same index whatever the order of the parts", async () => {
    const parts = [
      await part(amd64),
      await part(arm64),
      await part(armv7),
      await attested({ os: "linux", architecture: "s390x" }),
    ];
    const expected = (await mergeIndexes(new MemoryStore(), parts)).descriptor.digest;
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray(parts, { minLength: parts.length }), async (shuffled) => {
        expect((await mergeIndexes(new MemoryStore(), shuffled)).descriptor.digest).toBe(expected);
      }),
      { numRuns: 10 },
    );
  });

  it("takes the platform from the config, and all content and referrers along", async () => {
    const parts = [await part(arm64), await part(amd64)];
    const [first] = parts as [IndexPart];
    const sbom = await attach(first.source as MemoryStore, first.descriptor, {
      files: [],
      artifactType: "a/sbom",
      annotations: { a: "b" },
    });
    const target = new MemoryStore();
    const { manifests, descriptor, copy } = await mergeIndexes(target, parts, { tags: ["v1"] });
    expect(manifests.map(({ platform }) => platform)).toEqual([amd64, arm64]);
    expect(await target.resolve("v1")).toMatchObject({ digest: descriptor.digest });
    expect(copy.referrers).toEqual({ found: 1, copied: 1 });
    const found: string[] = [];
    for await (const { digest } of target.referrers(first.descriptor)) found.push(digest);
    expect(found).toEqual([sbom.descriptor.digest]);
    // The index is what has a name; the images in it have no entries of their own.
    expect((await target.index()).manifests.map(({ digest }) => digest)).not.toContain(first.descriptor.digest);
  });

  it("takes indexes apart, nested ones too, and keeps attestations behind the images", async () => {
    const [one, other] = [await attested(arm64), await attested(amd64)];
    const nested = await createIndex(other.source as MemoryStore, [other]);
    const target = new MemoryStore();
    const { manifests } = await mergeIndexes(target, [one, { ...other, descriptor: nested.descriptor }]);
    expect(manifests.map(({ platform }) => `${platform?.os}/${platform?.architecture}`)).toEqual([
      "linux/amd64",
      "linux/arm64",
      "unknown/unknown",
      "unknown/unknown",
    ]);
    expect(manifests.slice(2).map(({ annotations }) => annotations?.["vnd.docker.reference.digest"])).toEqual(
      manifests.slice(0, 2).map(({ digest }) => digest),
    );
  });

  it("lists what refers to an index that was taken apart", async () => {
    const one = await attested(amd64);
    const signature = await attach(one.source as MemoryStore, one.descriptor, {
      files: [],
      artifactType: "a/signature",
      annotations: { a: "b" },
    });
    const { left } = await mergeIndexes(new MemoryStore(), [one, await part(arm64)]);
    expect(left.map(({ digest }) => digest)).toEqual([signature.descriptor.digest]);
  });

  it("refuses two images for one platform, and stores nothing", async () => {
    const target = new MemoryStore();
    const error = await failure(
      mergeIndexes(target, [await part(amd64, "x"), await part(amd64, "y")], { tags: ["v1"] }),
    );
    expect(error).toMatchObject({ code: "CONFLICT" });
    expect(error.message).toMatch(/linux\/amd64.*amd64-x.*amd64-y/);
    expect((await target.index()).manifests).toEqual([]);
  });

  it("lists the same image of two parts once", async () => {
    const { manifests } = await mergeIndexes(new MemoryStore(), [await part(amd64), await part(amd64)]);
    expect(manifests).toHaveLength(1);
  });

  it("tells Windows versions apart", async () => {
    const windows = (version: string): Platform => ({ os: "windows", architecture: "amd64", "os.version": version });
    const { manifests } = await mergeIndexes(new MemoryStore(), [
      await part(windows("10.0.20348.1"), "a"),
      await part(windows("10.0.17763.1"), "b"),
    ]);
    expect(manifests.map(({ platform }) => platform?.["os.version"])).toEqual(["10.0.17763.1", "10.0.20348.1"]);
  });

  it("refuses an entry whose platform is not the one its config names", async () => {
    const source = new MemoryStore("wrong");
    const manifest = await image(source, amd64);
    const descriptor = await put(
      source,
      { schemaVersion: 2, mediaType: mediaTypes.index, manifests: [{ ...manifest, platform: arm64 }] },
      mediaTypes.index,
    );
    const error = await failure(mergeIndexes(new MemoryStore(), [{ source, descriptor, name: "wrong" }]));
    expect(error).toMatchObject({ code: "CONFLICT" });
    expect(error.message).toContain("linux/arm64");
  });

  it("refuses an image that names no platform, unless it is told", async () => {
    const source = new MemoryStore("none");
    const descriptor = await image(source, undefined);
    const one = { source, descriptor, name: "none" };
    expect(await failure(mergeIndexes(new MemoryStore(), [one]))).toMatchObject({ code: "INVALID" });
    const { manifests } = await mergeIndexes(new MemoryStore(), [{ ...one, platform: arm64 }]);
    expect(manifests[0]?.platform).toEqual(arm64);
  });
});

describe("createIndex", () => {
  it("lists an index as it is, and an artifact without a platform", async () => {
    const source = new MemoryStore();
    const artifact = await put(
      source,
      {
        schemaVersion: 2,
        mediaType: mediaTypes.manifest,
        artifactType: "application/x.chart",
        config: await put(source, {}, mediaTypes.empty),
        layers: [await put(source, { a: 1 }, "application/x.data")],
      },
      mediaTypes.manifest,
    );
    const index = await attested(amd64);
    const { manifests, descriptor } = await createIndex(
      new MemoryStore(),
      [index, { source, descriptor: artifact, name: "chart" }],
      {
        annotations: { b: "2", a: "1" },
        artifactType: "application/x.bundle",
        descriptorAnnotations: { from: "here" },
      },
    );
    expect(manifests).toHaveLength(2);
    expect(manifests.find(({ digest }) => digest === index.descriptor.digest)).toMatchObject({
      mediaType: mediaTypes.index,
      annotations: { from: "here" },
    });
    expect(manifests.find(({ digest }) => digest === artifact.digest)).toMatchObject({
      artifactType: "application/x.chart",
    });
    expect(descriptor.mediaType).toBe(mediaTypes.index);
  });

  it("refuses to make an empty one", async () => {
    expect(await failure(createIndex(new MemoryStore(), []))).toMatchObject({ code: "INVALID" });
  });

  it("refuses a wrong artifactType before anything is stored", async () => {
    const target = new MemoryStore();
    expect(
      await failure(createIndex(target, [await part(amd64)], { artifactType: "no type", tags: ["v1"] })),
    ).toMatchObject({ code: "INVALID" });
    expect((await target.index()).manifests).toEqual([]);
  });
});

describe("addToIndex and removeFromIndex", () => {
  async function existing(): Promise<{ store: MemoryStore; index: IndexPart }> {
    const store = new MemoryStore("dist");
    const { descriptor } = await mergeIndexes(store, [await attested(amd64), await part(arm64)], {
      tags: ["v1"],
      annotations: { kept: "yes" },
    });
    return { store, index: { source: store, descriptor, name: "dist:v1" } };
  }

  it("add a platform, keep what was there, and say what the index was", async () => {
    const { store, index } = await existing();
    const report = await addToIndex(store, index, [await part(armv7)], { tags: ["v1"] });
    expect(report.before?.digest).toBe(index.descriptor.digest);
    expect(report.manifests).toHaveLength(4);
    const { manifest } = await readManifest(store, await store.resolve("v1"));
    expect(manifest.annotations).toEqual({ kept: "yes" });
    expect(manifest.kind === "index" && manifest.manifests.length).toBe(4);
  });

  it("refuse another image for a platform, or let it take the place with the attestations gone", async () => {
    const { store, index } = await existing();
    const fix = await part(amd64, "fix");
    expect(await failure(addToIndex(store, index, [fix]))).toMatchObject({ code: "CONFLICT" });
    const { manifests } = await addToIndex(store, index, [fix], { replace: true });
    expect(manifests.map(({ digest }) => digest)).toContain(fix.descriptor.digest);
    expect(manifests).toHaveLength(2);
  });

  it("remove an image by platform with its attestation, or by digest", async () => {
    const { store, index } = await existing();
    expect((await removeFromIndex(store, index, [amd64])).manifests.map(({ platform }) => platform)).toEqual([arm64]);
    const { manifest } = await readManifest(store, index.descriptor);
    const arm =
      manifest.kind === "index"
        ? manifest.manifests.find(({ platform }) => platform?.architecture === "arm64")
        : undefined;
    expect((await removeFromIndex(store, index, [(arm as Descriptor).digest])).manifests).toHaveLength(2);
  });

  it("name what there is where a selector finds nothing, and leave no empty index", async () => {
    const { store, index } = await existing();
    const error = await failure(removeFromIndex(store, index, [armv7]));
    expect(error).toMatchObject({ code: "NOT_FOUND" });
    expect(error.hint).toContain("linux/amd64");
    expect(await failure(removeFromIndex(store, index, [amd64, arm64]))).toMatchObject({ code: "INVALID" });
  });

  it("refuse what is no index", async () => {
    const one = await part(amd64);
    expect(await failure(addToIndex(new MemoryStore(), one, []))).toMatchObject({ code: "INVALID" });
  });
});
