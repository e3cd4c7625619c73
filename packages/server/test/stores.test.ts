import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { descriptorOf, emptyBytes, emptyDescriptor, encodeJson, Layout, mediaTypes } from "@stowage/layout";
import { describe, expect, test } from "vitest";
import { directoryStore, layoutStore } from "../src/index.js";
import { artifact, content, errorCode, pushArtifact, startRegistry, temporaryDirectory } from "./registry.js";

/** A layout in which the given names all stand for manifests, each for its own. */
async function layoutWith(...names: string[]): Promise<Layout> {
  const layout = await Layout.create(join(await temporaryDirectory(), "My_Layout..dir"));
  await layout.write([emptyBytes], mediaTypes.empty);
  for (const name of names) {
    const descriptor = await layout.write([artifact(name)], mediaTypes.manifest);
    await layout.tag(name, descriptor);
  }
  return layout;
}

const digestOfTag = async (registry: Awaited<ReturnType<typeof startRegistry>>, path: string) =>
  (await registry.request(path)).headers.get("docker-content-digest");
const digestFor = (name: string) => descriptorOf(artifact(name), mediaTypes.manifest).digest;

describe("a layout", () => {
  test("serves full names as the repositories they say, and plain tags as a repository named after the directory", async () => {
    const layout = await layoutWith("v1", "team/app:v1", "team/app:v2", "ghcr.io/team/tool:v1", "not/a-tag");
    const registry = await startRegistry({ store: layoutStore(layout) });
    const catalog = await registry.request("/v2/_catalog");
    expect(await catalog.json()).toEqual({ repositories: ["ghcr.io/team/tool", "my_layout.dir", "team/app"] });
    expect(await digestOfTag(registry, "/v2/my_layout.dir/manifests/v1")).toBe(digestFor("v1"));
    expect(await digestOfTag(registry, "/v2/team/app/manifests/v1")).toBe(digestFor("team/app:v1"));
    expect(await digestOfTag(registry, "/v2/ghcr.io/team/tool/manifests/v1")).toBe(digestFor("ghcr.io/team/tool:v1"));
    expect(await digestOfTag(registry, "/v2/team/tool/manifests/v1")).toBe(digestFor("ghcr.io/team/tool:v1"));
    expect(await (await registry.request("/v2/team/app/tags/list")).json()).toEqual({
      name: "team/app",
      tags: ["v1", "v2"],
    });
    expect(await (await registry.request("/v2/my_layout.dir/tags/list")).json()).toMatchObject({ tags: ["v1"] });
    expect((await registry.request("/v2/my_layout.dir/manifests/v2")).status).toBe(404);
  });

  test("writes a tag under the name that stood for it, otherwise under the full name", async () => {
    const layout = await layoutWith("v1", "ghcr.io/team/app:v1");
    const registry = await startRegistry({ store: layoutStore(layout, { repository: "own" }), sparse: true });
    const put = (path: string, text: string) =>
      registry.request(path, { method: "PUT", body: artifact(text), headers: { "Content-Type": mediaTypes.manifest } });
    await put("/v2/own/manifests/v1", "new v1");
    await put("/v2/own/manifests/v2", "new v2");
    await put("/v2/team/app/manifests/v1", "new team/app:v1");
    await put("/v2/team/app/manifests/v2", "new team/app:v2");
    const tags: string[] = [];
    for await (const tag of layout.tags()) tags.push(tag);
    expect(tags).toEqual(["ghcr.io/team/app:v1", "team/app:v2", "v1", "v2"]);
    expect((await layout.resolve("ghcr.io/team/app:v1")).digest).toBe(digestFor("new team/app:v1"));
    expect((await registry.request("/v2/team/app/manifests/v1", { method: "DELETE" })).status).toBe(202);
    expect((await registry.request("/v2/own/manifests/v1")).status).toBe(200);
  });

  test("holds a repository whose name has one part: alpine:latest reads like a digest and is none", async () => {
    const layout = await layoutWith("v1");
    const registry = await startRegistry({ store: layoutStore(layout, { repository: "own" }) }, "alpine");
    const { digest } = await pushArtifact(registry, "alpine", { tag: "latest" });
    expect(await digestOfTag(registry, "/v2/alpine/manifests/latest")).toBe(digest);
    expect(await (await registry.request("/v2/alpine/tags/list")).json()).toEqual({ name: "alpine", tags: ["latest"] });
    expect((await layout.resolve("alpine:latest")).digest).toBe(digest);
    expect((await registry.request("/v2/alpine/manifests/latest", { method: "DELETE" })).status).toBe(202);
    expect((await registry.request("/v2/alpine/manifests/latest")).status).toBe(404);
  });

  test("shows what another process wrote to it meanwhile", async () => {
    const layout = await layoutWith("v1");
    const registry = await startRegistry({ store: layoutStore(await Layout.open(layout.path), { repository: "own" }) });
    expect((await registry.request("/v2/own/manifests/v2")).status).toBe(404);
    await layout.tag("v2", await layout.resolve("v1"));
    expect((await registry.request("/v2/own/manifests/v2")).status).toBe(200);
  });

  test("with a repository name that is none cannot be served", async () => {
    const layout = await layoutWith();
    expect(() => layoutStore(layout, { repository: "../up" })).toThrow(expect.objectContaining({ code: "INVALID" }));
  });

  test("whose tagged content is missing answers 404, to HEAD as well", async () => {
    const layout = await layoutWith("v1");
    const missing = descriptorOf(content("missing"), mediaTypes.manifest);
    await layout.update((index) => ({
      ...index,
      manifests: [...index.manifests, { ...missing, annotations: { "org.opencontainers.image.ref.name": "hole" } }],
    }));
    const registry = await startRegistry({ store: layoutStore(layout, { repository: "own" }) });
    for (const method of ["GET", "HEAD"]) {
      expect((await registry.request("/v2/own/manifests/hole", { method })).status).toBe(404);
    }
  });
});

describe("a directory of layouts", () => {
  test("serves each layout as the repository its path names, also one below another", async () => {
    const root = await temporaryDirectory();
    for (const name of ["a", "a/b", "team/app"]) {
      const layout = await Layout.create(join(root, name));
      await layout.write([emptyBytes], mediaTypes.empty);
      await layout.tag("v1", await layout.write([artifact(name)], mediaTypes.manifest));
    }
    await mkdir(join(root, "empty"));
    await writeFile(join(root, "file"), "");
    const registry = await startRegistry({ store: await directoryStore(root) });
    expect(await (await registry.request("/v2/_catalog")).json()).toEqual({ repositories: ["a", "a/b", "team/app"] });
    for (const name of ["a", "a/b", "team/app"]) {
      expect(await digestOfTag(registry, `/v2/${name}/manifests/v1`)).toBe(digestFor(name));
    }
    for (const name of ["empty", "file", "team", "a/blobs", "a/index.json", "a/blobs/sha256"]) {
      const response = await registry.request(`/v2/${name}/tags/list`);
      expect([name, response.status, await errorCode(response)]).toEqual([name, 404, "NAME_UNKNOWN"]);
    }
  });

  test("makes a layout where a repository is first written to", async () => {
    const root = await temporaryDirectory();
    const registry = await startRegistry({ store: await directoryStore(root) }, "deep/in/the/tree");
    const { digest } = await pushArtifact(registry, "image", { tag: "v1" });
    expect((await (await Layout.open(join(root, "deep/in/the/tree"))).resolve("v1")).digest).toBe(digest);
  });

  test("is not left by any name", async () => {
    const root = join(await temporaryDirectory(), "root");
    await mkdir(root);
    const outside = await Layout.create(join(root, "..", "outside"));
    await outside.tag(
      "v1",
      await outside.write([encodeJson({ schemaVersion: 2, config: emptyDescriptor, layers: [] })], mediaTypes.manifest),
    );
    await symlink(outside.path, join(root, "link"));
    const registry = await startRegistry({ store: await directoryStore(root) });
    for (const name of [
      "../outside",
      "%2e%2e/outside",
      "a/../../outside",
      "..%2foutside",
      "/outside",
      "a//b",
      "a/./b",
      "C:",
      "a\\b",
    ]) {
      const response = await registry.request(`/v2/${name}/manifests/v1`);
      expect([name, response.status]).toEqual([name, response.status === 404 ? 404 : 400]);
    }
    for (const name of ["link", "link/below"]) {
      const post = await registry.request(`/v2/${name}/blobs/uploads/`, { method: "POST" });
      expect([name, post.status]).toEqual([name, 403]);
    }
    expect((await registry.request("/v2/link/manifests/v1")).status).toBe(403);
    expect(await (await registry.request("/v2/_catalog")).json()).toEqual({ repositories: [] });
  });

  test("refuses to make a repository where a layout keeps its own files", async () => {
    const registry = await startRegistry({ store: await directoryStore(await temporaryDirectory()) });
    await pushArtifact(registry, "image", { tag: "v1" });
    for (const name of ["team/app/blobs", "team/app/ingest", "team/app/index.json/x", "team/app/blobs/sha256"]) {
      const response = await registry.request(`/v2/${name}/blobs/uploads/`, { method: "POST" });
      expect([response.status, await errorCode(response)]).toEqual([400, "NAME_INVALID"]);
    }
  });

  test("fails with INVALID where it is a layout itself, and with NOT_FOUND where it is not there", async () => {
    const layout = await layoutWith();
    await expect(directoryStore(layout.path)).rejects.toMatchObject({ code: "INVALID" });
    await expect(directoryStore(join(layout.path, "absent"))).rejects.toMatchObject({ code: "NOT_FOUND" });
  });
});
