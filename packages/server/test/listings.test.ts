import { digestOf, type ImageIndex, mediaTypes, referrersTag } from "@stowage/layout";
import { describe, expect, test } from "vitest";
import { errorCode, pushArtifact, type Registry, startRegistry, stores } from "./registry.js";

const tagsOf = async (response: Response) => ((await response.json()) as { tags: string[] }).tags;
const referrersOf = async (response: Response) => ((await response.json()) as ImageIndex).manifests;

async function pages<T>(registry: Registry, first: string, read: (response: Response) => Promise<readonly T[]>) {
  const found: (readonly T[])[] = [];
  for (let next: string | undefined = first; next !== undefined; ) {
    const response: Response = await registry.request(next);
    next = /^<([^>]+)>; rel="next"$/.exec(response.headers.get("link") ?? "")?.[1];
    found.push(await read(response));
  }
  return found;
}

describe.each(Object.entries(stores))("lists of a %s store", (_kind, store) => {
  test("tags are listed once each in bytewise order, without those that only carry referrers", async () => {
    const registry = await startRegistry({ store: await store() });
    const subject = await pushArtifact(registry, "image", { tag: "b" });
    for (const tag of ["a", "B", "_", "a.1", "a-1"]) await pushArtifact(registry, "image", { tag });
    await pushArtifact(registry, "sbom", { subject });
    await pushArtifact(registry, "list", { tag: referrersTag(subject.digest) });
    const response = await registry.request("tags/list");
    expect(await response.json()).toEqual({ name: "team/app", tags: ["B", "_", "a", "a-1", "a.1", "b"] });
  });

  test("n and last page through the tags, and the Link leads to each next page", async () => {
    const registry = await startRegistry({ store: await store() });
    for (const tag of ["a", "b", "c", "d", "e"]) await pushArtifact(registry, "image", { tag });
    expect(await pages(registry, "tags/list?n=2", tagsOf)).toEqual([["a", "b"], ["c", "d"], ["e"]]);
    expect(await pages(registry, "tags/list?n=5", tagsOf)).toEqual([["a", "b", "c", "d", "e"]]);
    expect(await pages(registry, "tags/list?n=0", tagsOf)).toEqual([[]]);
    expect(await pages(registry, "tags/list?last=c", tagsOf)).toEqual([["d", "e"]]);
    expect(await pages(registry, "tags/list?last=bb&n=1", tagsOf)).toEqual([["c"], ["d"], ["e"]]);
    expect(await pages(registry, "tags/list?last=zzz", tagsOf)).toEqual([[]]);
    for (const n of ["-1", "x", ""]) expect((await registry.request(`tags/list?n=${n}`)).status).toBe(400);
  });

  test("the tags of a repository that is not there are NAME_UNKNOWN", async () => {
    const registry = await startRegistry({ store: await store() });
    const response = await registry.request("/v2/no/such/repository/tags/list");
    expect([response.status, await errorCode(response)]).toEqual([404, "NAME_UNKNOWN"]);
  });

  test("referrers are listed as an index of descriptors with artifactType and annotations, sorted by digest", async () => {
    const registry = await startRegistry({ store: await store() });
    const subject = await pushArtifact(registry, "image", { tag: "v1" });
    const sbom = await pushArtifact(registry, "sbom", { subject, artifactType: "application/spdx+json" });
    const signature = await pushArtifact(registry, "signature", { subject, artifactType: "application/signature" });
    const response = await registry.request(`referrers/${subject.digest}`);
    expect([response.status, response.headers.get("content-type")]).toEqual([200, mediaTypes.index]);
    expect(response.headers.has("oci-filters-applied")).toBe(false);
    const expected = [
      { ...sbom, artifactType: "application/spdx+json", annotations: { text: "sbom" } },
      { ...signature, artifactType: "application/signature", annotations: { text: "signature" } },
    ].sort((a, b) => (a.digest < b.digest ? -1 : 1));
    expect(await response.json()).toEqual({ schemaVersion: 2, mediaType: mediaTypes.index, manifests: expected });
    for (const filter of ["application/spdx%2Bjson", "application/spdx+json"]) {
      const filtered = await registry.request(`referrers/${subject.digest}?artifactType=${filter}`);
      expect(filtered.headers.get("oci-filters-applied")).toBe("artifactType");
      expect((await referrersOf(filtered)).map((found) => found.digest)).toEqual([sbom.digest]);
    }
  });

  test("the referrers of what has none, or is not there, are an empty index", async () => {
    const registry = await startRegistry({ store: await store() });
    const { digest } = await pushArtifact(registry, "lonely", { tag: "v1" });
    const paths = [
      `referrers/${digest}`,
      `referrers/${digestOf("absent")}`,
      `/v2/no/such/repository/referrers/${digest}`,
    ];
    for (const path of paths) {
      const response = await registry.request(path);
      expect([response.status, await referrersOf(response)]).toEqual([200, []]);
    }
    const invalid = await registry.request("referrers/sha256:bad");
    expect([invalid.status, await errorCode(invalid)]).toEqual([400, "DIGEST_INVALID"]);
  });

  test("referrers of a subject that comes later, and of a referrer, are listed", async () => {
    const registry = await startRegistry({ store: await store() });
    const subject = { mediaType: mediaTypes.manifest, digest: digestOf("later"), size: 5 };
    const sbom = await pushArtifact(registry, "sbom", { subject });
    const signature = await pushArtifact(registry, "signature of the sbom", { subject: sbom });
    const found = async (digest: string) =>
      (await referrersOf(await registry.request(`referrers/${digest}`))).map((one) => one.digest);
    expect(await found(subject.digest)).toEqual([sbom.digest]);
    expect(await found(sbom.digest)).toEqual([signature.digest]);
  });

  test("the repositories are listed and paged", async () => {
    const registry = await startRegistry({ store: await store() });
    await pushArtifact(registry, "image", { tag: "v1" });
    const { digest } = await pushArtifact(registry, "image", { tag: "v2" });
    for (const name of ["team/b", "team/a", "z"]) {
      await registry.request(`/v2/${name}/blobs/uploads/?mount=${digest}&from=team/app`, { method: "POST" });
      const manifest = await registry.request(`manifests/${digest}`);
      const empty = await registry.request(`/v2/${name}/blobs/uploads/?digest=${digestOf("{}")}`, {
        method: "POST",
        body: "{}",
      });
      expect(empty.status).toBe(201);
      const put = await registry.request(`/v2/${name}/manifests/v1`, {
        method: "PUT",
        body: await manifest.arrayBuffer(),
        headers: { "Content-Type": mediaTypes.manifest },
      });
      expect(put.status).toBe(201);
    }
    const read = async (response: Response) => ((await response.json()) as { repositories: string[] }).repositories;
    expect(await pages(registry, "/v2/_catalog", read)).toEqual([["team/a", "team/app", "team/b", "z"]]);
    expect(await pages(registry, "/v2/_catalog?n=3", read)).toEqual([["team/a", "team/app", "team/b"], ["z"]]);
  });
});

test("a long list of referrers comes in pages that a client can read at once, each referrer once", async () => {
  const registry = await startRegistry();
  const subject = await pushArtifact(registry, "image", { tag: "v1" });
  const pushed: string[] = [];
  for (let at = 0; at < 8; at++) {
    pushed.push(
      (await pushArtifact(registry, `${at}`.repeat(1_000_000), { subject, artifactType: "application/x+y" })).digest,
    );
  }
  const sizes: number[] = [];
  const read = async (response: Response) => {
    sizes.push(Number(response.headers.get("content-length")));
    return (await referrersOf(response)).map((found) => found.digest);
  };
  const path = `referrers/${subject.digest}?artifactType=application/x%2By`;
  expect((await pages(registry, path, read)).flat()).toEqual(pushed.sort());
  expect(Math.max(...sizes)).toBeLessThan(4_000_000);
});
