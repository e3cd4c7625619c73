import { join } from "node:path";
import {
  attach,
  contentOf,
  type Descriptor,
  descriptorOf,
  encodeJson,
  isIndexType,
  isOciError,
  Layout,
  MemoryStore,
  mediaTypes,
  type Platform,
  parseJson,
  plainDescriptor,
  readBytes,
  verify,
} from "@stowage/layout";
import { beforeEach, describe, expect, it } from "vitest";
import { build } from "../src/build.js";
import { createIndex } from "../src/image-index.js";
import { type MutateOptions, mutate } from "../src/mutate/mutate.js";
import { temporaryDirectory, writeFiles } from "./support.js";

const amd64: Platform = { os: "linux", architecture: "amd64" };
const arm64: Platform = { os: "linux", architecture: "arm64" };

beforeEach(() => {
  delete process.env.SOURCE_DATE_EPOCH;
});

async function image(store: MemoryStore, platform = amd64): Promise<Descriptor> {
  const cwd = await temporaryDirectory();
  await writeFiles(cwd, { "app/main.js": "console.log(1)" });
  const { descriptor } = await build(store, {
    cwd,
    files: ["app"],
    platform,
    user: "app",
    env: ["PATH=/bin", "A=1"],
    entrypoint: ["/bin/app"],
    cmd: ["serve"],
    workdir: "/app",
    labels: { a: "1", b: "2" },
    exposedPorts: ["80", "53/udp"],
    volumes: ["/data"],
    stopSignal: "SIGINT",
    annotations: { title: "app", old: "x" },
  });
  return descriptor;
}

async function put(store: MemoryStore, value: unknown, mediaType: string): Promise<Descriptor> {
  const bytes = encodeJson(value);
  const descriptor = descriptorOf(bytes, mediaType);
  await store.push(contentOf(bytes, descriptor));
  return descriptor;
}

// biome-ignore lint/suspicious/noExplicitAny: foreign JSON, looked into by the tests
async function json(store: MemoryStore | Layout, descriptor: Descriptor): Promise<any> {
  return parseJson(await readBytes(store, descriptor), descriptor.digest);
}

/** Changes an image in memory and reads what came of it. */
async function changed(store: MemoryStore, root: Descriptor, options: MutateOptions) {
  const target = new MemoryStore();
  const report = await mutate(store, target, root, options);
  const manifest = await json(target, report.descriptor);
  return {
    target,
    report,
    manifest,
    config: isIndexType(report.descriptor.mediaType) ? undefined : await json(target, manifest.config),
  };
}

async function failure(work: Promise<unknown>): Promise<{ code: string; message: string }> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!isOciError(error)) throw new Error(`not refused: ${String(error)}`);
  return error;
}

describe("changing the config of an image", () => {
  it("keeps the digest where nothing changes", async () => {
    const store = new MemoryStore();
    const root = await image(store);
    for (const options of [{}, { user: "app", labels: { a: "1" }, annotations: { title: "app" } }]) {
      const { report } = await changed(store, root, options);
      expect(report.descriptor.digest).toBe(root.digest);
      expect(report.images).toEqual([]);
    }
  });

  it("keeps the digest of a config with empty and unknown members that another tool wrote", async () => {
    const store = new MemoryStore();
    const config = await put(
      store,
      { ...amd64, config: {}, rootfs: { type: "layers", diff_ids: [] }, history: null, own: { a: 1 } },
      mediaTypes.config,
    );
    const root = await put(store, { schemaVersion: 2, config, layers: [], annotations: {} }, mediaTypes.manifest);
    expect((await changed(store, root, {})).report.descriptor.digest).toBe(root.digest);
    const { config: after } = await changed(store, root, { user: "x" });
    expect(after).toMatchObject({ config: { User: "x" }, own: { a: 1 } });
  });

  it("sets every member, and leaves layers and history as they are", async () => {
    const store = new MemoryStore();
    const root = await image(store);
    const before = await json(store, root);
    const { manifest, config, report, target } = await changed(store, root, {
      user: "1000:1000",
      env: ["A=2", "B=3"],
      entrypoint: ["/bin/other"],
      workdir: "/srv",
      labels: { c: "3" },
      removeLabels: ["a", "not there"],
      exposedPorts: ["443"],
      removeExposedPorts: ["53/udp"],
      volumes: ["/more"],
      removeVolumes: ["/data"],
      removeEnv: ["PATH"],
      stopSignal: "15",
      healthcheck: { Test: ["CMD", "/bin/ok"], Interval: 5_000_000_000 },
      author: "somebody",
      created: "2020-01-01T00:00:00Z",
      annotations: { added: "y" },
      removeAnnotations: ["old"],
    });
    expect(config).toEqual({
      created: "2020-01-01T00:00:00Z",
      author: "somebody",
      ...amd64,
      config: {
        User: "1000:1000",
        ExposedPorts: { "443/tcp": {}, "80/tcp": {} },
        Env: ["A=2", "B=3"],
        Entrypoint: ["/bin/other"],
        Volumes: { "/more": {} },
        WorkingDir: "/srv",
        Labels: { b: "2", c: "3" },
        StopSignal: "15",
        Healthcheck: { Test: ["CMD", "/bin/ok"], Interval: 5_000_000_000 },
      },
      rootfs: (await json(store, before.config)).rootfs,
      history: (await json(store, before.config)).history,
    });
    expect(manifest).toMatchObject({ layers: before.layers, annotations: { added: "y", title: "app" } });
    expect(manifest.annotations).not.toHaveProperty("old");
    expect(report.images).toEqual([
      { platform: amd64, before: plainDescriptor(root), descriptor: plainDescriptor(report.descriptor) },
    ]);
    expect((await verify(target, [{ name: "it", descriptor: report.descriptor }])).findings).toEqual([]);
  });

  it("unsets members, and an entrypoint takes the old arguments with it", async () => {
    const store = new MemoryStore();
    const root = await image(store);
    const { config } = await changed(store, root, {
      clear: ["user", "entrypoint", "cmd", "workdir", "stop-signal", "healthcheck", "author", "created"],
      removeEnv: ["PATH", "A"],
      removeLabels: ["a", "b"],
      removeExposedPorts: ["80", "53/udp"],
      removeVolumes: ["/data"],
    });
    expect(config).not.toHaveProperty("config");
    expect((await changed(store, root, { entrypoint: ["x"] })).config.config).not.toHaveProperty("Cmd");
    expect((await changed(store, root, { clear: ["user"], user: "b" })).config.config.User).toBe("b");
  });

  it("makes the same digest every time, and is undone by the opposite change", async () => {
    const store = new MemoryStore();
    const root = await image(store);
    const one = await changed(store, root, { labels: { z: "1", y: "2" } });
    const other = await changed(store, root, { labels: { y: "2", z: "1" } });
    expect(one.report.descriptor).toEqual(other.report.descriptor);
    const back = await changed(one.target, one.report.descriptor, { removeLabels: ["y", "z"] });
    expect(back.report.descriptor.digest).toBe(root.digest);
  });

  it("refuses what breaks the spec, before anything is copied", async () => {
    const store = new MemoryStore();
    const root = await image(store);
    const target = new MemoryStore();
    for (const options of [
      { workdir: "relative" },
      { env: ["novalue"] },
      { exposedPorts: ["http"] },
      { removeExposedPorts: ["http"] },
      { stopSignal: "stop" },
      { healthcheck: { Test: ["curl"] } },
      { healthcheck: { Interval: -1 } },
      { annotations: { a: 1 as never } },
    ] satisfies MutateOptions[])
      expect((await failure(mutate(store, target, root, options))).code).toBe("INVALID");
    expect((await target.index()).manifests).toEqual([]);
  });
});

describe("changing the images of an index", () => {
  async function index(store: MemoryStore): Promise<{ root: Descriptor; amd: Descriptor; arm: Descriptor }> {
    const amd = await image(store, amd64);
    const arm = await image(store, arm64);
    const { descriptor } = await createIndex(store, [
      { source: store, descriptor: amd, name: "amd" },
      { source: store, descriptor: arm, name: "arm" },
    ]);
    return { root: descriptor, amd, arm };
  }

  it("changes all of them, with their platforms", async () => {
    const store = new MemoryStore();
    const { root } = await index(store);
    const { report, manifest, target } = await changed(store, root, {
      user: "b",
      indexAnnotations: { of: "index" },
      tags: ["v2"],
    });
    expect(manifest.manifests.map((entry: Descriptor) => entry.platform)).toEqual([amd64, arm64]);
    expect(manifest.annotations).toEqual({ of: "index" });
    for (const entry of manifest.manifests) {
      const { config } = await json(target, entry);
      expect((await json(target, config)).config.User).toBe("b");
    }
    expect(report.images).toHaveLength(2);
    expect((await target.resolve("v2")).digest).toBe(report.descriptor.digest);
  });

  it("changes the one for a platform, and the other stays as it is", async () => {
    const store = new MemoryStore();
    const { root, amd } = await index(store);
    const { manifest, report } = await changed(store, root, { user: "b", platform: arm64 });
    expect(manifest.manifests[0].digest).toBe(amd.digest);
    expect(report.images.map(({ platform }) => platform)).toEqual([arm64]);
    const wanted = { os: "linux", architecture: "s390x" };
    expect(await failure(mutate(store, new MemoryStore(), root, { platform: wanted }))).toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringContaining("linux/s390x"),
    });
  });

  it("changes an image once that stands in it twice, and nested ones too", async () => {
    const store = new MemoryStore();
    const { root, amd } = await index(store);
    const outer = await put(
      store,
      { schemaVersion: 2, manifests: [{ ...amd, annotations: { own: "1" } }, root] },
      mediaTypes.index,
    );
    const { manifest, report, target } = await changed(store, outer, { user: "b" });
    expect(report.images).toHaveLength(2);
    const inner = await json(target, manifest.manifests[1]);
    expect(inner.manifests[0].digest).toBe(manifest.manifests[0].digest);
    expect(manifest.manifests[0].annotations).toEqual({ own: "1" });
  });

  it("leaves referrers and attestations with the old digests, and names them", async () => {
    const store = new MemoryStore();
    const { amd, arm } = await index(store);
    const statement = (of: Descriptor) => ({
      "vnd.docker.reference.type": "attestation-manifest",
      "vnd.docker.reference.digest": of.digest,
    });
    const unknown = { os: "unknown", architecture: "unknown" };
    const config = await put(store, unknown, mediaTypes.config);
    const one = await put(store, { schemaVersion: 2, config, layers: [] }, mediaTypes.manifest);
    const two = await put(
      store,
      { schemaVersion: 2, config, layers: [], annotations: { of: "arm" } },
      mediaTypes.manifest,
    );
    const root = await put(
      store,
      {
        schemaVersion: 2,
        manifests: [
          { ...one, platform: unknown, annotations: statement(amd) },
          { ...amd, platform: amd64 },
          { ...arm, platform: arm64 },
          { ...two, platform: unknown, annotations: statement(arm) },
        ],
      },
      mediaTypes.index,
    );
    const cwd = await temporaryDirectory();
    await writeFiles(cwd, { "sbom.json": "{}" });
    const files = [{ path: join(cwd, "sbom.json"), mediaType: "application/json" }];
    const ofAmd = await attach(store, amd, { files, artifactType: "application/spdx+json" });
    const ofArm = await attach(store, arm, { files, artifactType: "application/spdx+json" });
    const { report, manifest, target } = await changed(store, root, { user: "b", platform: amd64 });
    expect(manifest.manifests.map((entry: Descriptor) => entry.digest)).toEqual([
      report.images[0]?.descriptor.digest,
      arm.digest,
      two.digest,
    ]);
    expect(report.attestations.map(({ digest }) => digest)).toEqual([one.digest]);
    expect(report.left.map(({ digest }) => digest)).toEqual([ofAmd.descriptor.digest]);
    expect(await target.has(ofAmd.descriptor)).toBe(false);
    expect(await target.has(ofArm.descriptor)).toBe(true);
  });

  it("refuses what holds no image", async () => {
    const store = new MemoryStore();
    const config = await put(store, {}, mediaTypes.empty);
    const artifact = await put(
      store,
      { schemaVersion: 2, artifactType: "application/x", config, layers: [] },
      mediaTypes.manifest,
    );
    expect(await failure(mutate(store, new MemoryStore(), artifact, { user: "b" }))).toMatchObject({
      code: "INVALID",
      message: expect.stringContaining("no container image"),
    });
  });

  it("works from a layout into the same layout, and the old image stays", async () => {
    const store = new MemoryStore();
    const built = await image(store);
    const layout = await Layout.create(join(await temporaryDirectory(), "layout"));
    await mutate(store, layout, built, { tags: ["v1"] });
    const { descriptor } = await mutate(layout, layout, await layout.resolve("v1"), { user: "b", tags: ["v2"] });
    expect((await layout.resolve("v1")).digest).toBe(built.digest);
    expect((await layout.resolve("v2")).digest).toBe(descriptor.digest);
    expect(descriptor.digest).not.toBe(built.digest);
  });
});
