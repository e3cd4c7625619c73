import { cp, mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type CompressedLayer, digestOf, gc, isOciError, Layout, oddFiles } from "@stowage/layout";
import { beforeEach, describe, expect, it } from "vitest";
import { build } from "../src/build.js";
import { type LayerOptions, writeLayer } from "../src/layer.js";
import type { LayerSource } from "../src/layer-source.js";
import { all, sampleBytes, temporaryDirectory, writeFiles } from "./support.js";

let root: string;
let layout: Layout;
/** How often a layer was compressed and stored, and not found. */
let written: number;

beforeEach(async () => {
  root = await temporaryDirectory();
  await writeFiles(root, { "app/a": sampleBytes(200_000), "app/b": "b" });
  layout = await Layout.create(join(root, "layout"));
  written = 0;
});

function write(options: LayerOptions = {}, source: LayerSource = { files: ["app"] }) {
  const target = {
    compressedLayers: layout.compressedLayers,
    write: (...args: Parameters<Layout["write"]>) => {
      written++;
      return layout.write(...args);
    },
  };
  return writeLayer(target, source, { cwd: root, ...options });
}

const recordsOf = async (): Promise<string[]> => (await readdir(join(root, "layout/.stowage-layers"))).sort();

async function recordPath(): Promise<string> {
  return join(root, "layout/.stowage-layers", (await recordsOf())[0] as string);
}

describe("a layer that was compressed before", () => {
  it("is not compressed again: it is found by its tar and its compressor", async () => {
    const first = await write();
    expect(await write()).toEqual(first);
    expect(written).toBe(1);
    for (const options of [{ level: 1 }, { compression: "gzip-native" }] as const) {
      const other = await write(options);
      expect(other.diffId).toBe(first.diffId);
      expect(await write(options)).toEqual(other);
    }
    expect(written).toBe(3);
    await writeFiles(root, { "app/b": "c" });
    expect((await write()).diffId).not.toBe(first.diffId);
    expect(written).toBe(4);
    expect(await recordsOf()).toHaveLength(4);
  });

  it("is found for a tar that is given, too, and by another process", async () => {
    const tar = await all(layout.fetch((await write({ compression: "none" })).descriptor));
    await writeFile(join(root, "x.tar"), tar);
    const first = await write();
    layout = await Layout.open(join(root, "layout"));
    written = 0;
    expect(await write({}, { tar: "x.tar" })).toEqual(first);
    expect(written).toBe(0);
  });

  it("is found in a copy of the layout, too, where it is whole", async () => {
    const first = await write();
    for (const damage of [false, true]) {
      const copied = join(root, `copied-${damage}`);
      await cp(join(root, "layout"), copied, { recursive: true });
      layout = await Layout.open(copied);
      if (damage) await writeFile(layout.blobPath(first.descriptor.digest), Buffer.alloc(first.descriptor.size, 1));
      written = 0;
      // What was verified once is not verified again, and what is damaged later is.
      for (let again = 0; again < 2; again++) expect(await write()).toEqual(first);
      expect(written).toBe(damage ? 1 : 0);
      await writeFile(layout.blobPath(first.descriptor.digest), Buffer.alloc(first.descriptor.size, 2));
      expect(await write()).toEqual(first);
      expect(written).toBe(damage ? 2 : 1);
    }
  });

  it("tells of all its bytes, as when it is compressed", async () => {
    const counts = [0, 0];
    for (const at of [0, 1]) await write({ onBytes: (bytes) => (counts[at] = (counts[at] ?? 0) + bytes) });
    expect(counts[1]).toBe(counts[0]);
    expect(written).toBe(1);
  });

  it("has the same digest as in a layout that never saw it", async () => {
    const options = { cwd: root, files: ["app:/app"], tags: ["v1"] };
    const digests = new Set<string>();
    for (const name of ["layout", "layout", "other"])
      digests.add((await build(await Layout.create(join(root, name)), options)).descriptor.digest);
    expect(digests.size).toBe(1);
  });
});

describe("what is remembered of a layer never makes a wrong one", () => {
  it.each<[string, (record: CompressedLayer, path: string) => Promise<unknown>]>([
    ["the layer is damaged", async ({ descriptor }) => writeFile(layout.blobPath(descriptor.digest), "damaged")],
    [
      "the layer has the size it had, and other bytes",
      async ({ descriptor }) => writeFile(layout.blobPath(descriptor.digest), Buffer.alloc(descriptor.size)),
    ],
    ["the layer is gone", async ({ descriptor }) => rm(layout.blobPath(descriptor.digest))],
    ["the record is cut off", async (_record, path) => writeFile(path, (await readFile(path)).subarray(0, 40))],
    ["the record is none", async (_record, path) => writeFile(path, "[]")],
    ["the record is a directory", async (_record, path) => rm(path).then(() => mkdir(path))],
    ["the record is a link", async (_record, path) => rm(path).then(() => symlink("/dev/zero", path))],
    [
      "the record names the layer of another tar",
      async (record, path) => {
        const other = await layout.write([sampleBytes(100)], record.descriptor.mediaType);
        await writeFile(path, JSON.stringify({ ...record, descriptor: other }));
      },
    ],
    [
      "the record names a whole layer of another tar",
      async (record, path) => {
        await writeFiles(root, { "else/a": sampleBytes(200_000, 2) });
        const { descriptor } = await write({}, { files: ["else:/app"] });
        await writeFile(path, JSON.stringify({ ...record, descriptor }));
      },
    ],
  ])("where %s", async (_what, spoil) => {
    const first = await write();
    const path = await recordPath();
    await spoil(JSON.parse(await readFile(path, "utf8")) as CompressedLayer, path);
    written = 0;
    expect(await write()).toEqual(first);
    expect(written).toBe(1);
    expect(digestOf(await readFile(layout.blobPath(first.descriptor.digest)))).toBe(first.descriptor.digest);
  });

  it("and a directory of records that leads elsewhere is refused", async () => {
    await symlink(root, join(root, "layout/.stowage-layers"));
    await expect(Layout.open(join(root, "layout"))).rejects.toSatisfy((error) => isOciError(error, "DENIED"));
  });
});

describe("the records of layers", () => {
  it("are written by many at once, each whole", async () => {
    const layers = await Promise.all([...Array(8).keys()].map((at) => write({ level: 1 + (at % 4) })));
    expect(new Set(layers.map(({ diffId }) => diffId)).size).toBe(1);
    written = 0;
    await Promise.all([...Array(8).keys()].map((at) => write({ level: 1 + (at % 4) })));
    expect(written).toBe(0);
    expect(await recordsOf()).toHaveLength(4);
  });

  it("go with their layers when those are collected, and are no oddity", async () => {
    await build(layout, { cwd: root, files: ["app:/kept"], tags: ["v1"] });
    await write();
    expect(await recordsOf()).toHaveLength(2);
    expect(oddFiles([".stowage-layers"])).toEqual([]);
    await gc(layout, { grace: 0, dryRun: true });
    expect(await recordsOf()).toHaveLength(2);
    await gc(layout, { grace: 0 });
    expect(await recordsOf()).toHaveLength(1);
  });
});
