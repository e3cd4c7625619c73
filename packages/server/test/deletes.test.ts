import { join } from "node:path";
import { descriptorOf, digestOf, encodeJson, Layout, mediaTypes, verify } from "@stowage/layout";
import { describe, expect, test } from "vitest";
import { layoutStore } from "../src/index.js";
import {
  artifact,
  content,
  errorCode,
  pushArtifact,
  type Registry,
  startRegistry,
  stores,
  temporaryDirectory,
} from "./registry.js";

const remove = ({ request }: Registry, path: string): Promise<Response> => request(path, { method: "DELETE" });
const status = async (registry: Registry, path: string): Promise<number> => (await registry.request(path)).status;

describe.each(Object.entries(stores))("deleting from a %s store", (_name, store) => {
  test("a manifest takes it away at once, with its tags", async () => {
    const registry = await startRegistry({ store: await store() });
    const { digest } = await pushArtifact(registry, "gone", { tag: "v1" });
    await pushArtifact(registry, "gone", { tag: "v2" });
    await pushArtifact(registry, "stays", { tag: "v3" });
    expect((await remove(registry, `manifests/${digest}`)).status).toBe(202);
    for (const reference of ["v1", "v2", digest]) expect(await status(registry, `manifests/${reference}`)).toBe(404);
    expect(await (await registry.request("tags/list")).json()).toMatchObject({ tags: ["v3"] });
    const again = await remove(registry, `manifests/${digest}`);
    expect([again.status, await errorCode(again)]).toEqual([404, "MANIFEST_UNKNOWN"]);
    await pushArtifact(registry, "gone", { tag: "v1" });
    expect(await status(registry, "manifests/v1")).toBe(200);
  });

  test("a referrer takes it off the list of referrers, and its subject leaves the referrers", async () => {
    const registry = await startRegistry({ store: await store() });
    const subject = await pushArtifact(registry, "subject", { tag: "v1" });
    const referrers = async (): Promise<string[]> => {
      const response = await registry.request(`referrers/${subject.digest}`);
      return ((await response.json()) as { manifests: { digest: string }[] }).manifests.map(({ digest }) => digest);
    };
    const all = [];
    for (const text of ["one", "two"]) all.push((await pushArtifact(registry, text, { subject })).digest);
    expect((await remove(registry, `manifests/${all[0]}`)).status).toBe(202);
    expect(await referrers()).toEqual([all[1]]);
    expect(await status(registry, `manifests/${all[0]}`)).toBe(404);
    expect((await remove(registry, `manifests/${subject.digest}`)).status).toBe(202);
    expect(await referrers()).toEqual([all[1]]);
    expect((await remove(registry, `manifests/${all[1]}`)).status).toBe(202);
    expect(await referrers()).toEqual([]);
  });

  test("a manifest that an index needs is refused, and goes after the index", async () => {
    const registry = await startRegistry({ store: await store() });
    const child = await pushArtifact(registry, "child", { tag: "child" });
    const index = encodeJson({ schemaVersion: 2, mediaType: mediaTypes.index, manifests: [child] });
    expect((await registry.putManifest("v1", index, mediaTypes.index)).status).toBe(201);
    const refused = await remove(registry, `manifests/${child.digest}`);
    expect([refused.status, await errorCode(refused)]).toEqual([405, "DENIED"]);
    expect(await status(registry, "manifests/child")).toBe(200);
    expect((await remove(registry, `manifests/${digestOf(index)}`)).status).toBe(202);
    expect((await remove(registry, `manifests/${child.digest}`)).status).toBe(202);
    expect(await status(registry, `manifests/${child.digest}`)).toBe(404);
  });

  test("a blob is refused unless the server may, and then unless a manifest needs it", async () => {
    const opened = await store();
    const careful = await startRegistry({ store: opened });
    const blob = await careful.pushBlob(content("blob"));
    const refused = await remove(careful, `blobs/${blob.digest}`);
    expect([refused.status, await errorCode(refused)]).toEqual([405, "UNSUPPORTED"]);
    const registry = await startRegistry({ store: opened, deleteBlobs: true });
    const manifest = encodeJson({ ...JSON.parse(Buffer.from(artifact("x")).toString()), layers: [blob] });
    await registry.pushBlob(Buffer.from("{}"));
    await registry.putManifest("v1", manifest);
    const needed = await remove(registry, `blobs/${blob.digest}`);
    expect([needed.status, await errorCode(needed)]).toEqual([405, "DENIED"]);
    expect(await status(registry, `blobs/${blob.digest}`)).toBe(200);
    await remove(registry, `manifests/${digestOf(manifest)}`);
    expect((await remove(registry, `blobs/${blob.digest}`)).status).toBe(202);
    expect(await status(registry, `blobs/${blob.digest}`)).toBe(404);
    const again = await remove(registry, `blobs/${blob.digest}`);
    expect([again.status, await errorCode(again)]).toEqual([404, "BLOB_UNKNOWN"]);
  });

  test("while others push leaves a manifest whole or not there at all", async () => {
    const registry = await startRegistry({ store: await store(), deleteBlobs: true });
    const one = async (at: number): Promise<void> => {
      const blob = await registry.pushBlob(content("shared"));
      await registry.pushBlob(Buffer.from("{}"));
      const manifest = encodeJson({ ...JSON.parse(Buffer.from(artifact(`${at}`)).toString()), layers: [blob] });
      const pushed = await registry.putManifest(`v${at}`, manifest);
      await remove(registry, `blobs/${blob.digest}`);
      expect([201, 404]).toContain(pushed.status);
      if (pushed.status === 201) expect(await status(registry, `blobs/${blob.digest}`)).toBe(200);
    };
    await Promise.all(Array.from({ length: 12 }, (_, at) => one(at)));
    expect(registry.failures).toEqual([]);
  });
});

describe("deleting from a layout that holds several repositories", () => {
  test("leaves a manifest that another repository has a tag for, and the layout whole", async () => {
    const layout = await Layout.create(join(await temporaryDirectory(), "layout"));
    const store = layoutStore(layout, { repository: "team/app" });
    const [one, two] = [await startRegistry({ store }, "team/one"), await startRegistry({ store }, "team/two")];
    const { digest } = await pushArtifact(one, "shared", { tag: "v1" });
    await pushArtifact(two, "shared", { tag: "v1" });
    expect((await remove(one, `manifests/${digest}`)).status).toBe(202);
    expect(await status(one, "manifests/v1")).toBe(404);
    expect(await status(two, "manifests/v1")).toBe(200);
    const roots = (await layout.index()).manifests.map((entry) => ({ name: entry.digest, descriptor: entry }));
    const { findings } = await verify(layout, roots);
    expect(findings).toEqual([]);
    expect((await remove(two, `manifests/${digest}`)).status).toBe(202);
    expect(await status(two, `manifests/${digest}`)).toBe(404);
    expect((await layout.index()).manifests).toEqual([]);
  });
});

describe("what is asked for beside", () => {
  test("a blob is mounted from wherever it is where no repository is named", async () => {
    for (const store of Object.values(stores)) {
      const registry = await startRegistry({ store: await store() });
      const blob = await registry.pushBlob(content("mounted"));
      await pushArtifact(registry, "image", { tag: "v1" });
      const path = `/v2/other/repository/blobs/uploads/?mount=${blob.digest}`;
      expect((await registry.request(path, { method: "POST" })).status).toBe(201);
      expect(await status(registry, `/v2/other/repository/blobs/${blob.digest}`)).toBe(200);
    }
  });

  test("small referrers are embedded in the list where the server is told to", async () => {
    const registry = await startRegistry({ embedReferrers: 1000 });
    const subject = await pushArtifact(registry, "subject");
    const small = artifact("small", { subject });
    const large = artifact("large".repeat(300), { subject });
    for (const bytes of [small, large]) await registry.putManifest(digestOf(bytes), bytes);
    const response = await registry.request(`referrers/${subject.digest}`);
    const { manifests } = (await response.json()) as { manifests: { digest: string; data?: string }[] };
    const data = Object.fromEntries(manifests.map((one) => [one.digest, one.data]));
    expect(data).toEqual({ [digestOf(small)]: Buffer.from(small).toString("base64"), [digestOf(large)]: undefined });
    expect(descriptorOf(small, mediaTypes.manifest).size).toBeLessThan(1000);
  });

  test("the extensions are told, for the registry and for a repository", async () => {
    const registry = await startRegistry();
    for (const path of ["/v2/_oci/ext/discover", "/v2/team/app/_oci/ext/discover"]) {
      const response = await registry.request(path);
      expect(await response.json()).toMatchObject({ extensions: [{ name: "_oci", endpoints: ["_oci/ext/discover"] }] });
    }
  });
});
