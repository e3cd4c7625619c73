import { chmod, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { gunzip, isOciError, MemoryStore, mediaTypes } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { build } from "../src/build.js";
import { type FileTreeOptions, fileTree } from "../src/file-tree.js";
import { type LowerEntry, LowerPaths } from "../src/lower-paths.js";
import { type TarEntry, writeTar } from "../src/tar.js";
import { readTar } from "../src/tar-reader.js";
import { all, temporaryDirectory, writeFiles } from "./support.js";

const directory = (name: string, mode = 0o755, uid = 0): TarEntry => ({
  name,
  type: "directory",
  mode,
  uid,
  gid: uid,
  mtime: 0,
  size: 0,
});
const link = (name: string, linkname: string): TarEntry => ({
  name,
  type: "symlink",
  mode: 0o777,
  uid: 0,
  gid: 0,
  mtime: 0,
  size: 0,
  linkname,
});
const file = (name: string): TarEntry => ({ name, type: "file", mode: 0o644, uid: 0, gid: 0, mtime: 0, size: 0 });

function lower(...layers: readonly (readonly LowerEntry[])[]): LowerPaths {
  const below = new LowerPaths();
  for (const layer of layers) below.apply(layer);
  return below;
}

const base: readonly TarEntry[] = [
  directory("./"),
  link("./bin", "usr/bin"),
  directory("./home/app/", 0o750, 1000),
  directory("./tmp/", 0o1777),
  directory("./usr/"),
  directory("./usr/bin/"),
  directory("./var/"),
  link("./var/tmp", "../../../../tmp"),
  link("./loop", "loop"),
  link("./dangling", "/nowhere"),
];

describe("the paths of the layers below", () => {
  it("are found under their plain names", () => {
    const below = lower(base);
    expect(below.get("tmp")).toEqual({ type: "directory", mode: 0o1777, uid: 0, gid: 0 });
    expect(below.get("bin")).toEqual({ type: "symlink", target: "usr/bin" });
    expect(below.get("home")).toEqual({ type: "directory", mode: 0o755, uid: 0, gid: 0 });
    expect(below.get("nowhere")).toBeUndefined();
  });

  it("follow links to directories, never out of the root and never for ever", () => {
    const below = lower(base);
    expect(below.followToDirectory("bin")).toBe("usr/bin");
    expect(below.followToDirectory("var/tmp")).toBe("tmp");
    for (const name of ["loop", "dangling", "missing"]) expect(below.followToDirectory(name), name).toBeUndefined();
    expect(lower([link("a", "/")]).followToDirectory("a")).toBe("");
  });

  it("go with whiteouts, which act on the layers before only", () => {
    const below = lower(
      [directory("a/"), directory("a/b/"), directory("c/"), directory("c/d/")],
      [directory("a/"), directory("a/new/"), file("a/.wh..wh..opq"), file(".wh.c")],
    );
    expect(below.get("a/b")).toBeUndefined();
    expect(below.get("a/new")).toBeDefined();
    expect(below.get("c")).toBeUndefined();
    expect(below.get("c/d")).toBeUndefined();
  });

  it("go where something else takes their place", () => {
    const below = lower([directory("a/"), directory("a/b/"), link("l", "a")], [file("a"), directory("l/")]);
    expect(below.get("a")).toBeUndefined();
    expect(below.get("a/b")).toBeUndefined();
    expect(below.get("l")).toMatchObject({ type: "directory" });
  });

  it("are read from layers, also where only files name a directory", async () => {
    const store = new MemoryStore();
    const one = await store.write(
      [gzipSync(await all(writeTar([directory("a/", 0o700), file("only/in/names"), link("x", "a")])))],
      mediaTypes.layerGzip,
    );
    const two = await store.write([await all(writeTar([file("x"), file(".wh.a")]))], mediaTypes.layer);
    const below = await LowerPaths.read(store, [one, two]);
    expect(below.get("only/in")).toMatchObject({ type: "directory" });
    expect(below.get("x")).toBeUndefined();
    expect(below.get("a")).toBeUndefined();
    const other = await store.write([Buffer.from("no tar")], "application/vnd.example.layer");
    await expect(LowerPaths.read(store, [other])).rejects.toSatisfy((error) => isOciError(error, "UNSUPPORTED"));
  });
});

describe("files put on layers below", () => {
  async function entriesOn(files: readonly string[], options: FileTreeOptions = {}) {
    const cwd = await temporaryDirectory();
    await writeFiles(cwd, { tool: "#!", "tree/bin/x": "x", "tree/tmp/y": "y" });
    await chmod(join(cwd, "tree/tmp"), 0o700);
    const entries = await fileTree(files, { cwd, below: lower(base), ...options });
    return entries.map(({ name, type, mode, uid }) => `${type} ${name} ${mode.toString(8)} ${uid}`);
  }

  it("go where a link to a directory points, and the link stays", async () => {
    expect(await entriesOn(["tool:/bin/"])).toEqual([
      "directory usr/ 755 0",
      "directory usr/bin/ 755 0",
      "file usr/bin/tool 644 0",
    ]);
    expect(await entriesOn(["tree/bin:/"])).toEqual(["file x 644 0"]);
  });

  it("leave the mode and owner of a directory as they are", async () => {
    expect(await entriesOn(["tool:/home/app/x/tool"], { uid: 5 })).toEqual([
      "directory home/ 755 0",
      "directory home/app/ 750 1000",
      "directory home/app/x/ 755 5",
      "file home/app/x/tool 644 5",
    ]);
    expect(await entriesOn(["tree:/"])).toContain("directory tmp/ 1777 0");
    expect(await entriesOn(["tree:/"], { modes: "exact" })).toContain("directory tmp/ 700 0");
  });

  it("are refused where they would take the place of a directory, or meet in one place", async () => {
    const conflict = (error: unknown): boolean => isOciError(error, "CONFLICT");
    await expect(entriesOn(["tool:/usr/bin"])).rejects.toSatisfy(conflict);
    await expect(entriesOn(["tool:/bin/x", "tree/bin/x:/usr/bin/x"])).rejects.toSatisfy(conflict);
  });

  it("see the base and every layer before them in a build", async () => {
    const cwd = await temporaryDirectory();
    await writeFiles(cwd, { tool: "#!", "opt/x": "" });
    await symlink("opt", join(cwd, "alias"));
    await chmod(join(cwd, "opt"), 0o700);

    await writeFile(
      join(cwd, "base.tar"),
      await all(writeTar([link("bin", "usr/bin"), directory("usr/"), directory("usr/bin/", 0o711)])),
    );
    const store = new MemoryStore();
    await build(store, {
      cwd,
      layers: [{ tar: "base.tar" }, { files: ["opt", "alias"] }],
      modes: "exact",
      tags: ["base"],
    });
    const layers = [
      { files: ["tool:/bin/"] },
      { files: ["tool:/alias/"] },
      { tar: "base.tar" },
      { files: ["tool:/opt/tool2"] },
    ];
    const { layers: built } = await build(store, { cwd, base: { source: store, reference: "base" }, layers });
    const names = async (index: number): Promise<readonly string[]> => {
      const descriptor = built[index]?.descriptor;
      if (descriptor === undefined) throw new Error("no such layer");
      const found: string[] = [];
      for await (const { header } of readTar(gunzip(store.fetch(descriptor), "it"), "it"))
        found.push(`${header.name} ${header.mode.toString(8)}`);
      return found;
    };
    expect(await names(2)).toEqual(["usr/ 755", "usr/bin/ 711", "usr/bin/tool 644"]);
    expect(await names(3)).toEqual(["opt/ 700", "opt/tool 644"]);
    expect(await names(5)).toEqual(["opt/ 700", "opt/tool2 644"]);
  });
});
