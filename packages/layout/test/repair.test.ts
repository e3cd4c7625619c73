import { mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  ArchiveSource,
  ArchiveTarget,
  copy,
  type Descriptor,
  Layout,
  MemoryStore,
  mediaTypes,
  repair,
  verify,
} from "@stowage/layout";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  filesBelow,
  pushBytes,
  pushImage,
  pushIndex,
  pushManifest,
  pushReferrer,
  temporaryDirectory,
} from "./support.js";

/** A layout with an index of two images that share a layer, a referrer of a referrer, and a list of each. */
async function fill(layout: Layout): Promise<Descriptor> {
  const images = [
    await pushImage(layout, { layers: ["one", "shared"] }),
    await pushImage(layout, { layers: ["two", "shared"] }),
  ];
  const root = await pushIndex(layout, images);
  await layout.tag("v1", root);
  await pushReferrer(layout, await pushReferrer(layout, images[0] as Descriptor), "application/x-signature");
  return root;
}

async function newLayout(name = "layout"): Promise<Layout> {
  return Layout.create(join(await temporaryDirectory(), name));
}

async function contents(layout: Layout): Promise<Map<string, string>> {
  const names = await filesBelow(join(layout.path, "blobs"));
  const read = names.map(
    async (name): Promise<[string, string]> => [
      name,
      (await readFile(join(layout.path, "blobs", name))).toString("base64"),
    ],
  );
  return new Map(await Promise.all(read));
}

async function damage(layout: Layout, name: string, how: number): Promise<void> {
  const path = join(layout.path, "blobs", name);
  const bytes = await readFile(path);
  if (how === 0) await rm(path);
  else if (how === 1) await writeFile(path, bytes.subarray(0, bytes.length - 1));
  else if (how === 2) await writeFile(path, Buffer.concat([bytes, Buffer.from("x")]));
  else {
    const bit = how % (bytes.length * 8);
    bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
    await writeFile(path, bytes);
  }
}

describe("repairing", () => {
  it("ends digest-equal, whichever blobs were damaged or gone", async () => {
    const [layout, source] = [await newLayout(), await newLayout("source")];
    await fill(layout);
    await fill(source);
    const whole = await contents(layout);
    const names = [...whole.keys()];
    const faults = fc.dictionary(fc.constantFrom(...names), fc.nat(5000), { maxKeys: names.length });
    await fc.assert(
      fc.asyncProperty(faults, async (chosen) => {
        for (const [name, how] of Object.entries(chosen)) await damage(layout, name, how);
        const report = await repair(layout, [source]);
        expect(report.unrepaired).toEqual([]);
        expect(await contents(layout)).toEqual(whole);
        expect(report.repaired).toHaveLength(Object.keys(chosen).length);
      }),
      { numRuns: 60 },
    );
    expect((await repair(layout, [])).repaired).toEqual([]);
  });

  it("asks the sources in turn, and names each place and where its content came from", async () => {
    const [layout, second] = [await newLayout(), await newLayout("second")];
    const root = await fill(layout);
    await fill(second);
    const archive = join(await temporaryDirectory(), "part.tar");
    const target = await ArchiveTarget.create(archive);
    const other = new MemoryStore();
    await copy(other, target, await pushImage(other, { layers: ["one"] }), { tags: ["v1"] });
    await target.close();
    const one = await pushBytes(layout, "one", mediaTypes.layer);
    const two = await pushBytes(layout, "two", mediaTypes.layer);
    await rm(layout.blobPath(one.digest));
    await writeFile(layout.blobPath(two.digest), "TWO");
    const first = await ArchiveSource.open(archive);
    try {
      const report = await repair(layout, [first, second]);
      expect(report.repaired.map(({ was, from, path }) => [was, from, path.join(" > ")])).toEqual([
        ["missing", first.name, "v1 > manifests[0] > layers[0]"],
        ["corrupt", second.name, "v1 > manifests[1] > layers[0]"],
      ]);
      expect((await verify(layout, [{ name: "v1", descriptor: root }])).findings).toEqual([]);
    } finally {
      await first.close();
    }
  });

  it("tells what no source has, and repairs the rest", async () => {
    const [layout, source] = [await newLayout(), await newLayout("source")];
    await fill(layout);
    await fill(source);
    const one = await pushBytes(layout, "one", mediaTypes.layer);
    const two = await pushBytes(layout, "two", mediaTypes.layer);
    for (const { digest } of [one, two]) await rm(layout.blobPath(digest));
    // What a source has wrong is not taken.
    await writeFile(source.blobPath(one.digest), "ONE");
    const report = await repair(layout, [source]);
    expect(report.repaired.map(({ descriptor }) => descriptor.digest)).toEqual([two.digest]);
    expect(report.unrepaired.map(({ descriptor, state }) => [descriptor.digest, state])).toEqual([
      [one.digest, "missing"],
    ]);
    expect(report.unrepaired[0]?.errors[0]).toContain(source.name);
    expect((await filesBelow(layout.path)).some((name) => name.startsWith("ingest/"))).toBe(false);
  });

  it("replaces a link in place of a blob, and leaves a directory there alone", async () => {
    const [layout, source] = [await newLayout(), await newLayout("source")];
    await fill(layout);
    await fill(source);
    const one = await pushBytes(layout, "one", mediaTypes.layer);
    const two = await pushBytes(layout, "two", mediaTypes.layer);
    const outside = join(await temporaryDirectory(), "outside");
    await writeFile(outside, "mine");
    for (const { digest } of [one, two]) await rm(layout.blobPath(digest));
    await symlink(outside, layout.blobPath(one.digest));
    await mkdir(join(layout.blobPath(two.digest), "inside"), { recursive: true });
    const report = await repair(layout, [source]);
    expect(report.repaired.map(({ descriptor }) => descriptor.digest)).toEqual([one.digest]);
    expect(report.unrepaired.map(({ descriptor }) => descriptor.digest)).toEqual([two.digest]);
    expect(await readFile(outside, "utf8")).toBe("mine");
  });

  it("does not ask for content that is to be found elsewhere", async () => {
    const layout = await newLayout();
    const layer = {
      ...(await pushBytes(new MemoryStore(), "foreign", mediaTypes.layer)),
      urls: ["https://example.com/layer"],
    };
    const config = await pushBytes(layout, "{}", "application/x-test");
    await layout.tag("v1", await pushManifest(layout, { config, layers: [layer] }));
    const report = await repair(layout, []);
    expect([report.repaired, report.unrepaired]).toEqual([[], []]);
  });
});
