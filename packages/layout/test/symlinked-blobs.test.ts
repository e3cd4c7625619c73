import { mkdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  ArchiveSource,
  ArchiveTarget,
  copy,
  type Descriptor,
  descriptorOf,
  Layout,
  mediaTypes,
  verify,
} from "@stowage/layout";
import { beforeEach, describe, expect, it } from "vitest";
import { bytesOf, failure, filesBelow, pushImage, temporaryDirectory, utf8 } from "./support.js";

const layer = descriptorOf(utf8("a layer"), mediaTypes.layer);
let directory: string;
let store: string;
let path: string;
let image: Descriptor;

/** A layout whose layer is a symbolic link into `store`. */
beforeEach(async () => {
  directory = await temporaryDirectory();
  store = join(directory, "store");
  path = join(directory, "layout");
  await mkdir(store);
  const layout = await Layout.create(path);
  image = await pushImage(layout);
  await layout.tag("v1", image);
  await rename(layout.blobPath(layer.digest), join(store, "layer.tar"));
  await symlink(join(store, "layer.tar"), layout.blobPath(layer.digest));
});

async function replaceLink(target: string): Promise<void> {
  const blob = (await Layout.open(path)).blobPath(layer.digest);
  await rm(blob);
  await symlink(target, blob);
}

describe("a blob that is a symbolic link", () => {
  it("is refused", async () => {
    const layout = await Layout.open(path);
    await failure(bytesOf(layout.fetch(layer)), "DENIED");
    expect(await layout.has(layer)).toBe(false);
  });

  it("is read where it leads into a directory that was named", async () => {
    const layout = await Layout.open(path, { allowRoots: ["/nowhere", store] });
    expect((await bytesOf(layout.fetch(layer))).toString()).toBe("a layer");
    expect((await bytesOf(layout.fetch(layer, { from: 2 }))).toString()).toBe("layer");
    expect(await layout.has(layer)).toBe(true);
    expect(await verify(layout, [{ name: "v1", descriptor: image }])).toMatchObject({ findings: [] });
  });

  it.each<[string, () => Promise<string>]>([
    [
      "out of it",
      async () => {
        await writeFile(join(directory, "outside"), "a layer");
        return join(directory, "outside");
      },
    ],
    [
      "out of it by way of another link in it",
      async () => {
        await writeFile(join(directory, "outside"), "a layer");
        await symlink(join(directory, "outside"), join(store, "link"));
        return join(store, "link");
      },
    ],
    [
      "into a directory whose name only starts the same",
      async () => {
        await mkdir(`${store}-other`);
        await writeFile(join(`${store}-other`, "layer"), "a layer");
        return join(`${store}-other`, "layer");
      },
    ],
    [
      "out of it by ..",
      async () => {
        await writeFile(join(directory, "outside"), "a layer");
        return join(store, "..", "outside");
      },
    ],
    ["to itself", async () => (await Layout.open(path)).blobPath(layer.digest)],
    [
      "to a directory in it",
      async () => {
        await mkdir(join(store, "sub"));
        return join(store, "sub");
      },
    ],
  ])("is refused all the same where it leads %s", async (_where, target) => {
    await replaceLink(await target());
    const layout = await Layout.open(path, { allowRoots: [store] });
    await failure(bytesOf(layout.fetch(layer)), "DENIED");
    expect(await layout.has(layer)).toBe(false);
  });

  it("is read where the named directory is a link itself", async () => {
    await symlink(store, join(directory, "alias"));
    const layout = await Layout.open(path, { allowRoots: [join(directory, "alias")] });
    expect((await bytesOf(layout.fetch(layer))).toString()).toBe("a layer");
  });

  it("is MISMATCH where the file has other bytes, and NOT_FOUND where there is none", async () => {
    const layout = await Layout.open(path, { allowRoots: [store] });
    await writeFile(join(store, "layer.tar"), "b layer");
    await failure(bytesOf(layout.fetch(layer)), "MISMATCH");
    await rm(join(store, "layer.tar"));
    await failure(bytesOf(layout.fetch(layer)), "NOT_FOUND");
    expect(await layout.has(layer)).toBe(false);
  });

  it("goes into an archive and into another layout as its bytes", async () => {
    const source = await Layout.open(path, { allowRoots: [store] });
    const file = join(directory, "out.tar");
    const archive = await ArchiveTarget.create(file);
    await copy(source, archive, "v1", { tags: ["v1"] });
    await archive.close();
    const target = await Layout.create(join(directory, "target"), { hardlink: true });
    await copy(source, target, "v1", { tags: ["v1"] });
    await rm(store, { recursive: true });
    const opened = await ArchiveSource.open(file);
    try {
      expect((await bytesOf(opened.fetch(layer))).toString()).toBe("a layer");
    } finally {
      await opened.close();
    }
    expect((await bytesOf(target.fetch(layer))).toString()).toBe("a layer");
    expect(await filesBelow(join(directory, "target", "blobs"))).toHaveLength(3);
  });
});
