import {
  convertAttestations,
  type Descriptor,
  formatPlatform,
  MemoryStore,
  plainDescriptor,
  platformsOf,
  readManifest,
  selectPlatform,
  tree,
} from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { all, failure, pushBytes, pushImage, pushIndex, pushManifest, pushReferrer } from "./support.js";

const UNKNOWN = { os: "unknown", architecture: "unknown" };
const ATTESTATION = "application/vnd.docker.attestation.manifest.v1+json";

/** A child of an index that attests `subject`, as BuildKit writes it. */
async function pushAttestation(
  store: MemoryStore,
  subject: Descriptor,
  statement: string,
  members: Record<string, unknown> = {},
): Promise<Descriptor> {
  const layer = await pushBytes(store, statement, "application/vnd.in-toto+json");
  const config = await pushBytes(
    store,
    JSON.stringify({ ...UNKNOWN, config: {}, rootfs: { type: "layers", diff_ids: [layer.digest] } }),
    "application/vnd.oci.image.config.v1+json",
  );
  const annotations = { "in-toto.io/predicate-type": "https://spdx.dev/Document" };
  const manifest = await pushManifest(store, { config, layers: [{ ...layer, annotations }], ...members });
  return {
    ...manifest,
    platform: UNKNOWN,
    annotations: {
      "vnd.docker.reference.digest": subject.digest,
      "vnd.docker.reference.type": "attestation-manifest",
    },
  };
}

async function builtImage(store: MemoryStore) {
  const amd64 = { ...(await pushImage(store)), platform: { os: "linux", architecture: "amd64" } };
  const platform = { os: "linux", architecture: "arm64" };
  const arm64 = { ...(await pushImage(store, { platform })), platform };
  const attestations = [
    await pushAttestation(store, amd64, '{"of":"amd64"}'),
    await pushAttestation(store, arm64, '{"of":"arm64"}'),
  ] as const;
  const index = await pushIndex(store, [amd64, arm64, ...attestations], {
    annotations: { "org.opencontainers.image.title": "app" },
    unknownMember: 1,
  });
  await store.tag("v1", index);
  return { amd64, arm64, attestations, index };
}

describe("an attestation of BuildKit", () => {
  it("is no platform, in a list, in a tree or where one is chosen, whatever platform it claims to have", async () => {
    const store = new MemoryStore();
    const { amd64, index } = await builtImage(store);
    expect(await platformsOf(store, index)).toEqual(["linux/amd64", "linux/arm64"]);
    const lying = { ...(await pushAttestation(store, amd64, "{}")), platform: { os: "linux", architecture: "s390x" } };
    const other = await pushIndex(store, [lying, amd64]);
    expect(await platformsOf(store, other)).toEqual(["linux/amd64"]);
    const error = await failure(selectPlatform(store, other, { os: "linux", architecture: "s390x" }), "NOT_FOUND");
    expect(error.hint).toBe("It has linux/amd64.");
    expect((await failure(selectPlatform(store, index, UNKNOWN), "NOT_FOUND")).hint).not.toContain("unknown");
  });
});

describe("attestations become referrers", () => {
  it("once each, where an index that holds them stands in several places", async () => {
    const store = new MemoryStore();
    const { index } = await builtImage(store);
    const title = (text: string) => ({ annotations: { "org.opencontainers.image.title": text } });
    const outer = await pushIndex(store, [
      await pushIndex(store, [index], title("one")),
      { ...index, annotations: { place: "itself" } },
      await pushIndex(store, [index], title("two")),
    ]);
    const target = new MemoryStore();
    const report = await convertAttestations(store, target, outer);
    expect(report.converted).toHaveLength(2);
    const inner = (await convertAttestations(store, new MemoryStore(), index)).descriptor.digest;
    const { manifest } = await readManifest(target, report.descriptor);
    const [one, itself, two] = manifest.kind === "index" ? manifest.manifests : [];
    expect(itself).toMatchObject({ digest: inner, annotations: { place: "itself" } });
    for (const holder of [one, two]) {
      const held = (await readManifest(target, holder as Descriptor)).manifest;
      expect(held.kind === "index" ? held.manifests.map(({ digest }) => digest) : []).toEqual([inner]);
    }
  });

  it("of the images they are about, which keep their digests; the index gets a new one", async () => {
    const store = new MemoryStore();
    const { amd64, arm64, attestations, index } = await builtImage(store);
    const target = new MemoryStore();
    const report = await convertAttestations(store, target, index, { tags: ["v1"] });
    expect(report.before).toEqual(index);
    expect(report.descriptor.digest).not.toBe(index.digest);
    expect(await target.resolve("v1")).toEqual(report.descriptor);
    expect(report).toMatchObject({ kept: [], left: [], copy: { failures: [], referrers: { found: 2, copied: 2 } } });
    const { manifest, bytes } = await readManifest(target, report.descriptor);
    expect(manifest.kind === "index" ? manifest.manifests : []).toEqual([amd64, arm64]);
    expect(JSON.parse(new TextDecoder().decode(bytes))).toMatchObject({
      annotations: { "org.opencontainers.image.title": "app" },
      unknownMember: 1,
    });
    for (const [at, image] of [amd64, arm64].entries()) {
      const [referrer, ...rest] = await all(target.referrers(image));
      expect(rest).toEqual([]);
      expect(referrer).toMatchObject({ artifactType: ATTESTATION });
      expect(report.converted[at]).toMatchObject({
        subject: plainDescriptor(image),
        attestation: attestations[at],
        descriptor: { digest: referrer?.digest },
      });
      const before = await readManifest(store, attestations[at] as Descriptor);
      const after = await readManifest(target, referrer as Descriptor);
      expect(after.manifest).toMatchObject({
        layers: before.manifest.kind === "image" ? before.manifest.layers : [],
        subject: plainDescriptor(image),
      });
    }
    const shown = await tree(target, report.descriptor);
    expect(shown.children.map(({ descriptor }) => formatPlatform(descriptor.platform ?? UNKNOWN))).toEqual([
      "linux/amd64",
      "linux/arm64",
    ]);
    expect(
      shown.children.flatMap(({ problem, referrers }) => [problem, ...referrers.map((one) => one.problem)]),
    ).toEqual([undefined, undefined, undefined, undefined]);
  });

  it("with the same digests each time, in the same store as well, and a second time nothing is left to do", async () => {
    const store = new MemoryStore();
    const { index } = await builtImage(store);
    const once = await convertAttestations(store, new MemoryStore(), index);
    const inPlace = await convertAttestations(store, store, index, { tags: ["v1"] });
    expect(inPlace.descriptor).toEqual(once.descriptor);
    expect(await store.resolve("v1")).toEqual(once.descriptor);
    const again = await convertAttestations(store, store, once.descriptor, { tags: ["v1"] });
    expect(again).toMatchObject({ before: once.descriptor, descriptor: once.descriptor, converted: [] });
    expect(again.copy.referrers.found).toBe(2);
  });

  it("in an index inside an index, and the referrers of images go along while those of the old index are told of", async () => {
    const store = new MemoryStore();
    const { index, amd64 } = await builtImage(store);
    const outer = await pushIndex(store, [index]);
    const sbom = await pushReferrer(store, amd64, "application/spdx+json");
    const signature = await pushReferrer(store, index, "application/vnd.example.signature");
    const target = new MemoryStore();
    const report = await convertAttestations(store, target, outer, { tags: ["v1"] });
    expect(report.converted).toHaveLength(2);
    expect(report.left.map(({ digest }) => digest)).toEqual([signature.digest]);
    expect((await all(target.referrers(amd64))).map(({ digest }) => digest)).toContain(sbom.digest);
    expect(await target.has(signature)).toBe(false);
    expect(report.descriptor.digest).not.toBe(outer.digest);
  });

  it("as they are where they have that subject already, and stay where what they attest is not there", async () => {
    const store = new MemoryStore();
    const image = { ...(await pushImage(store)), platform: { os: "linux", architecture: "amd64" } };
    const ready = await pushAttestation(store, image, "{}", { subject: plainDescriptor(image), artifactType: "a/b" });
    const stray = await pushAttestation(store, await pushImage(store, { layers: ["elsewhere"] }), "{ }");
    const index = await pushIndex(store, [image, ready, stray]);
    const target = new MemoryStore();
    const report = await convertAttestations(store, target, index);
    expect(report.converted.map(({ descriptor }) => descriptor.digest)).toEqual([ready.digest]);
    expect(report.kept).toEqual([stray]);
    const { manifest } = await readManifest(target, report.descriptor);
    expect(manifest.kind === "index" ? manifest.manifests : []).toEqual([image, stray]);
    expect(await all(target.referrers(image))).toMatchObject([{ digest: ready.digest, artifactType: "a/b" }]);
  });

  it("whatever is chosen among the referrers there were", async () => {
    const [source, target] = [new MemoryStore(), new MemoryStore()];
    const { amd64, index } = await builtImage(source);
    const sbom = await pushReferrer(source, amd64, "a/sbom");
    await pushReferrer(source, amd64, "a/scan");
    const referrers = { artifactTypes: ["a/sbom"] };
    const { converted } = await convertAttestations(source, target, index, { referrers });
    const made = converted.filter(({ subject }) => subject.digest === amd64.digest).map((one) => one.descriptor.digest);
    expect(made).toHaveLength(1);
    const found = (await all(target.referrers(amd64))).map(({ digest }) => digest);
    expect(found.sort()).toEqual([...made, sbom.digest].sort());
  });

  it("not where there are none: the image is copied as it is", async () => {
    const store = new MemoryStore();
    const image = await pushImage(store);
    const target = new MemoryStore();
    const report = await convertAttestations(store, target, image, { tags: ["v1"] });
    expect(report).toMatchObject({ before: image, descriptor: image, converted: [], kept: [], left: [] });
    expect(await target.resolve("v1")).toEqual(image);
  });

  it("or nothing is tagged, where an attestation is missing or the signal ends it", async () => {
    const store = new MemoryStore();
    const { amd64 } = await builtImage(store);
    const elsewhere = new MemoryStore();
    const absent = await pushAttestation(elsewhere, amd64, "absent");
    const index = await pushIndex(store, [amd64, absent]);
    const target = new MemoryStore();
    await failure(convertAttestations(store, target, index, { tags: ["v1"] }), "NOT_FOUND");
    expect(await all(target.tags())).toEqual([]);
    const controller = new AbortController();
    controller.abort(new Error("enough"));
    await expect(
      convertAttestations(store, target, amd64, { signal: controller.signal, tags: ["v1"] }),
    ).rejects.toThrow("enough");
  });
});
