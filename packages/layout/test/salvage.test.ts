import { mkdir, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Descriptor, Layout, salvage, verify } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { pushImage, pushReferrer, temporaryDirectory } from "./support.js";

async function filled(): Promise<{ layout: Layout; path: string; image: Descriptor }> {
  const path = join(await temporaryDirectory(), "layout");
  const layout = await Layout.create(path);
  const image = await pushImage(layout, { layers: ["one", "two"] });
  await layout.tag("v1", image);
  await pushReferrer(layout, image, "application/x-signature");
  return { layout, path, image };
}

async function blobs(path: string): Promise<string[]> {
  return (await readdir(join(path, "blobs", "sha256"))).sort();
}

describe("salvage", () => {
  it("leaves a layout that is whole as it is", async () => {
    const { path } = await filled();
    const [before, index] = [await blobs(path), await readFile(join(path, "index.json"))];
    expect(await salvage(path)).toEqual({ path, blobs: [], entries: [] });
    expect(await blobs(path)).toEqual(before);
    expect(await readFile(join(path, "index.json"))).toEqual(index);
  });

  it("takes out each blob whose bytes are not what its name says, whatever was done to it", async () => {
    const { path } = await filled();
    const before = await blobs(path);
    for (const name of before) {
      const file = join(path, "blobs", "sha256", name);
      const bytes = await readFile(file);
      const changed = Buffer.from(bytes);
      changed[0] = (changed[0] ?? 0) ^ 1;
      for (const damage of [changed, bytes.subarray(1), Buffer.alloc(0), Buffer.concat([bytes, bytes])]) {
        // The empty blob stays what it is.
        if (damage.length === bytes.length && damage.equals(bytes)) continue;
        await writeFile(file, damage);
        expect((await salvage(path)).blobs).toEqual([`sha256:${name}`]);
        await writeFile(file, bytes);
      }
    }
    expect(await blobs(path)).toEqual(before);
  });

  it("takes entries out whose manifest is gone, so that every name in the index can be resolved and read", async () => {
    const { path, image } = await filled();
    await truncate(join(path, "blobs", "sha256", image.digest.slice(7)), 3);
    const report = await salvage(path);
    expect(report).toMatchObject({ blobs: [image.digest], entries: ["v1"] });
    const layout = await Layout.open(path);
    await expect(layout.resolve("v1")).rejects.toMatchObject({ code: "NOT_FOUND" });
    for (const entry of (await layout.index()).manifests) expect(await layout.size(entry.digest)).toBeDefined();
  });

  it("keeps good content where the index cannot be read, so that it need not be brought again", async () => {
    for (const [file, text] of [
      ["index.json", "{"],
      ["index.json", '{"schemaVersion":2,"manifests":[{"digest":7}]}'],
      ["oci-layout", "no JSON"],
      ["oci-layout", undefined],
      ["index.json", undefined],
    ] as const) {
      const { path, image } = await filled();
      const before = await blobs(path);
      if (text === undefined) await rm(join(path, file));
      else await writeFile(join(path, file), text);
      expect((await salvage(path)).index).toMatch(/./);
      expect(await blobs(path)).toEqual(before);
      const layout = await Layout.open(path);
      await layout.tag("v1", image);
      expect((await verify(layout, [{ name: "v1", descriptor: image }])).findings).toEqual([]);
    }
  });

  it("does not touch a directory that holds anything else", async () => {
    const directory = await temporaryDirectory();
    await mkdir(join(directory, "src"));
    await writeFile(join(directory, "index.json"), "not an index");
    await expect(salvage(directory)).rejects.toMatchObject({
      code: "CONFLICT",
      message: expect.stringContaining("src"),
    });
    expect((await readdir(directory)).sort()).toEqual(["index.json", "src"]);
    await expect(salvage(join(directory, "index.json"))).rejects.toMatchObject({ code: "CONFLICT" });
  });

  it("does nothing where there is nothing", async () => {
    const directory = await temporaryDirectory();
    for (const path of [directory, join(directory, "missing")])
      expect(await salvage(path)).toEqual({ path, blobs: [], entries: [] });
    expect(await readdir(directory)).toEqual([]);
  });
});
