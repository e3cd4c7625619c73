import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as zlib from "node:zlib";
import { gzipSync } from "node:zlib";
import {
  type Descriptor,
  descriptorOf,
  digestOf,
  encodeJson,
  type Finding,
  Layout,
  MemoryStore,
  mediaTypes,
  referrersTag,
  type VerifyOptions,
  verify,
  verifyLayout,
} from "@stowage/layout";
import { describe, expect, it } from "vitest";
import {
  handMadeLayout,
  named,
  pushBytes,
  pushImage,
  pushIndex,
  pushManifest,
  pushReferrer,
  put,
  temporaryDirectory,
  utf8,
} from "./support.js";

async function newLayout(): Promise<Layout> {
  return Layout.create(join(await temporaryDirectory(), "layout"));
}

async function findings(source: Layout | MemoryStore, root: Descriptor, options: VerifyOptions): Promise<string[]> {
  const report = await verify(source, [{ name: "v1", descriptor: root }], options);
  return report.findings.map(line);
}

const line = ({ severity, state, path }: Finding): string => `${severity} ${state}: ${path.join(" > ")}`;

async function imageOf(store: Layout | MemoryStore, layer: Descriptor, diffId: string): Promise<Descriptor> {
  const config = await pushBytes(
    store,
    encodeJson({ rootfs: { type: "layers", diff_ids: [diffId] } }),
    mediaTypes.config,
  );
  return pushManifest(store, { config, layers: [layer] });
}

describe("verifying fast", () => {
  it("looks at sizes and structure and reads no layer", async () => {
    const layout = await newLayout();
    const image = await pushImage(layout, { layers: ["one", "two", "three"] });
    const [one, two, three] = ["one", "two", "three"].map((text) => descriptorOf(utf8(text), mediaTypes.layer).digest);
    if (one === undefined || two === undefined || three === undefined) throw new Error("there are three");
    await writeFile(layout.blobPath(one), "ONE");
    await writeFile(layout.blobPath(two), "twofold");
    await rm(layout.blobPath(three));
    expect(await findings(layout, image, { level: "fast" })).toEqual([
      "error corrupt: v1 > layers[1]",
      "error missing: v1 > layers[2]",
    ]);
    expect(await findings(layout, image, {})).toHaveLength(3);
  });
});

describe("verifying in full", () => {
  const tar = Buffer.alloc(300_000, "the content of a layer ");

  it("unpacks layers and compares them with the diff_ids", async () => {
    const store = new MemoryStore();
    const plain = await pushBytes(store, tar, mediaTypes.layer);
    const half = tar.byteLength / 2;
    const members = Buffer.concat([gzipSync(tar.subarray(0, half)), gzipSync(tar.subarray(half))]);
    const gzip = await pushBytes(store, members, mediaTypes.layerGzip);
    const broken = await pushBytes(store, gzipSync(tar).subarray(0, 200), mediaTypes.layerGzip);
    const other = digestOf("other");
    const cases: [Descriptor, string, string[]][] = [
      [plain, plain.digest, []],
      [gzip, plain.digest, []],
      [plain, other, ["error invalid: v1"]],
      [gzip, gzip.digest, ["error invalid: v1"]],
      [broken, plain.digest, ["error invalid: v1"]],
      [plain, "sha256:short", ["error invalid: v1"]],
      [plain, "other:abc", ["note unverifiable: v1"]],
      [{ ...plain, mediaType: "application/x-tar+xz" }, plain.digest, ["note unverifiable: v1"]],
    ];
    for (const [layer, diffId, expected] of cases) {
      const image = await imageOf(store, layer, diffId);
      expect([layer.mediaType, diffId, await findings(store, image, { level: "full" })]).toEqual([
        layer.mediaType,
        diffId,
        expected,
      ]);
      expect(await findings(store, image, {})).toEqual([]);
    }
  });

  it("unpacks zstd where Node can, and says so where it cannot", async () => {
    const store = new MemoryStore();
    const compress = (zlib as { zstdCompressSync?: (bytes: Uint8Array) => Uint8Array }).zstdCompressSync;
    const layer = await pushBytes(store, compress?.(tar) ?? "any bytes", mediaTypes.layerZstd);
    const image = await imageOf(store, layer, digestOf(tar));
    expect(await findings(store, image, { level: "full" })).toEqual(
      compress === undefined ? ["note unverifiable: v1"] : [],
    );
    const wrong = await imageOf(store, layer, digestOf("other"));
    expect(await findings(store, wrong, { level: "full" })).toEqual([
      compress === undefined ? "note unverifiable: v1" : "error invalid: v1",
    ]);
  });
});

describe("content that is not there", () => {
  it("is an error, unless the layout is meant to be sparse", async () => {
    const layout = await newLayout();
    const images = [await pushImage(layout, { layers: ["one"] }), await pushImage(layout, { layers: ["two"] })];
    const root = await pushIndex(layout, images);
    await rm(layout.blobPath((images[0] as Descriptor).digest));
    await writeFile(layout.blobPath(descriptorOf(utf8("two"), mediaTypes.layer).digest), "TWO");
    expect(await findings(layout, root, {})).toEqual([
      "error missing: v1 > manifests[0]",
      "error corrupt: v1 > manifests[1] > layers[0]",
    ]);
    expect(await findings(layout, root, { sparse: true })).toEqual([
      "note missing: v1 > manifests[0]",
      "error corrupt: v1 > manifests[1] > layers[0]",
    ]);
  });

  it("is external where its descriptor has urls or a type that must not be distributed, and is checked where it is there", async () => {
    const layout = await newLayout();
    const config = await pushBytes(layout, "{}", "application/x-test");
    const elsewhere = { ...descriptorOf(utf8("a"), mediaTypes.layer), urls: ["https://example.com/a"] };
    const foreign = descriptorOf(utf8("b"), "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
    const image = await pushManifest(layout, { config, layers: [elsewhere, foreign] });
    expect(await findings(layout, image, {})).toEqual([
      "note external: v1 > layers[0]",
      "note external: v1 > layers[1]",
    ]);
    await pushBytes(layout, "a", mediaTypes.layer);
    await put(layout.path, `blobs/sha256/${foreign.digest.slice(7)}`, "B");
    expect(await findings(layout, image, {})).toEqual(["error corrupt: v1 > layers[1]"]);
  });
});

describe("a layout as a whole", () => {
  const about = async (layout: Layout): Promise<string[]> => (await verifyLayout(layout)).map(line);

  it("has nothing to tell of where only Stowage wrote it", async () => {
    const layout = await newLayout();
    const image = await pushImage(layout);
    await layout.tag("v1", image);
    await pushReferrer(layout, image);
    expect(await about(layout)).toEqual([]);
  });

  it("tells of names that stand for several manifests", async () => {
    const layout = await newLayout();
    const [one, two] = [await pushImage(layout, { layers: ["1"] }), await pushImage(layout, { layers: ["2"] })];
    await layout.update((index) => ({ ...index, manifests: [named(one, "v1"), named(two, "v1"), named(one, "v2")] }));
    expect(await about(layout)).toEqual(["warning ambiguous: v1"]);
  });

  it("tells of blobs that nothing leads to and of temporary files", async () => {
    const layout = await newLayout();
    const stray = await pushBytes(layout, "stray", mediaTypes.layer);
    await put(layout.path, "blobs/sha256/README", "hello");
    await put(layout.path, "ingest/left", "half");
    expect(await about(layout)).toEqual([
      `note unreferenced: blobs/sha256/${stray.digest.slice(7)}`,
      "note unreferenced: blobs/sha256/README",
      "note leftover: ingest/left",
    ]);
  });

  it("tells of lists of referrers that lie, and of referrers that a form does not show", async () => {
    const path = join(await temporaryDirectory(), "layout");
    const store = new MemoryStore();
    const [one, two] = [await pushImage(store, { layers: ["1"] }), await pushImage(store, { layers: ["2"] })];
    const [ofOne, ofTwo] = [await pushReferrer(store, one, "a/one"), await pushReferrer(store, two, "a/two")];
    const list = await pushIndex(store, [ofTwo]);
    await handMadeLayout(path, { manifests: [] });
    const layout = await Layout.open(path);
    for (const descriptor of [one, two, ofOne, ofTwo, list]) {
      await put(path, `blobs/sha256/${descriptor.digest.slice(7)}`, await bytesIn(store, descriptor));
    }
    const manifests = [named(one, "1"), named(two, "2"), ofOne, named(list, referrersTag(one.digest))];
    await layout.update((index) => ({ ...index, manifests }));
    const seen = (await about(layout)).filter((text) => text.includes("referrers:"));
    expect(seen.sort()).toEqual(
      [
        `note referrers: ${two.digest} > referrer a/two`,
        `warning referrers: ${one.digest} > referrer a/one`,
        `warning referrers: ${referrersTag(one.digest)}`,
      ].sort(),
    );
  });
});

async function bytesIn(store: MemoryStore, descriptor: Descriptor): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of store.fetch(descriptor)) chunks.push(chunk);
  return Buffer.concat(chunks);
}
