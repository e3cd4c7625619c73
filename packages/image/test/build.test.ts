import { spawnSync } from "node:child_process";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import {
  type Descriptor,
  descriptorOf,
  digestOf,
  encodeJson,
  isOciError,
  Layout,
  MemoryStore,
  mediaTypes,
  type Platform,
  parseJson,
  readBytes,
} from "@stowage/layout";
import { beforeEach, describe, expect, it } from "vitest";
import { type BuildResult, build } from "../src/build.js";
import type { BuildEvent, BuildOptions } from "../src/build-image.js";
import { type ImageConfig, parseConfig } from "../src/config.js";
import { writeTar } from "../src/tar.js";
import { all, bundle, run, sampleBytes, temporaryDirectory, writeFiles } from "./support.js";

const amd64: Platform = { os: "linux", architecture: "amd64" };
const arm64: Platform = { os: "linux", architecture: "arm64" };

async function makeContext(): Promise<string> {
  const root = await temporaryDirectory();
  await writeFiles(root, { "app/main.js": "console.log(1)", "etc/app.conf": "x=1" });
  return root;
}

async function read(
  store: MemoryStore | Layout,
  result: BuildResult,
): Promise<{ manifest: Record<string, unknown>; config: ImageConfig }> {
  const manifest = parseJson(await readBytes(store, result.descriptor), "the manifest") as Record<string, unknown>;
  return { manifest, config: parseConfig(await readBytes(store, result.config), "the config") };
}

/** An image made by hand, in OCI or in Docker types. */
async function makeBase(store: MemoryStore, platform: Platform, docker: boolean): Promise<Descriptor> {
  const header = {
    name: `from-${platform.architecture}`,
    type: "file",
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtime: 0,
    size: 4,
  } as const;
  const tar = await all(writeTar([{ ...header, open: () => [Buffer.from("base")] }]));
  const layer = await store.write(
    [gzipSync(tar, { level: 1 })],
    docker ? mediaTypes.dockerLayerGzip : mediaTypes.layerGzip,
  );
  const config = {
    ...platform,
    created: "2001-01-01T00:00:00Z",
    config: { Env: ["PATH=/bin"], User: "base" },
    rootfs: { type: "layers", diff_ids: [digestOf(tar)] },
    history: [{ created_by: "by hand" }],
  };
  const written = await store.write([encodeJson(config)], docker ? mediaTypes.dockerConfig : mediaTypes.config);
  const mediaType = docker ? mediaTypes.dockerManifest : mediaTypes.manifest;
  const bytes = encodeJson({ schemaVersion: 2, mediaType, config: written, layers: [layer] });
  const descriptor = descriptorOf(bytes, mediaType);
  await store.push({ descriptor, open: () => [bytes] });
  return descriptor;
}

async function makeIndex(
  store: MemoryStore,
  manifests: readonly unknown[],
  mediaType: string = mediaTypes.index,
): Promise<Descriptor> {
  const bytes = encodeJson({ schemaVersion: 2, mediaType, manifests });
  const descriptor = descriptorOf(bytes, mediaType);
  await store.push({ descriptor, open: () => [bytes] });
  return descriptor;
}

beforeEach(() => {
  delete process.env.SOURCE_DATE_EPOCH;
});

describe("building an image", () => {
  it("puts all files into one layer and tags the image", async () => {
    const cwd = await makeContext();
    const store = new MemoryStore();
    const result = await build(store, {
      cwd,
      files: ["app:/srv", "etc"],
      platform: amd64,
      tags: ["v1", "latest", "v1"],
      cmd: ["node", "/srv/main.js"],
    });
    const { manifest, config } = await read(store, result);
    expect(manifest).toEqual({
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      config: result.config,
      layers: result.layers.map((layer) => layer.descriptor),
    });
    expect(config).toEqual({
      architecture: "amd64",
      os: "linux",
      config: { Cmd: ["node", "/srv/main.js"] },
      rootfs: { type: "layers", diff_ids: result.layers.map((layer) => layer.diffId) },
      history: [{ created: "1970-01-01T00:00:00Z", created_by: "stowage build" }],
    });
    expect(result.layers).toHaveLength(1);
    expect(result.tags).toEqual(["v1", "latest"]);
    expect((await store.resolve("latest")).digest).toBe(result.descriptor.digest);
    expect(await store.resolve("v1")).toMatchObject({ platform: amd64 });
  });

  it("gives the digest that it always gave", async () => {
    const cwd = await makeContext();
    const result = await build(new MemoryStore(), { cwd, files: [".:/"], platform: amd64 });
    expect(result.descriptor.digest).toBe("sha256:870796d110734a9971fa3e5166c074c718589d3b7cde01690627b931188986a6");
  });

  it("makes one layer per group, with files on top", async () => {
    const cwd = await makeContext();
    await writeFile(join(cwd, "x.tar"), await all(writeTar([])));
    const store = new MemoryStore();
    const result = await build(store, {
      cwd,
      layers: [{ files: ["etc"] }, { tar: "x.tar" }],
      files: ["app"],
      platform: amd64,
      compression: "none",
    });
    const { config } = await read(store, result);
    expect(result.layers.map((layer) => layer.diffId)).toEqual(config.rootfs.diff_ids);
    expect(config.history).toHaveLength(3);
    expect(result.layers[1]?.diffId).toBe(digestOf(Buffer.alloc(1024)));
    const single = await build(store, { cwd, files: ["app"], platform: amd64, compression: "none" });
    expect(result.layers[2]).toEqual(single.layers[0]);
  });

  it("writes into a layout directory, and nothing but the image", async () => {
    const cwd = await makeContext();
    const layout = await Layout.create(join(await temporaryDirectory(), "layout"));
    const result = await build(layout, { cwd, files: ["app"], tags: ["v1"] });
    expect((await readdir(join(layout.path, "blobs/sha256"))).sort()).toEqual(
      [result.descriptor, result.config, ...result.layers.map((layer) => layer.descriptor)]
        .map(({ digest }) => digest.slice(7))
        .sort(),
    );
    expect(await layout.resolve("v1")).toMatchObject({ digest: result.descriptor.digest, platform: result.platform });
  });

  it("has a time only from `created` or SOURCE_DATE_EPOCH", async () => {
    const cwd = await makeContext();
    const store = new MemoryStore();
    const timeOf = async (options: BuildOptions): Promise<unknown> => {
      const { config } = await read(store, await build(store, { cwd, files: ["app"], ...options }));
      return [config.created, config.history?.[0]?.created];
    };
    expect(await timeOf({})).toEqual([undefined, "1970-01-01T00:00:00Z"]);
    const before = await build(store, { cwd, files: ["app"] });
    process.env.SOURCE_DATE_EPOCH = "86400";
    expect(await timeOf({})).toEqual(["1970-01-02T00:00:00Z", "1970-01-02T00:00:00Z"]);
    expect(await timeOf({ created: new Date(0) })).toEqual(["1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"]);
    const after = await build(store, { cwd, files: ["app"] });
    expect(after.layers[0]?.diffId).not.toBe(before.layers[0]?.diffId);
    expect((await build(store, { cwd, files: ["app"], mtime: 0 })).layers).toEqual(before.layers);
    process.env.SOURCE_DATE_EPOCH = "yesterday";
    await expect(timeOf({})).rejects.toSatisfy((error) => isOciError(error, "INVALID"));
  });

  it("carries annotations, sorted", async () => {
    const cwd = await makeContext();
    const store = new MemoryStore();
    const result = await build(store, { cwd, files: ["app"], annotations: { b: "2", a: "1" } });
    const text = Buffer.from(await readBytes(store, result.descriptor)).toString();
    expect(text).toContain('"annotations":{"a":"1","b":"2"}');
  });

  it("tells what it does", async () => {
    const cwd = await makeContext();
    const events: BuildEvent[] = [];
    const base = new MemoryStore();
    const reference = await makeBase(base, amd64, false);
    await build(new MemoryStore(), {
      cwd,
      base: { source: base, reference },
      files: ["app"],
      tags: ["t"],
      onEvent: (event) => events.push(event),
    });
    expect(events.map((event) => event.type)).toEqual(["base", "base-layer", "bytes", "layer", "manifest", "tag"]);
  });

  it("fails without a layer, with a wrong option, or with a missing file, and then leaves no tag", async () => {
    const cwd = await makeContext();
    const store = new MemoryStore();
    for (const [options, code] of [
      [{}, "INVALID"],
      [{ files: [] }, "INVALID"],
      [{ files: ["app"], env: ["X"] }, "INVALID"],
      [{ files: ["app"], created: new Date(Number.NaN) }, "INVALID"],
      [{ files: ["missing"] }, "NOT_FOUND"],
      [{ files: ["app"], base: { source: store, reference: "missing" } }, "NOT_FOUND"],
    ] as const) {
      await expect(build(store, { cwd, tags: ["t"], ...options }), JSON.stringify(options)).rejects.toSatisfy((error) =>
        isOciError(error, code),
      );
    }
    expect((await store.index()).manifests).toEqual([]);
  });

  it("stops where it is aborted, and then leaves no tag", async () => {
    const cwd = await makeContext();
    const store = new MemoryStore();
    const controller = new AbortController();
    const building = build(store, {
      cwd,
      files: ["app"],
      tags: ["t"],
      signal: controller.signal,
      onEvent: () => controller.abort(new Error("enough")),
    });
    await expect(building).rejects.toThrow("enough");
    expect((await store.index()).manifests).toEqual([]);
  });
});

describe("building on a base", () => {
  it.each([false, true])(
    "keeps its layers, inherits its configuration and names it (Docker types: %s)",
    async (docker) => {
      const cwd = await makeContext();
      const source = new MemoryStore();
      const base = await makeBase(source, arm64, docker);
      await source.tag("base", base);
      const store = new MemoryStore();
      const result = await build(store, {
        cwd,
        files: ["app"],
        base: { source, reference: "base", name: "example.com/base:1" },
        env: ["A=1"],
      });
      const { manifest, config } = await read(store, result);
      const original = parseJson(await readBytes(source, base), "the base") as { layers: readonly Descriptor[] };
      expect(result.platform).toEqual(arm64);
      expect(result.layers.map(({ descriptor }) => descriptor.mediaType)).toEqual([
        mediaTypes.layerGzip,
        mediaTypes.layerGzip,
      ]);
      expect(result.layers[0]?.descriptor.digest).toBe(original.layers[0]?.digest);
      expect(result.config.mediaType).toBe(mediaTypes.config);
      expect(manifest.annotations).toEqual({
        "org.opencontainers.image.base.digest": base.digest,
        "org.opencontainers.image.base.name": "example.com/base:1",
      });
      expect(config).toMatchObject({
        ...arm64,
        config: { User: "base", Env: ["PATH=/bin", "A=1"] },
        history: [{ created_by: "by hand" }, {}],
      });
      expect(config).not.toHaveProperty("created");
      for (const layer of result.layers)
        expect(digestOf(await all(store.fetch(layer.descriptor)))).toBe(layer.descriptor.digest);
    },
  );

  it("may add no layer at all", async () => {
    const source = new MemoryStore();
    const reference = await makeBase(source, amd64, false);
    const result = await build(source, { base: { source, reference }, labels: { a: "b" } });
    const { config } = await read(source, result);
    expect(config.rootfs.diff_ids).toHaveLength(1);
    expect(config.config?.Labels).toEqual({ a: "b" });
  });

  it("takes the image for the wanted platform out of an index, also a nested one", async () => {
    const source = new MemoryStore();
    const images = await Promise.all(
      [amd64, arm64].map(async (platform) => ({ ...(await makeBase(source, platform, false)), platform })),
    );
    const nested = await makeIndex(source, [await makeIndex(source, images)]);
    const list = await makeIndex(source, images, mediaTypes.dockerManifestList);
    for (const reference of [nested, list, list.digest]) {
      for (const platform of [amd64, arm64]) {
        const result = await build(new MemoryStore(), { base: { source, reference }, platform });
        expect(result.platform).toEqual(platform);
      }
    }
    const missing = build(source, {
      base: { source, reference: list },
      platform: { os: "linux", architecture: "s390x" },
    });
    await expect(missing).rejects.toSatisfy(
      (error) => isOciError(error, "NOT_FOUND") && error.hint === "It has linux/amd64, linux/arm64.",
    );
  });

  it("fails where it is for another platform, no image, or contradicts itself", async () => {
    const source = new MemoryStore();
    const image = await makeBase(source, amd64, false);
    await expect(build(source, { base: { source, reference: image }, platform: arm64 })).rejects.toSatisfy((error) =>
      isOciError(error, "NOT_FOUND"),
    );
    const push = async (value: object): Promise<Descriptor> => {
      const bytes = encodeJson({ schemaVersion: 2, mediaType: mediaTypes.manifest, ...value });
      const descriptor = descriptorOf(bytes, mediaTypes.manifest);
      await source.push({ descriptor, open: () => [bytes] });
      return descriptor;
    };
    const { config, layers } = parseJson(await readBytes(source, image), "the base") as {
      config: Descriptor;
      layers: Descriptor[];
    };
    const artifact = await push({ config: { ...config, mediaType: "application/vnd.example+json" }, layers });
    const uneven = await push({ config, layers: [...layers, ...layers] });
    for (const reference of [artifact, uneven]) {
      await expect(build(source, { base: { source, reference } })).rejects.toSatisfy((error) =>
        isOciError(error, "INVALID"),
      );
    }
  });

  it("does not copy layers that may not be distributed", async () => {
    const source = new MemoryStore();
    const image = await makeBase(source, amd64, true);
    const { config, layers } = parseJson(await readBytes(source, image), "the base") as {
      config: Descriptor;
      layers: Descriptor[];
    };
    const foreign = {
      ...layers[0],
      mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
      urls: ["https://example.com/x"],
    };
    const bytes = encodeJson({ schemaVersion: 2, mediaType: mediaTypes.dockerManifest, config, layers: [foreign] });
    const reference = descriptorOf(bytes, mediaTypes.dockerManifest);
    await source.push({ descriptor: reference, open: () => [bytes] });
    const store = new MemoryStore();
    const result = await build(store, { base: { source, reference } });
    expect(result.layers[0]?.descriptor).toEqual({
      ...foreign,
      mediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    });
    expect(await store.has(result.layers[0]?.descriptor as Descriptor)).toBe(false);
  });
});

describe("the digest of an image", () => {
  it("does not depend on directory, times, umask, locale, time zone or the order of creation", async () => {
    const root = await temporaryDirectory();
    const program = `
      import { Layout } from "@stowage/layout";
      import { build } from "@stowage/image";
      const layout = await Layout.create(process.argv[3] as string);
      const options = { cwd: process.argv[2] as string, files: [".:/", "*.txt:/again/"], platform: { os: "linux", architecture: "amd64" } };
      console.log((await build(layout, options)).descriptor.digest);
    `;
    const file = await bundle(join(root, "dist"), program, { worker: true });
    const names = [
      "z.txt",
      "ä.txt",
      "a.txt",
      "B.txt",
      "i.txt",
      "I.txt",
      "ı.txt",
      "dir/_",
      "dir-/x",
      "dir.x/y",
      "\u{1f600}",
      "\uffee",
    ];
    const digests = new Set<string>();
    for (const [at, variant] of [
      { LC_ALL: "C", TZ: "UTC", mask: 0o022 },
      { LC_ALL: "tr_TR.UTF-8", LANG: "tr_TR.UTF-8", TZ: "Pacific/Kiritimati", mask: 0o077 },
      { LC_ALL: "sv_SE.UTF-8", LANGUAGE: "sv", TZ: "America/St_Johns", mask: 0o002 },
    ].entries()) {
      const { mask, ...environment } = variant;
      const context = join(root, `context-${"x".repeat(at)}`);
      const order = at % 2 === 0 ? names : [...names].reverse();
      const before = process.umask(mask);
      try {
        await mkdir(context);
        await writeFiles(context, Object.fromEntries(order.map((name) => [name, `content of ${name}`])));
      } finally {
        process.umask(before);
      }
      digests.add(
        await run(process.execPath, [file, context, join(root, `layout-${at}`)], environment as Record<string, string>),
      );
    }
    expect([...digests]).toEqual(["sha256:56f78df8372c0f76fd2557acab0fb720142b0e8dd799be457bb8de90e846dc3d\n"]);
  });

  it("does not depend on the number of processors or the version of Node, nor on what the layout has seen", async () => {
    const root = await temporaryDirectory();
    const program = `
      import { Layout } from "@stowage/layout";
      import { build } from "@stowage/image";
      const layout = await Layout.create(process.argv[3] as string);
      const options = { cwd: process.argv[2] as string, files: [".:/"], platform: { os: "linux", architecture: "amd64" } };
      for (const level of [undefined, 1, undefined]) console.log((await build(layout, { ...options, level })).descriptor.digest);
    `;
    const file = await bundle(join(root, "dist"), program, { worker: true });
    const context = join(root, "context");
    // Several blocks, so that several threads have something to do.
    await writeFiles(context, { large: sampleBytes(4_500_000), small: "small" });
    const nodes = [process.execPath, ...(process.env.STOWAGE_NODE24 ? [process.env.STOWAGE_NODE24] : [])];
    const commands = nodes.flatMap((node) => [[node], ...(hasTaskset() ? [["taskset", "--cpu-list", "0", node]] : [])]);
    const outputs = new Set<string>();
    for (const [at, [command = "", ...args]] of commands.entries())
      outputs.add(await run(command, [...args, file, context, join(root, `layout-${at}`)]));
    const digest = "sha256:be12eccae49cf6db0d8fb116dcdbb31320d8e02c38f02df35e597d6619f1251c";
    const fast = "sha256:8e4a4e5285cf60d42d09e7cff446669c5b74e6be6046aedda7de39181973d1bc";
    expect([...outputs]).toEqual([`${digest}\n${fast}\n${digest}\n`]);
  });
});

/** Where it is not, the digest that stands in the test is still proof for the processors there are. */
function hasTaskset(): boolean {
  return spawnSync("taskset", ["--cpu-list", "0", "true"]).status === 0;
}
