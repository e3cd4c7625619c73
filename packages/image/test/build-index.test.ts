import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  annotationKeys,
  type Descriptor,
  embeddedData,
  formatPlatform,
  type ImageIndex,
  type ImageManifest,
  isOciError,
  Layout,
  MemoryStore,
  mediaTypes,
  type Platform,
  parseJson,
  parsePlatform,
  readBytes,
} from "@stowage/layout";
import { beforeEach, describe, expect, it } from "vitest";
import { type BuildIndexOptions, build, buildIndex } from "../src/build.js";
import type { BuildOptions, BuiltImage } from "../src/build-image.js";
import { parseConfig } from "../src/config.js";
import { cat } from "../src/files/cat.js";
import { listFiles } from "../src/files/list-files.js";
import { parseHealthcheck } from "../src/healthcheck.js";
import { parseLeveledAnnotation } from "../src/leveled-annotation.js";
import { writeTar } from "../src/tar.js";
import { all, temporaryDirectory, writeFiles } from "./support.js";

const amd64 = parsePlatform("linux/amd64");
const arm64 = parsePlatform("linux/arm64");
const armv7 = parsePlatform("linux/arm/v7");

let cwd: string;
let store: MemoryStore;

beforeEach(async () => {
  delete process.env.SOURCE_DATE_EPOCH;
  cwd = await temporaryDirectory();
  store = new MemoryStore();
  await writeFiles(cwd, {
    "dist/linux_amd64/server": "for amd64",
    "dist/linux_arm64/server": "for arm64",
    "dist/linux_armv7/server": "for armv7",
    "app/main.js": "1",
    "app/lib/a.js": "a",
    "etc/app.conf": "x=1",
  });
});

function buildFor(platforms: readonly Platform[], options: Partial<BuildOptions> = {}) {
  return buildIndex(store, { cwd, files: ["app"], ...options, platforms } as BuildIndexOptions);
}

async function json<T>(descriptor: Descriptor): Promise<T> {
  return parseJson(await readBytes(store, descriptor), descriptor.digest) as T;
}

async function pathsOf({ descriptor }: BuiltImage): Promise<string[]> {
  const paths: string[] = [];
  for await (const { path, type } of listFiles(store, descriptor, {})) if (type === "file") paths.push(path);
  return paths;
}

const annotate = (...texts: string[]) => texts.flatMap(parseLeveledAnnotation);

describe("building for several platforms", () => {
  it("makes an index of an image for each, whose files are those of the platform", async () => {
    const files = ["dist/{os}_{arch}{variant}/server:/server:755", "[linux/arm64]etc:/etc", "app:/app/{arch}"];
    const result = await buildFor([arm64, armv7, amd64], { files, layers: ["[linux/amd64]etc/app.conf:/only"] });
    const index = await json<ImageIndex>(result.descriptor);
    expect(index).toEqual({
      schemaVersion: 2,
      mediaType: mediaTypes.index,
      manifests: result.images.map((image) => image.descriptor),
    });
    expect(index.manifests.map(({ platform }) => formatPlatform(platform as Platform))).toEqual([
      "linux/amd64",
      "linux/arm/v7",
      "linux/arm64",
    ]);
    const expected = { "linux/amd64": "for amd64", "linux/arm/v7": "for armv7", "linux/arm64": "for arm64" };
    for (const [name, content] of Object.entries(expected)) {
      const bytes = await all(cat(store, result.descriptor, "/server", { platform: parsePlatform(name) }));
      expect(bytes.toString()).toBe(content);
    }
    expect(await Promise.all(result.images.map(pathsOf))).toEqual([
      ["app/amd64/lib/a.js", "app/amd64/main.js", "only", "server"],
      ["app/arm/lib/a.js", "app/arm/main.js", "server"],
      ["app/arm64/lib/a.js", "app/arm64/main.js", "etc/app.conf", "server"],
    ]);
    expect(result.images.map(({ layers }) => layers.length)).toEqual([2, 1, 1]);
  });

  it("makes the same index in whatever order they are named, and tags it last", async () => {
    const one = await buildFor([amd64, arm64], { tags: ["v1"] } as object);
    const other = await buildFor([arm64, amd64]);
    expect(other.descriptor).toEqual(one.descriptor);
    expect((await store.resolve("v1")).digest).toBe(one.descriptor.digest);
    // Its images have no entries of their own.
    expect((await store.index()).manifests).toHaveLength(1);
  });

  it("keeps the base of each platform", async () => {
    const base = await buildFor([amd64, arm64], { files: ["dist/{os}_{arch}:/base"] });
    const result = await buildFor([amd64, arm64], { base: { source: store, reference: base.descriptor } });
    for (const [at, image] of result.images.entries()) {
      expect(image.layers[0]).toEqual(base.images[at]?.layers[0]);
      const { annotations } = await json<ImageManifest>(image.descriptor);
      expect(annotations?.[annotationKeys.baseDigest]).toBe(base.images[at]?.descriptor.digest);
    }
  });

  it("refuses one twice, under whatever name, and one that its base has not", async () => {
    for (const twice of ["linux/amd64/v1", "x86_64"])
      await expect(buildFor([amd64, parsePlatform(twice)])).rejects.toSatisfy((error) => isOciError(error, "CONFLICT"));
    const base = await buildFor([amd64, arm64]);
    await expect(buildFor([amd64, armv7], { base: { source: store, reference: base.descriptor } })).rejects.toSatisfy(
      (error) => isOciError(error, "NOT_FOUND"),
    );
    const before = (await store.index()).manifests.length;
    await expect(buildFor([amd64, armv7], { files: ["[linux/amd64]app"] })).rejects.toThrow(/without a layer/);
    expect((await store.index()).manifests).toHaveLength(before);
  });

  it("knows versions and features of a system", async () => {
    const windows = parsePlatform("windows(10.0.20348.169+win32k)/amd64");
    const { images } = await buildFor([windows, parsePlatform("windows/amd64:10.0.17763.1")]);
    expect(images.map(({ platform }) => platform["os.version"])).toEqual(["10.0.17763.1", "10.0.20348.169"]);
    const config = parseConfig(await readBytes(store, (images[1] as BuiltImage).config), "the config");
    expect(config).toMatchObject({ os: "windows", "os.version": "10.0.20348.169", "os.features": ["win32k"] });
    const arm = await build(store, { cwd, files: ["app"], platform: armv7 });
    expect(await json(arm.config)).toMatchObject({ architecture: "arm", variant: "v7" });
  });
});

describe("annotations", () => {
  it("are of the level that stands before them, as buildx reads them", async () => {
    expect(annotate("a=b:c=d")).toEqual([{ level: "manifest", key: "a", value: "b:c=d" }]);
    expect(annotate("index,manifest-descriptor[linux/arm64]:k=")).toEqual([
      { level: "index", key: "k", value: "" },
      { level: "manifest-descriptor", platform: arm64, key: "k", value: "" },
    ]);
    for (const wrong of ["index:a", "index:=b", "a", ""])
      expect(() => annotate(wrong), wrong).toThrow(expect.objectContaining({ code: "INVALID" }));
    // A key may look like one.
    expect(annotate("other:a=b")).toEqual([{ level: "manifest", key: "other:a", value: "b" }]);
  });

  it("stand on manifests, on entries of the index, on the index and on its entry, of one platform or all", async () => {
    const annotations = annotate(
      ...["b=all", "manifest[linux/arm64]:a=arm", "manifest-descriptor[linux/amd64]:d=amd"],
      ...["index:i=index", "index-descriptor:e=entry"],
    );
    const result = await buildFor([amd64, arm64], { annotations, tags: ["v1"] } as object);
    const manifests = await Promise.all(result.images.map(({ descriptor }) => json<ImageManifest>(descriptor)));
    expect(manifests.map((manifest) => manifest.annotations)).toEqual([{ b: "all" }, { a: "arm", b: "all" }]);
    const index = await json<ImageIndex>(result.descriptor);
    expect(index.annotations).toEqual({ i: "index" });
    expect(index.manifests.map((entry) => entry.annotations)).toEqual([{ d: "amd" }, undefined]);
    expect((await store.index()).manifests[0]?.annotations).toEqual({ e: "entry", [annotationKeys.refName]: "v1" });
  });

  it("of an index are refused where there is none, and those of an entry stand in index.json", async () => {
    for (const annotation of ["index:a=b", "index-descriptor:a=b"])
      await expect(build(store, { cwd, files: ["app"], annotations: annotate(annotation) })).rejects.toSatisfy(
        (error) => isOciError(error, "INVALID"),
      );
    await build(store, { cwd, files: ["app"], annotations: annotate("manifest-descriptor:a=b"), tags: ["v1"] });
    expect((await store.index()).manifests[0]?.annotations).toMatchObject({ a: "b" });
  });
});

describe("content in descriptors", () => {
  it("is there up to the size that is asked for, is stored as well, and nowhere by default", async () => {
    await writeFiles(cwd, { "large/x": Buffer.from(Array.from({ length: 5000 }, (_, at) => (at * 7919) % 251)) });
    const options = { cwd, files: ["app"], layers: [{ files: ["large"] }], platform: amd64 };
    const plain = await json<ImageManifest>((await build(store, options)).descriptor);
    expect(JSON.stringify(plain)).not.toContain('"data"');
    const result = await build(store, { ...options, dataMax: 400 });
    const { config, layers } = await json<ImageManifest>(result.descriptor);
    expect(layers.map((layer) => layer.data === undefined)).toEqual([true, false]);
    for (const descriptor of [config, layers[1] as Descriptor]) {
      expect(Buffer.from(embeddedData(descriptor) ?? [])).toEqual(Buffer.from(await readBytes(store, descriptor)));
      expect(await store.has(descriptor)).toBe(true);
    }
    const { descriptor } = await buildFor([amd64], { dataMax: 4000 });
    const [entry] = (await json<ImageIndex>(descriptor)).manifests;
    expect(embeddedData(entry as Descriptor)).toBeDefined();
  });
});

describe("layers", () => {
  it("are one for each group, each tar, and each mapping where that is asked for", async () => {
    const tar = await all(writeTar([{ name: "t", type: "file", mode: 0o644, uid: 0, gid: 0, mtime: 0, size: 0 }]));
    await writeFile(join(cwd, "x,y.tar"), tar);
    const result = await build(store, {
      cwd,
      layers: ["app/lib:/lib,etc:/etc::7:8", "x,y.tar", "app/{main,other}.js:/m", "a\\,b:/c"].slice(0, 3),
      files: ["app", "etc"],
      split: true,
    });
    expect(result.layers).toHaveLength(5);
    const names: string[][] = [];
    for (const at of result.layers.keys()) {
      const files: string[] = [];
      for await (const file of listFiles(store, result.descriptor, { layer: at + 1 }))
        if (file.type === "file") files.push(`${file.path} ${file.uid}`);
      names.push(files);
    }
    expect(names).toEqual([
      ["etc/app.conf 7", "lib/a.js 0"],
      ["t 0"],
      ["m/main.js 0"],
      ["app/lib/a.js 0", "app/main.js 0"],
      ["etc/app.conf 0"],
    ]);
    await expect(build(store, { cwd, layers: ["missing.tar"] })).rejects.toSatisfy((error) =>
      isOciError(error, "NOT_FOUND"),
    );
  });

  it("have a history that says what is asked for", async () => {
    const { config } = await build(store, {
      cwd,
      files: ["app"],
      history: { created_by: "make image", comment: "nightly", author: "ci" },
      created: new Date(0),
    });
    expect(await json(config)).toMatchObject({
      history: [{ created: "1970-01-01T00:00:00Z", created_by: "make image", comment: "nightly", author: "ci" }],
    });
  });
});

describe("the configuration", () => {
  it("has everything that can be said of a container", async () => {
    const healthcheck = parseHealthcheck({ test: ["curl localhost"], interval: "30s", timeout: "1.5s", retries: "3" });
    const { config } = await build(store, {
      cwd,
      files: ["app"],
      platform: amd64,
      author: "me",
      user: "1000:1000",
      exposedPorts: ["80", "53/udp"],
      volumes: ["/data"],
      stopSignal: "SIGINT",
      labels: { b: "2", a: "1" },
      ...(healthcheck === undefined ? {} : { healthcheck }),
    });
    expect(await json(config)).toMatchObject({
      author: "me",
      config: {
        User: "1000:1000",
        ExposedPorts: { "53/udp": {}, "80/tcp": {} },
        Volumes: { "/data": {} },
        StopSignal: "SIGINT",
        Labels: { a: "1", b: "2" },
        Healthcheck: { Test: ["CMD-SHELL", "curl localhost"], Interval: 30e9, Timeout: 1.5e9, Retries: 3 },
      },
    });
  });

  it("has a health check as people write it", () => {
    expect(parseHealthcheck({})).toBeUndefined();
    expect(parseHealthcheck({ test: ["none"] })).toEqual({ Test: ["NONE"] });
    expect(parseHealthcheck({ test: ["a", "b"] })).toEqual({ Test: ["CMD", "a", "b"] });
    expect(parseHealthcheck({ test: ['["a"]'], startPeriod: "5m" })).toEqual({
      Test: ["CMD", "a"],
      StartPeriod: 300e9,
    });
    for (const wrong of [{ interval: "soon" }, { retries: "-1" }, { test: ["[1]"] }])
      expect(() => parseHealthcheck(wrong)).toThrow(expect.objectContaining({ code: "INVALID" }));
  });
});

describe("an image of WebAssembly", () => {
  it.each(["wasip1/wasm", "wasi/wasm", "wasi/wasm32"])("is for the platform %s", async (text) => {
    await writeFiles(cwd, { "app.wasm": Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]) });
    const layout = await Layout.create(join(cwd, "layout"));
    const result = await build(layout, {
      cwd,
      files: ["app.wasm:/"],
      platform: parsePlatform(text),
      entrypoint: ["/app.wasm"],
      tags: ["v1"],
    });
    const [os, architecture] = text.split("/");
    expect(await layout.resolve("v1")).toMatchObject({ platform: { os, architecture } });
    const config = parseConfig(await readBytes(layout, result.config), "the config");
    expect(config).toMatchObject({ os, architecture, config: { Entrypoint: ["/app.wasm"] } });
    expect(await all(cat(layout, result.descriptor, "/app.wasm", { platform: parsePlatform(text) }))).toHaveLength(8);
  });

  it("stands beside images for processors in one index, and may say that it is a compatible one", async () => {
    await writeFiles(cwd, { "app.wasm": "x" });
    const { images } = await buildFor([parsePlatform("wasip1/wasm"), amd64], {
      files: ["[wasip1/wasm]app.wasm:/", "[linux/amd64]dist/{os}_{arch}/server:/"],
      annotations: annotate("manifest[wasip1/wasm]:module.wasm.image/variant=compat"),
    });
    const manifests = await Promise.all(images.map(({ descriptor }) => json<ImageManifest>(descriptor)));
    expect(manifests.map(({ annotations }) => annotations?.["module.wasm.image/variant"])).toEqual([
      undefined,
      "compat",
    ]);
  });
});
