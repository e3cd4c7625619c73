import {
  chain,
  copy,
  type Descriptor,
  danglingReferrers,
  inspect,
  list,
  MemoryStore,
  parseAnnotationFilter,
  plainDescriptor,
  type ReferrerFilter,
  selectReferrers,
  tree,
} from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { all, failure, pushImage, pushIndex, pushReferrer } from "./support.js";

const CREATED = "org.opencontainers.image.created";
const SBOM = "application/spdx+json";
const SIGNATURE = "application/vnd.example.signature";

/** An index of one image. The image has two SBOMs, the later one is signed; the index has a signature without a time. */
async function signedImage(
  store: MemoryStore,
): Promise<Record<"image" | "index" | "old" | "late" | "signed" | "top", Descriptor>> {
  const image = await pushImage(store);
  const index = await pushIndex(store, [{ ...image, platform: { os: "linux", architecture: "amd64" } }]);
  const old = await pushReferrer(store, image, SBOM, { [CREATED]: "2024-05-01T00:00:00Z", stage: "build" });
  // Later, though it sorts before the other as text.
  const late = await pushReferrer(store, image, SBOM, { [CREATED]: "2024-04-30T23:00:00-05:00", stage: "test" });
  const signed = await pushReferrer(store, late, SIGNATURE, { [CREATED]: "2024-06-01T00:00:00Z" });
  const top = await pushReferrer(store, index, SIGNATURE, {});
  await store.tag("v1", index);
  return { image, index, old, late, signed, top };
}

async function chosen(filter: ReferrerFilter): Promise<string[]> {
  const store = new MemoryStore();
  const made = await signedImage(store);
  const target = new MemoryStore();
  const report = await copy(store, target, "v1", { referrers: filter, tags: ["v1"] });
  const names: string[] = [];
  for (const [name, descriptor] of Object.entries(made)) if (await target.has(descriptor)) names.push(name);
  const referrers = names.filter((name) => name !== "image" && name !== "index");
  expect(report.referrers).toEqual({ found: referrers.length, copied: referrers.length });
  // The tree shows what a copy would take along.
  const links = chain(await tree(store, made.index, { referrers: filter }));
  const inTree = Object.entries(made).filter(([, { digest }]) =>
    links.some((link) => link.descriptor.digest === digest),
  );
  expect(inTree.map(([name]) => name)).toEqual(referrers);
  return referrers;
}

describe("a filter of referrers", () => {
  it("lets all through that meet every condition, at every level", async () => {
    expect(await chosen({})).toEqual(["old", "late", "signed", "top"]);
    expect(await chosen({ artifactTypes: [SBOM] })).toEqual(["old", "late"]);
    expect(await chosen({ artifactTypes: [SIGNATURE] })).toEqual(["top"]);
    expect(await chosen({ artifactTypes: [SBOM, SIGNATURE] })).toEqual(["old", "late", "signed", "top"]);
    expect(await chosen({ annotations: [{ key: CREATED }] })).toEqual(["old", "late", "signed"]);
    expect(await chosen({ annotations: [{ key: "stage", value: "build" }] })).toEqual(["old"]);
    expect(
      await chosen({
        annotations: [
          { key: "stage", value: "build" },
          { key: "stage", value: "test" },
        ],
      }),
    ).toEqual([]);
    expect(await chosen({ annotations: [{ key: "constructor" }] })).toEqual([]);
    expect(await chosen({ depth: 0 })).toEqual([]);
    expect(await chosen({ depth: 1 })).toEqual(["old", "late", "top"]);
    expect(await chosen({ depth: 2 })).toEqual(["old", "late", "signed", "top"]);
    expect(await chosen({ latest: true })).toEqual(["late", "signed", "top"]);
    expect(await chosen({ latest: true, annotations: [{ key: "stage", value: "build" }] })).toEqual(["old"]);
  });

  it("takes for the latest the one with the greatest digest where the times are the same or not there", async () => {
    const store = new MemoryStore();
    const image = await pushImage(store);
    for (const time of ["2024-01-01T00:00:00Z", undefined, "yesterday"]) {
      for (const name of ["a", "b", "c"])
        await pushReferrer(store, image, `x/${time === undefined ? "none" : time.length}`, {
          name,
          ...(time === undefined ? {} : { [CREATED]: time }),
        });
    }
    const referrers = await all(store.referrers(image));
    const latest = selectReferrers(referrers, { latest: true }, 1);
    expect(latest).toHaveLength(3);
    for (const { artifactType, digest } of latest) {
      const same = referrers.filter((other) => other.artifactType === artifactType).map((other) => other.digest);
      expect(digest).toBe(same.sort().at(-1));
    }
  });

  it("is shown by inspect", async () => {
    const store = new MemoryStore();
    const { image, late } = await signedImage(store);
    const { referrers } = await inspect(store, image, { referrers: { latest: true } });
    expect(referrers.map(({ digest }) => digest)).toEqual([late.digest]);
  });

  it("reads KEY and KEY=VALUE, where the value may be empty or hold an equals sign", async () => {
    expect(parseAnnotationFilter("a.b")).toEqual({ key: "a.b" });
    expect(parseAnnotationFilter("a.b=")).toEqual({ key: "a.b", value: "" });
    expect(parseAnnotationFilter("a=b=c")).toEqual({ key: "a", value: "b=c" });
    await failure(() => parseAnnotationFilter("=x"), "INVALID");
  });
});

describe("the chain of an image", () => {
  it("has its referrers, those of its platforms and theirs, in the order of time", async () => {
    const store = new MemoryStore();
    const { index, image, old, late, signed, top } = await signedImage(store);
    const links = chain(await tree(store, index));
    expect(links.map(({ descriptor, depth, subject }) => [descriptor.digest, depth, subject])).toEqual([
      [top.digest, 1, index.digest],
      [old.digest, 1, image.digest],
      [late.digest, 1, image.digest],
      [signed.digest, 2, late.digest],
    ]);
    expect(links[1]).toMatchObject({ artifactType: SBOM, created: "2024-05-01T00:00:00Z" });
  });

  it("finds what refers to an index inside an index", async () => {
    const store = new MemoryStore();
    const inner = await pushIndex(store, [await pushImage(store)]);
    const outer = await pushIndex(store, [inner]);
    const sbom = await pushReferrer(store, inner, SBOM);
    expect(chain(await tree(store, outer)).map(({ descriptor }) => descriptor.digest)).toEqual([sbom.digest]);
  });
});

describe("a subject", () => {
  it("is shown from its referrer, and said to be missing where it is", async () => {
    const store = new MemoryStore();
    const { image, late, signed } = await signedImage(store);
    expect((await tree(store, late)).subject).toEqual({ descriptor: plainDescriptor(image), missing: false });
    expect((await tree(store, image)).referrers.map(({ subject }) => subject)).toEqual([undefined, undefined]);
    const part = new MemoryStore();
    await copy(store, part, late, { referrers: "none" });
    await copy(store, part, signed);
    expect((await tree(part, late)).subject).toEqual({ descriptor: plainDescriptor(image), missing: true });
    expect(await danglingReferrers(store)).toEqual([]);
    expect(await danglingReferrers(part)).toMatchObject([
      { subject: image.digest, referrer: { digest: late.digest, artifactType: SBOM } },
    ]);
  });
});

describe("what has a tag in cosign's older style", () => {
  it("is marked in a list, and stands apart in the tree and in inspect", async () => {
    const store = new MemoryStore();
    const { index, old } = await signedImage(store);
    const tag = `${index.digest.replace(":", "-")}.sig`;
    await store.tag(tag, old);
    const [legacy, v1] = await list(store);
    expect(legacy).toMatchObject({ tag, legacy: { subject: index.digest, role: "signature" } });
    expect(v1).toMatchObject({ tag: "v1", referrers: 1 });
    expect(v1?.legacy).toBeUndefined();
    const expected = [{ kind: "legacy-tag", role: "signature", name: tag }];
    expect((await tree(store, index)).related).toMatchObject(expected);
    expect((await inspect(store, index)).related).toMatchObject(expected);
    expect((await inspect(store, old)).related).toBeUndefined();
  });
});
