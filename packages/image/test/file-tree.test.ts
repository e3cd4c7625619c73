import { execFileSync } from "node:child_process";
import { chmod, link, mkdir, rm, symlink, truncate, utimes, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { isOciError, MemoryStore, type Platform } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { compareBytewise } from "../src/bytewise-order.js";
import { type FileTreeOptions, fileTree } from "../src/file-tree.js";
import { writeLayer } from "../src/layer.js";
import { type FileMapping, mappingFor, parseFileList, parseMapping } from "../src/mapping.js";
import { writeTar } from "../src/tar.js";
import { readTar } from "../src/tar-reader.js";
import { all, run, temporaryDirectory, writeFiles } from "./support.js";

async function names(
  cwd: string,
  mappings: readonly (string | FileMapping)[],
  options: FileTreeOptions = {},
): Promise<readonly string[]> {
  return (await fileTree(mappings, { ...options, cwd })).map((entry) => entry.name);
}

async function makeApp(): Promise<string> {
  const root = await temporaryDirectory();
  await writeFiles(root, {
    "app/main.js": "main",
    "app/lib/a.js": "a",
    "app/lib/.hidden": "h",
    "app/lib/deep/b.js": "b",
    "app/notes.md": "n",
    "top.txt": "top",
  });
  return root;
}

describe("where files go", () => {
  it("a source without destination keeps its path", async () => {
    const root = await makeApp();
    expect(await names(root, ["top.txt", "app/lib/deep"])).toEqual([
      "app/",
      "app/lib/",
      "app/lib/deep/",
      "app/lib/deep/b.js",
      "top.txt",
    ]);
  });

  it("the contents of a directory go under the destination", async () => {
    const root = await makeApp();
    expect(await names(root, ["app/lib:/srv/x/"])).toEqual([
      "srv/",
      "srv/x/",
      "srv/x/.hidden",
      "srv/x/a.js",
      "srv/x/deep/",
      "srv/x/deep/b.js",
    ]);
    expect(await names(root, ["app/lib:/"])).toEqual([".hidden", "a.js", "deep/", "deep/b.js"]);
    expect(await names(root, [".:/"])).toContain("app/lib/deep/b.js");
  });

  it("a file goes to the destination, or into it where that ends with a slash", async () => {
    const root = await makeApp();
    expect(await names(root, ["top.txt:/etc/motd"])).toEqual(["etc/", "etc/motd"]);
    expect(await names(root, ["top.txt:etc/"])).toEqual(["etc/", "etc/top.txt"]);
    expect(await names(root, ["top.txt:/"])).toEqual(["top.txt"]);
  });

  it("matches of a pattern go under the destination with their path below its fixed part", async () => {
    const root = await makeApp();
    expect(await names(root, ["app/**/*.js:/js"])).toEqual([
      "js/",
      "js/lib/",
      "js/lib/a.js",
      "js/lib/deep/",
      "js/lib/deep/b.js",
      "js/main.js",
    ]);
    expect(await names(root, ["app/*.js"])).toEqual(["app/", "app/main.js"]);
    expect(await names(root, ["app/l*:/x"])).toContain("x/lib/deep/b.js");
    expect(await names(root, ["app/**:/x"])).toContain("x/lib/.hidden");
    expect(await names(root, ["app/{lib/a,main}.js:/x"])).toEqual(["x/", "x/lib/", "x/lib/a.js", "x/main.js"]);
  });

  it("a name with special characters that exists is no pattern", async () => {
    const root = await temporaryDirectory();
    await writeFiles(root, { "[id].js": "route", "i.js": "other" });
    expect(await names(root, ["[id].js"])).toEqual(["[id].js"]);
  });

  it("an absolute source needs a destination where it lies outside of the context", async () => {
    const root = await makeApp();
    const other = await temporaryDirectory();
    await writeFiles(other, { "x.txt": "x" });
    expect(await names(root, [`${join(other, "x.txt")}:/x`])).toEqual(["x"]);
    expect(await names(root, [join(root, "top.txt")])).toEqual(["top.txt"]);
    expect(await names(join(root, "app"), ["../top.txt:/t", "../app/lib/*.js:/js", `${other}/*.txt:/o`])).toEqual([
      "js/",
      "js/a.js",
      "o/",
      "o/x.txt",
      "t",
    ]);
    await expect(names(root, [`${other}/*.txt`])).rejects.toSatisfy((error) => isOciError(error, "INVALID"));
    await expect(names(root, [join(other, "x.txt")])).rejects.toSatisfy((error) => isOciError(error, "INVALID"));
  });

  it("is read from text at the last colon, except that of a drive letter", () => {
    expect(parseMapping("a:b:c")).toEqual({ source: "a:b", destination: "c" });
    expect(parseMapping("C:\\x\\y")).toEqual({ source: "C:\\x\\y", destination: undefined });
    expect(parseMapping("C:\\x:/y")).toEqual({ source: "C:\\x", destination: "/y" });
    for (const wrong of [":a", "a:", ""]) expect(() => parseMapping(wrong), wrong).toThrow(/SRC/);
  });

  it("is read with a mode, an owner and a platform around it", () => {
    expect(parseMapping("a:/b:0644")).toEqual({ source: "a", destination: "/b", mode: 0o644 });
    expect(parseMapping("a:/b:4755:1000:4294967294")).toEqual({
      source: "a",
      destination: "/b",
      mode: 0o4755,
      uid: 1000,
      gid: 4_294_967_294,
    });
    expect(parseMapping("a:b::7:8")).toEqual({ source: "a", destination: "b", uid: 7, gid: 8 });
    expect(parseMapping("C:\\x:/y:644")).toEqual({ source: "C:\\x", destination: "/y", mode: 0o644 });
    // What is no mode, and what has no destination before it, is a name.
    expect(parseMapping("a:644")).toEqual({ source: "a", destination: "644" });
    expect(parseMapping("a:b:888")).toEqual({ source: "a:b", destination: "888" });
    expect(parseMapping("[linux/arm64]a:/b")).toEqual({
      source: "a",
      destination: "/b",
      platform: { os: "linux", architecture: "arm64" },
    });
    expect(parseMapping("[ab]*.txt:/x")).toEqual({ source: "[ab]*.txt", destination: "/x" });
    expect(() => parseMapping("a:b::4294967295:0")).toThrow(/no id/);
  });

  it("is read from a list, a line each, without comments and empty lines", () => {
    expect(parseFileList("a:/x\r\n\n# no\n  \nb c\n")).toEqual(["a:/x", "b c"]);
  });

  it("is for a platform with its names, or not for it", () => {
    const arm: Platform = { os: "linux", architecture: "arm", variant: "v7" };
    expect(mappingFor("dist/{os}_{arch}{variant}/x:/lib/{platform}", arm)).toEqual({
      source: "dist/linux_armv7/x",
      destination: "/lib/linux/arm/v7",
    });
    expect(mappingFor("[linux/arm64]x", arm)).toBeUndefined();
    expect(mappingFor("{a,b}/*", arm)).toEqual({ source: "{a,b}/*" });
  });

  it("never leads out of the image", async () => {
    const root = await makeApp();
    for (const destination of ["..", "../x", "/a/../../b", "x/.."]) {
      await expect(names(root, [{ source: "top.txt", destination }])).rejects.toSatisfy((error) =>
        isOciError(error, "INVALID"),
      );
    }
  });

  it("fails where a source or pattern is nothing", async () => {
    const root = await makeApp();
    for (const source of ["missing", "app/*.css", "top.txt/x"]) {
      await expect(names(root, [source])).rejects.toSatisfy((error) => isOciError(error, "NOT_FOUND"));
    }
  });

  it("fails where two sources claim one name, and not where it is one source twice", async () => {
    const root = await makeApp();
    expect(await names(root, ["app/*.js", "app/**/*.js", "app/main.js"])).toContain("app/main.js");
    const conflict = (error: unknown): boolean => isOciError(error, "CONFLICT");
    await expect(names(root, ["top.txt:/x", "app/main.js:/x"])).rejects.toSatisfy(conflict);
    await expect(names(root, ["top.txt:/x", "app:/x"])).rejects.toSatisfy(conflict);
    await expect(names(root, ["app/main.js:/x/y", "top.txt:/x"])).rejects.toSatisfy(conflict);
  });

  it("leaves out what patterns say, also a whole directory, and takes exceptions back in", async () => {
    const root = await makeApp();
    expect(await names(root, ["app:/"], { ignore: ["app/lib", "**/*.md"] })).toEqual(["main.js"]);
    expect(await names(root, ["app:/"], { ignore: ["**", "!app/lib/deep/b.js"] })).toEqual([
      "lib/",
      "lib/deep/",
      "lib/deep/b.js",
    ]);
  });
});

describe("the entries of a layer", () => {
  it("are in bytewise order, with every parent once", async () => {
    const root = await temporaryDirectory();
    await writeFiles(root, {
      "b/x": "",
      "a-b": "",
      "a/z": "",
      "a/é": "",
      B: "",
      "a.b/c": "",
      "a/\u{1d4b3}": "",
      "a/\uff21": "",
    });
    const list = await names(root, [".:/"]);
    expect(list).toEqual([...list].sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other))));
    expect(new Set(list).size).toBe(list.length);
    expect(list).toEqual(["B", "a-b", "a.b/", "a.b/c", "a/", "a/z", "a/é", "a/\uff21", "a/\u{1d4b3}", "b/", "b/x"]);
    expect(compareBytewise("x", "xy")).toBeLessThan(0);
  });

  it("have times, owners and modes that do not come from the disk", async () => {
    const root = await temporaryDirectory();
    await writeFiles(root, { "d/run": "#!", "d/data": "" });
    await chmod(join(root, "d"), 0o700);
    await chmod(join(root, "d/run"), 0o700);
    await chmod(join(root, "d/data"), 0o600);
    const entries = await fileTree([".:/"], { cwd: root });
    expect(entries.map(({ name, mode, uid, gid, mtime }) => [name, mode, uid, gid, mtime])).toEqual([
      ["d/", 0o755, 0, 0, 0],
      ["d/data", 0o644, 0, 0, 0],
      ["d/run", 0o755, 0, 0, 0],
    ]);
    const exact = await fileTree([".:/"], { cwd: root, modes: "exact", uid: 1000, gid: 100, mtime: 7 });
    expect(exact.map(({ mode, uid, gid, mtime }) => [mode, uid, gid, mtime])).toEqual([
      [0o700, 1000, 100, 7],
      [0o600, 1000, 100, 7],
      [0o700, 1000, 100, 7],
    ]);
  });

  it("have the mode and owner of their mapping, and directories may be searched by whoever may read", async () => {
    const root = await temporaryDirectory();
    await writeFiles(root, { "d/sub/f": "", "e/tmp/x": "", g: "" });
    await symlink("f", join(root, "d/sub/l"));
    const attributes = async (...mappings: string[]) =>
      (await fileTree(mappings, { cwd: root, uid: 5, gid: 6 })).map(({ name, mode, uid, gid }) =>
        [name, mode.toString(8), uid, gid].join(" "),
      );
    expect(await attributes("d:/o:0640:1000:1001", "e/tmp:/t:1777", "g:/g:4711", "g:/h::7:8")).toEqual([
      "g 4711 5 6",
      "h 644 7 8",
      "o/ 750 1000 1001",
      "o/sub/ 750 1000 1001",
      "o/sub/f 640 1000 1001",
      "o/sub/l 777 1000 1001",
      "t/ 1777 5 6",
      "t/x 1777 5 6",
    ]);
    // Parents that no mapping brings are nobody's; a mapping that says more wins, whatever the order.
    const both = ["d/sub/ 755 5 6", "d/sub/f 600 9 9", "d/sub/l 777 5 6"];
    expect((await attributes("d/sub/f:d/sub/f:600:9:9", "d")).slice(1)).toEqual(both);
    expect((await attributes("d", "d/sub/f:d/sub/f:600:9:9")).slice(1)).toEqual(both);
    await expect(attributes("g:/g:600", "g:/g:644")).rejects.toSatisfy((error) => isOciError(error, "CONFLICT"));
  });

  it("have extended attributes only where that is asked for, and never those of this system", async (context) => {
    const root = await temporaryDirectory();
    const name = "a b\\ä";
    await writeFiles(root, { [name]: "x", plain: "" });
    try {
      for (const [key, value] of [
        ["user.word", "word"],
        ["user.note", "0sAP8K"],
        ["user.overlay.opaque", "y"],
      ])
        await run("setfattr", ["--name", key as string, "--value", value as string, join(root, name)]);
    } catch (error) {
      console.log(`skipped: no extended attributes here: ${error}`);
      return context.skip();
    }
    const [none] = await fileTree([".:/"], { cwd: root });
    expect(none?.xattrs).toBeUndefined();
    const [entry, plain] = await fileTree([".:/"], { cwd: root, xattrs: true });
    expect([...(entry?.xattrs ?? [])].sort()).toEqual([
      ["user.note", Buffer.from([0, 255, 10])],
      ["user.word", Buffer.from("word")],
    ]);
    expect(plain?.xattrs).toBeUndefined();
    const store = new MemoryStore();
    const { descriptor } = await writeLayer(
      store,
      { files: [".:/"] },
      { cwd: root, xattrs: true, compression: "none" },
    );
    for await (const { header } of readTar(store.fetch(descriptor), "the layer"))
      expect(header.xattrs.size).toBe(header.name === name ? 2 : 0);
  });

  it("that are names of one file with two owners are two files", async () => {
    const root = await temporaryDirectory();
    await writeFiles(root, { a: "x" });
    await link(join(root, "a"), join(root, "b"));
    expect((await fileTree(["a:/a", "b:/b"], { cwd: root })).map(({ type }) => type)).toEqual(["file", "hardlink"]);
    expect((await fileTree(["a:/a", "b:/b::1:1"], { cwd: root })).map(({ type }) => type)).toEqual(["file", "file"]);
  });

  it("are written whole where a file has holes", async () => {
    const root = await temporaryDirectory();
    await writeFile(join(root, "sparse"), "");
    await truncate(join(root, "sparse"), 3_000_000);
    const [entry] = await fileTree(["sparse"], { cwd: root });
    expect((await all(entry?.open?.() ?? [])).equals(Buffer.alloc(3_000_000))).toBe(true);
  });

  it("keep symbolic links as they are, dangling, to a directory or out of the context", async () => {
    const root = await temporaryDirectory();
    await writeFiles(root, { "d/f": "" });
    for (const [name, target] of [
      ["dangling", "nowhere"],
      ["directory", "d"],
      ["out", "/etc"],
      ["up", "../.."],
    ] as const) {
      await symlink(target, join(root, name));
    }
    const entries = await fileTree(["dangling", "directory", "out", "**:/all"], { cwd: root });
    expect(
      entries.filter((entry) => entry.type === "symlink").map(({ name, linkname }) => `${name} -> ${linkname}`),
    ).toEqual([
      "all/dangling -> nowhere",
      "all/directory -> d",
      "all/out -> /etc",
      "all/up -> ../..",
      "dangling -> nowhere",
      "directory -> d",
      "out -> /etc",
    ]);
    expect(entries.map(({ name }) => name)).not.toContain("all/directory/f");
  });

  it("write a file of several names once", async () => {
    const root = await temporaryDirectory();
    await writeFiles(root, { "b/first": "content", alone: "1" });
    await link(join(root, "b/first"), join(root, "z"));
    await link(join(root, "b/first"), join(root, "a"));
    const entries = await fileTree([".:/"], { cwd: root });
    expect(
      entries
        .filter(({ type }) => type !== "directory")
        .map(({ name, type, linkname, size }) => [name, type, linkname, size]),
    ).toEqual([
      ["a", "file", undefined, 7],
      ["alone", "file", undefined, 1],
      ["b/first", "hardlink", "a", 0],
      ["z", "hardlink", "a", 0],
    ]);
    const twice = await fileTree(["a:/one", "a:/two"], { cwd: root });
    expect(twice.map(({ type }) => type)).toEqual(["file", "file"]);
  });

  it("are never devices", async () => {
    await expect(fileTree(["/dev/null:/x"])).rejects.toSatisfy(
      (error) => isOciError(error, "UNSUPPORTED") && error.message.includes("/dev/null into a layer: it is a device"),
    );
  });

  it("are never sockets or FIFOs", async () => {
    const root = await temporaryDirectory();
    execFileSync("mkfifo", [join(root, "pipe")]);
    await expect(names(root, [".:/"])).rejects.toThrow(`${join(root, "pipe")} into a layer: it is a FIFO`);
    expect(await names(root, [".:/"], { ignore: ["pipe"] })).toEqual([]);
    const server = createServer().listen(join(root, "socket"));
    await new Promise((resolve) => server.once("listening", resolve));
    await expect(names(root, ["socket"])).rejects.toSatisfy((error) => isOciError(error, "UNSUPPORTED"));
    server.close();
    await expect(names("/dev", ["null"])).rejects.toThrow("it is a device");
  });

  it("never are whiteouts or names that are not UTF-8", async () => {
    const root = await temporaryDirectory();
    const invalid = (error: unknown): boolean => isOciError(error, "INVALID");
    await writeFiles(root, { "d/.wh.x": "" });
    await expect(names(root, ["d"])).rejects.toSatisfy(invalid);
    await mkdir(join(root, "e"));
    await writeFile(Buffer.concat([Buffer.from(`${root}/e/`), Buffer.from([0x66, 0xff])]), "");
    await expect(names(root, ["e"])).rejects.toSatisfy(invalid);
    await mkdir(join(root, "f"));
    await symlink(Buffer.from([0x66, 0xff]), join(root, "f/link"));
    await expect(names(root, ["f"])).rejects.toSatisfy(invalid);
  });

  it("may lie deep and have long names", async () => {
    const root = await temporaryDirectory();
    const path = Array.from({ length: 15 }, (_, index) => `${index}`.padEnd(200, "x")).join("/");
    await writeFiles(root, { [`${path}/${"f".repeat(255)}`]: "deep" });
    expect((await names(root, [".:/"])).at(-1)).toBe(`${path}/${"f".repeat(255)}`);
  });

  it("fail to be written where a file changes, goes, or becomes something else", async () => {
    const root = await temporaryDirectory();
    const path = join(root, "file");
    const change = async (act: () => Promise<unknown>): Promise<unknown> => {
      await writeFile(path, "content");
      const entries = await fileTree(["file"], { cwd: root });
      await act();
      return all(writeTar(entries)).catch((error: unknown) => error);
    };
    expect(await change(() => truncate(path, 3))).toSatisfy((error) => isOciError(error, "CONFLICT"));
    expect(await change(() => writeFile(path, "more content"))).toSatisfy((error) => isOciError(error, "CONFLICT"));
    expect(await change(() => rm(path))).toSatisfy((error) => isOciError(error, "NOT_FOUND"));
    const swapped = await change(async () => {
      await rm(path);
      await symlink("/etc/hostname", path);
    });
    expect(swapped).toSatisfy((error) => isOciError(error, "DENIED"));
    await rm(path);
    const pipe = await change(async () => {
      await rm(path);
      execFileSync("mkfifo", [path]);
    });
    expect(pipe).toSatisfy((error) => isOciError(error));
  });

  it("do not depend on the times on the disk", async () => {
    const root = await makeApp();
    const before = await all(writeTar(await fileTree([".:/"], { cwd: root })));
    await utimes(join(root, "top.txt"), 5, 5);
    expect((await all(writeTar(await fileTree([".:/"], { cwd: root })))).equals(before)).toBe(true);
  });
});
