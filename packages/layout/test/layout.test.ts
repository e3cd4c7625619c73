import { execFileSync } from "node:child_process";
import { mkdir, readdir, readFile, rm, stat, symlink, unlink } from "node:fs/promises";
import { join } from "node:path";
import { Layout, mediaTypes } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { all, failure, filesBelow, handMadeLayout, pushBytes, pushImage, put, temporaryDirectory } from "./support.js";

async function newLayout(): Promise<Layout> {
  return Layout.create(join(await temporaryDirectory(), "layout"));
}

describe("creating a layout", () => {
  it("makes the three parts the spec asks for, with parent directories", async () => {
    const path = join(await temporaryDirectory(), "a/b c/d");
    const layout = await Layout.create(path);
    expect(await readFile(join(path, "oci-layout"), "utf8")).toBe('{"imageLayoutVersion":"1.0.0"}');
    expect(JSON.parse(await readFile(join(path, "index.json"), "utf8"))).toEqual({
      schemaVersion: 2,
      mediaType: mediaTypes.index,
      manifests: [],
    });
    expect((await stat(join(path, "blobs"))).isDirectory()).toBe(true);
    expect(await all(layout.tags())).toEqual([]);
    expect(layout).toMatchObject({ path, name: `oci:${path}`, closed: false });
  });

  it("opens the one that is there and changes nothing in it", async () => {
    const first = await newLayout();
    await first.tag("v1", await pushImage(first));
    await put(first.path, "README", "not ours");
    const before = await filesBelow(first.path);
    const second = await Layout.create(first.path);
    expect(await all(second.tags())).toEqual(["v1"]);
    expect(await filesBelow(first.path)).toEqual(before);
  });

  it("completes one whose maker died on the way", async () => {
    const path = await temporaryDirectory();
    await mkdir(join(path, "blobs/sha256"), { recursive: true });
    await mkdir(join(path, "ingest"));
    expect(await all((await Layout.create(path)).tags())).toEqual([]);
  });

  it("refuses a directory that holds anything else, and leaves it as it is", async () => {
    const path = await temporaryDirectory();
    await put(path, "thesis.txt", "years of work");
    expect((await failure(Layout.create(path), "CONFLICT")).message).toContain("thesis.txt");
    expect(await readdir(path)).toEqual(["thesis.txt"]);
  });

  it("takes the root of a file system, which holds nothing but lost+found", async () => {
    const path = await temporaryDirectory();
    await mkdir(join(path, "lost+found"));
    const layout = await Layout.create(path);
    expect(await all(layout.tags())).toEqual([]);
    expect((await readdir(path)).sort()).toEqual(["blobs", "index.json", "ingest", "lost+found", "oci-layout"]);
  });

  it("refuses a path that is a file", async () => {
    const path = await temporaryDirectory();
    await put(path, "file", "text");
    await failure(Layout.create(join(path, "file")), "CONFLICT");
    await failure(Layout.create(join(path, "file/layout")), "INVALID");
  });

  it("many times at once makes one layout and loses no tag", async () => {
    const path = join(await temporaryDirectory(), "layout");
    const layouts = await Promise.all(Array.from({ length: 20 }, () => Layout.create(path)));
    const image = await pushImage(layouts[0] as Layout);
    await Promise.all(layouts.map((layout, at) => layout.tag(`t${at}`, image)));
    expect(await all((await Layout.open(path)).tags())).toHaveLength(20);
    expect(await readdir(join(path, "ingest"))).toEqual([]);
  });
});

describe("opening a layout", () => {
  it("of a path that does not exist is NOT_FOUND, and makes nothing", async () => {
    const path = await temporaryDirectory();
    await failure(Layout.open(join(path, "none")), "NOT_FOUND");
    expect(await readdir(path)).toEqual([]);
  });

  it("of a directory without oci-layout is INVALID and says so", async () => {
    const path = await temporaryDirectory();
    await handMadeLayout(path, { manifests: [] });
    await unlink(join(path, "oci-layout"));
    expect((await failure(Layout.open(path), "INVALID")).message).toContain("no file oci-layout");
  });

  it("of a directory without index.json is INVALID and says so", async () => {
    const path = await temporaryDirectory();
    await handMadeLayout(path, { manifests: [] });
    await unlink(join(path, "index.json"));
    expect((await failure(Layout.open(path), "INVALID")).message).toContain("index.json");
  });

  it("of a file is INVALID", async () => {
    const path = await temporaryDirectory();
    await put(path, "file", "text");
    await failure(Layout.open(join(path, "file")), "INVALID");
  });

  it.each([
    ["version 9.0.0", '{"imageLayoutVersion":"9.0.0"}'],
    ["version 1.1.0", '{"imageLayoutVersion":"1.1.0"}'],
    ["no version", "{}"],
    ["a version that is a number", '{"imageLayoutVersion":1}'],
    ["an array", "[]"],
    ["nothing in it", ""],
    ["the version twice", '{"imageLayoutVersion":"1.0.0","imageLayoutVersion":"9.0.0"}'],
    ["the version in __proto__", '{"__proto__":{"imageLayoutVersion":"1.0.0"}}'],
  ])("whose oci-layout has %s is INVALID", async (_what, text) => {
    const path = await temporaryDirectory();
    await handMadeLayout(path, { manifests: [] });
    await put(path, "oci-layout", text);
    await failure(Layout.open(path), "INVALID");
  });

  it("takes an oci-layout with more in it, and files and directories it does not know", async () => {
    const path = await temporaryDirectory();
    await handMadeLayout(path, { manifests: [] });
    await put(path, "oci-layout", '{"imageLayoutVersion": "1.0.0", "x": [1]}\n');
    await put(path, "manifest.json", "[]");
    await put(path, "blobs/blake3/x.tmp", "leftover");
    await put(path, "blobs/stray", "leftover");
    expect(await all((await Layout.open(path)).tags())).toEqual([]);
  });

  it("changes nothing in the directory", async () => {
    const path = await temporaryDirectory();
    await handMadeLayout(path, { manifests: [] });
    const before = await readdir(path, { recursive: true });
    await Layout.open(path);
    expect(await readdir(path, { recursive: true })).toEqual(before);
  });

  it.each(["index.json", "oci-layout"])("refuses a symbolic link as its %s", async (name) => {
    const path = await temporaryDirectory();
    await handMadeLayout(path, { manifests: [] });
    await put(path, "../elsewhere", await readFile(join(path, name)));
    await unlink(join(path, name));
    await symlink("../elsewhere", join(path, name));
    await failure(Layout.open(path), "DENIED");
    await rm(join(path, "../elsewhere"));
  });
});

it("a directory that cannot be written to can be read, and DENIED is what a change fails with", async () => {
  const layout = await newLayout();
  const image = await pushImage(layout);
  await layout.tag("v1", image);
  let mounted = false;
  try {
    execFileSync("mount", ["--bind", layout.path, layout.path], { stdio: "ignore" });
    mounted = true;
    execFileSync("mount", ["-o", "remount,bind,ro", layout.path], { stdio: "ignore" });
  } catch {
    console.log("not tried with a read-only mount: mounting is not possible here");
    if (mounted) execFileSync("umount", [layout.path]);
    return;
  }
  try {
    const opened = await Layout.open(layout.path);
    expect((await opened.resolve("v1")).digest).toBe(image.digest);
    expect(await Layout.create(layout.path)).toBeInstanceOf(Layout);
    await failure(opened.tag("v2", image), "DENIED");
    await failure(pushBytes(opened, "new", "text/plain"), "DENIED");
  } finally {
    execFileSync("umount", [layout.path]);
  }
});
