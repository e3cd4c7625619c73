import {
  descriptorOf,
  digestOf,
  emptyBytes,
  emptyDescriptor,
  encodeJson,
  mediaTypes,
  referrersTag,
} from "@stowage/layout";
import { describe, expect, test } from "vitest";
import { artifact, content, errorCode, pushArtifact, startRegistry, stores } from "./registry.js";

describe.each(Object.entries(stores))("manifests in a %s store", (_kind, store) => {
  test("a manifest comes back byte for byte under its tag and its digest, and HEAD agrees with GET", async () => {
    const registry = await startRegistry({ store: await store() });
    await registry.pushBlob(emptyBytes);
    const value = {
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      "10": 1,
      "9": 2,
      config: emptyDescriptor,
      layers: [],
    };
    const bytes = Buffer.from(`${JSON.stringify(value, null, 3)}\n\n`);
    const digest = digestOf(bytes);
    const put = await registry.putManifest("v1", bytes);
    expect(put.status).toBe(201);
    expect(put.headers.get("location")).toBe(`/v2/team/app/manifests/${digest}`);
    expect(put.headers.get("docker-content-digest")).toBe(digest);
    expect(put.headers.has("oci-subject")).toBe(false);
    for (const reference of ["v1", digest]) {
      const get = await registry.request(`manifests/${reference}`);
      const head = await registry.request(`manifests/${reference}`, { method: "HEAD" });
      for (const response of [get, head]) {
        expect(response.status).toBe(200);
        expect(response.headers.get("content-type")).toBe(mediaTypes.manifest);
        expect(response.headers.get("docker-content-digest")).toBe(digest);
        expect(response.headers.get("content-length")).toBe(String(bytes.byteLength));
      }
      expect(Buffer.from(await get.arrayBuffer()).equals(bytes)).toBe(true);
      expect(await head.text()).toBe("");
    }
  });

  test("a tag moves to the manifest that was pushed last", async () => {
    const registry = await startRegistry({ store: await store() });
    await pushArtifact(registry, "one", { tag: "latest" });
    const second = await pushArtifact(registry, "two", { tag: "latest" });
    const response = await registry.request("manifests/latest");
    expect(response.headers.get("docker-content-digest")).toBe(second.digest);
  });

  test("an index is taken when its manifests are there, and each of them can be pulled by digest", async () => {
    const registry = await startRegistry({ store: await store() });
    const child = await pushArtifact(registry, "child");
    const index = encodeJson({ schemaVersion: 2, mediaType: mediaTypes.index, manifests: [child] });
    expect((await registry.putManifest("multi", index, mediaTypes.index)).status).toBe(201);
    expect((await registry.request("manifests/multi")).headers.get("content-type")).toBe(mediaTypes.index);
    expect((await registry.request(`manifests/${child.digest}`)).headers.get("content-type")).toBe(mediaTypes.manifest);
  });

  test("a manifest pushed by sha512 digest is found under it", async () => {
    const registry = await startRegistry({ store: await store() });
    await registry.pushBlob(emptyBytes);
    const bytes = artifact("long");
    const digest = digestOf(bytes, "sha512");
    const put = await registry.putManifest(`${digest}?tag=a&tag=b`, bytes);
    expect([put.status, put.headers.get("docker-content-digest"), put.headers.get("oci-tag")]).toEqual([
      201,
      digest,
      "a, b",
    ]);
    for (const reference of [digest, "a", "b"]) {
      const get = await registry.request(`manifests/${reference}`);
      expect([get.status, get.headers.get("docker-content-digest")]).toEqual([200, digest]);
    }
  });

  test("a digest that the bytes do not have is refused and nothing is stored", async () => {
    const registry = await startRegistry({ store: await store() });
    await registry.pushBlob(emptyBytes);
    const response = await registry.putManifest(digestOf("something else"), artifact("x"));
    expect([response.status, await errorCode(response)]).toEqual([400, "DIGEST_INVALID"]);
    expect((await registry.request(`manifests/${digestOf(artifact("x"))}`)).status).toBe(404);
  });

  test("a manifest that points at what is not there is refused with MANIFEST_BLOB_UNKNOWN, and taken with sparse", async () => {
    const bytes = artifact("hollow");
    const strict = await startRegistry({ store: await store() });
    const refused = await strict.putManifest("v1", bytes);
    expect([refused.status, await errorCode(refused)]).toEqual([404, "MANIFEST_BLOB_UNKNOWN"]);
    expect((await strict.request("manifests/v1")).status).toBe(404);
    const sparse = await startRegistry({ store: await store(), sparse: true });
    expect((await sparse.putManifest("v1", bytes)).status).toBe(201);
    expect((await sparse.request("manifests/v1")).status).toBe(200);
  });

  test("a manifest that gives a blob another size than it has is refused with SIZE_INVALID", async () => {
    const registry = await startRegistry({ store: await store() });
    const config = { ...(await registry.pushBlob(emptyBytes)), size: 3 };
    const response = await registry.putManifest("v1", encodeJson({ schemaVersion: 2, config, layers: [] }));
    expect([response.status, await errorCode(response)]).toEqual([400, "SIZE_INVALID"]);
  });

  test("a layer that may not be distributed need not be there", async () => {
    const registry = await startRegistry({ store: await store() });
    const config = await registry.pushBlob(emptyBytes, mediaTypes.empty);
    const layer = descriptorOf(content("foreign"), "application/vnd.oci.image.layer.nondistributable.v1.tar");
    const response = await registry.putManifest("v1", encodeJson({ schemaVersion: 2, config, layers: [layer] }));
    expect(response.status).toBe(201);
  });

  test("a manifest with a subject is acknowledged with OCI-Subject, before and after the subject is there", async () => {
    const registry = await startRegistry({ store: await store() });
    const subject = descriptorOf(artifact("subject"), mediaTypes.manifest);
    await registry.pushBlob(emptyBytes);
    for (const round of [1, 2]) {
      const put = await registry.putManifest(`ref-${round}`, artifact(`referrer ${round}`, { subject }));
      expect([put.status, put.headers.get("oci-subject")]).toEqual([201, subject.digest]);
      await pushArtifact(registry, "subject");
    }
  });

  test("a tag can be deleted, its manifest stays", async () => {
    const registry = await startRegistry({ store: await store() });
    const { digest } = await pushArtifact(registry, "kept", { tag: "gone" });
    await pushArtifact(registry, "kept", { tag: "stays" });
    expect((await registry.request("manifests/gone", { method: "DELETE" })).status).toBe(202);
    expect((await registry.request("manifests/gone")).status).toBe(404);
    expect((await registry.request("manifests/stays")).status).toBe(200);
    expect((await registry.request(`manifests/${digest}`)).status).toBe(200);
    const again = await registry.request("manifests/gone", { method: "DELETE" });
    expect([again.status, await errorCode(again)]).toEqual([404, "MANIFEST_UNKNOWN"]);
  });

  test("a manifest that is not there is MANIFEST_UNKNOWN", async () => {
    const registry = await startRegistry({ store: await store() });
    const { digest } = await registry.pushBlob(content("not a manifest"));
    for (const reference of ["absent", digestOf("absent"), digest]) {
      const response = await registry.request(`manifests/${reference}`);
      expect([response.status, await errorCode(response)]).toEqual([404, "MANIFEST_UNKNOWN"]);
      expect((await registry.request(`manifests/${reference}`, { method: "HEAD" })).status).toBe(404);
    }
  });

  test("the list of referrers that other clients keep under a tag can be pushed and pulled", async () => {
    const registry = await startRegistry({ store: await store() });
    const subject = await pushArtifact(registry, "subject");
    const list = encodeJson({ schemaVersion: 2, mediaType: mediaTypes.index, manifests: [] });
    const tag = referrersTag(subject.digest);
    expect((await registry.putManifest(tag, list, mediaTypes.index)).status).toBe(201);
    expect((await registry.request(`manifests/${tag}`)).headers.get("content-type")).toBe(mediaTypes.index);
  });
});

describe("a manifest that is refused", () => {
  const good = { schemaVersion: 2, mediaType: mediaTypes.manifest, config: emptyDescriptor, layers: [] };
  test.each([
    ["is no JSON", "{", mediaTypes.manifest],
    ["is no object", "[]", mediaTypes.manifest],
    ["has another mediaType than its Content-Type", JSON.stringify(good), mediaTypes.index],
    ["has layers and manifests", JSON.stringify({ ...good, manifests: [] }), mediaTypes.manifest],
    ["names a member twice", '{"schemaVersion":2,"schemaVersion":2}', mediaTypes.manifest],
    ["nests too deep", "[".repeat(200_000), mediaTypes.manifest],
    [
      "has a descriptor with a path for a digest",
      JSON.stringify({ ...good, config: { ...emptyDescriptor, digest: "sha256:../../etc/passwd" } }),
      mediaTypes.manifest,
    ],
    [
      "has a size that is no size",
      JSON.stringify({ ...good, config: { ...emptyDescriptor, size: -1 } }),
      mediaTypes.manifest,
    ],
    ["has a Content-Type that is no manifest's", JSON.stringify(good), "application/json"],
  ])("because it %s is MANIFEST_INVALID", async (_why, body, type) => {
    const registry = await startRegistry({ sparse: true });
    const response = await registry.putManifest("v1", Buffer.from(body), type);
    expect([response.status, await errorCode(response)]).toEqual([400, "MANIFEST_INVALID"]);
    expect(registry.failures).toEqual([]);
  });

  test.each(["-dash", ".dot", "a".repeat(129), "with%20blank", "%2e%2e%2fetc"])(
    "because its tag is %s",
    async (tag) => {
      const registry = await startRegistry({ sparse: true });
      const response = await registry.putManifest(tag, Buffer.from(JSON.stringify(good)));
      expect([response.status, await errorCode(response)]).toEqual([400, "MANIFEST_INVALID"]);
    },
  );

  test("a Content-Type with parameters counts without them, and without one the manifest speaks for itself", async () => {
    const registry = await startRegistry({ sparse: true });
    const body = Buffer.from(JSON.stringify(good));
    expect((await registry.putManifest("a", body, `${mediaTypes.manifest}; charset=utf-8`)).status).toBe(201);
    expect((await registry.request("manifests/a")).headers.get("content-type")).toBe(mediaTypes.manifest);
    expect((await registry.request("manifests/b", { method: "PUT", body })).status).toBe(201);
  });
});
