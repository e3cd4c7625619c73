import {
  chmod,
  lstat,
  symlink as makeLink,
  mkdir,
  readdir,
  readFile,
  readlink,
  stat,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { isOciError } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { tarOf } from "../../layout/test/tar.js";
import { ImageFiles } from "../src/files/image-files.js";
import { readImage } from "../src/image.js";
import { type UnpackOptions, unpack } from "../src/unpack/unpack.js";
import { directory, file, hardlink, imageOf, symlink, type TestLayer } from "./image-of.js";
import { temporaryDirectory } from "./support.js";

const isRoot = process.getuid?.() === 0;

/** Unpacks an image and returns where to. */
async function unpacked(layers: readonly TestLayer[], options: UnpackOptions = {}): Promise<string> {
  const { store, descriptor } = await imageOf(layers);
  const to = join(await temporaryDirectory(), "rootfs");
  await unpack(store, descriptor, to, options);
  const files = await ImageFiles.read(store, await readImage(store, descriptor, undefined));
  expect([...files].map(({ path }) => path).sort(), "the files in memory").toEqual(["", ...(await below(to))].sort());
  return to;
}

/** What is in a directory; Node's own recursive listing would follow links. */
async function below(root: string, at = ""): Promise<string[]> {
  const entries = await readdir(join(root, at), { withFileTypes: true });
  const found = entries.map(async (entry) => {
    const path = join(at, entry.name);
    return entry.isDirectory() ? [path, ...(await below(root, path))] : [path];
  });
  return (await Promise.all(found)).flat().sort();
}

const text = (root: string, path: string): Promise<string> => readFile(join(root, path), "utf8");
const modeOf = async (root: string, path: string): Promise<number> => (await lstat(join(root, path))).mode & 0o7777;
const timeOf = async (root: string, path: string): Promise<number> => (await lstat(join(root, path))).mtimeMs / 1000;

describe("unpacking an image", () => {
  it("gives everything its mode, time and target", async () => {
    const root = await unpacked([
      [
        directory(".", { mode: 0o750, mtime: 1000 }),
        directory("d", { mode: 0o555, mtime: 2000 }),
        file("d/setuid", "x", { mode: 0o4755, mtime: 3000 }),
        file("d/empty", "", { mode: 0o000 }),
        { ...symlink("d/link", "/no/where"), mtime: 4000 },
        hardlink("d/other", "d/setuid"),
        file("fraction", "", { pax: { mtime: "1700000000.25" } }),
        file("before 1970", "", { pax: { mtime: "-100" } }),
        file("late", "", { mtime: 8_000_000_000 }),
      ],
    ]);
    expect([await modeOf(root, "."), await timeOf(root, ".")]).toEqual([0o750, 1000]);
    expect([await modeOf(root, "d"), await timeOf(root, "d")]).toEqual([0o555, 2000]);
    expect([await modeOf(root, "d/setuid"), await timeOf(root, "d/setuid")]).toEqual([0o4755, 3000]);
    expect(await modeOf(root, "d/empty")).toBe(0);
    expect([await readlink(join(root, "d/link")), await timeOf(root, "d/link")]).toEqual(["/no/where", 4000]);
    expect((await lstat(join(root, "d/other"))).ino).toBe((await lstat(join(root, "d/setuid"))).ino);
    expect(await timeOf(root, "fraction")).toBe(1_700_000_000.25);
    expect(await timeOf(root, "before 1970")).toBe(-100);
    expect(await timeOf(root, "late")).toBe(8_000_000_000);
  });

  it.runIf(isRoot)("gives everything its owner, mapped where that is asked for", async () => {
    const layer = [directory("d", { uid: 5, gid: 6 }), file("d/f", "x", { uid: 1000, gid: 1001, mode: 0o6755 })];
    const root = await unpacked([layer]);
    expect(await lstat(join(root, "d"))).toMatchObject({ uid: 5, gid: 6 });
    expect(await lstat(join(root, "d/f"))).toMatchObject({ uid: 1000, gid: 1001, mode: 0o106755 });
    const range = [{ inside: 0, outside: 100_000, size: 65_536 }];
    const mapped = await unpacked([layer], { owners: { uids: range, gids: range } });
    expect(await lstat(join(mapped, "d/f"))).toMatchObject({ uid: 101_000, gid: 101_001 });
    expect(await lstat(mapped)).toMatchObject({ uid: 100_000, gid: 100_000 });
    const narrow = [{ inside: 0, outside: 100_000, size: 10 }];
    await expect(unpacked([layer], { owners: { uids: narrow, gids: narrow } })).rejects.toThrow(/no range of the map/);
  });

  it("makes parents that no layer names, and leaves those that are there as they are", async () => {
    const root = await unpacked([
      [directory("known", { mode: 0o700, mtime: 500 })],
      [file("known/new", "x"), file("a/b/c", "y")],
    ]);
    expect([await modeOf(root, "known"), await timeOf(root, "known")]).toEqual([0o700, 500]);
    expect([await modeOf(root, "a/b"), await timeOf(root, "a/b")]).toEqual([0o755, 0]);
  });

  it("replaces whatever has another type, and only the attributes of a directory", async () => {
    const root = await unpacked([
      [
        directory("was-dir"),
        file("was-dir/deep/file", "gone"),
        file("was-file", "gone"),
        symlink("was-link", "elsewhere"),
        directory("elsewhere"),
        directory("stays", { mode: 0o700 }),
        file("stays/file", "stays"),
        file("in-the-way", "gone"),
      ],
      [
        file("was-dir", "file now"),
        directory("was-file"),
        directory("was-link"),
        file("was-link/f", "not in elsewhere"),
        directory("stays", { mode: 0o711 }),
        file("in-the-way/file", "x"),
      ],
    ]);
    expect(await text(root, "was-dir")).toBe("file now");
    expect((await lstat(join(root, "was-file"))).isDirectory()).toBe(true);
    expect(await text(root, "was-link/f")).toBe("not in elsewhere");
    expect(await readdir(join(root, "elsewhere"))).toEqual([]);
    expect([await text(root, "stays/file"), await modeOf(root, "stays")]).toEqual(["stays", 0o711]);
    expect(await text(root, "in-the-way/file")).toBe("x");
  });

  it("never writes through a hard link into a file of a layer below", async () => {
    const root = await unpacked([
      [file("first", "first"), hardlink("second", "first")],
      [file("second", "changed", { mode: 0o600 })],
    ]);
    expect([await text(root, "first"), await text(root, "second")]).toEqual(["first", "changed"]);
    expect(await modeOf(root, "first")).toBe(0o644);
  });

  it("links to files of layers below and to symbolic links", async () => {
    const root = await unpacked([
      [file("a", "x"), symlink("l", "a")],
      [hardlink("b", "/a"), hardlink("m", "./l")],
    ]);
    expect((await lstat(join(root, "b"))).nlink).toBe(2);
    expect(await readlink(join(root, "m"))).toBe("a");
  });

  it("puts files where a link of the image leads, inside of it", async () => {
    const root = await unpacked([
      [
        directory("usr/lib"),
        symlink("lib", "usr/lib"),
        directory("run"),
        symlink("var/run", "/run"),
        symlink("up", "usr/../run"),
      ],
      [file("lib/a", "1"), file("var/run/b", "2"), hardlink("up/c", "lib/a")],
    ]);
    expect(await below(root)).toEqual(
      ["lib", "run", "run/b", "run/c", "up", "usr", "usr/lib", "usr/lib/a", "var", "var/run"].sort(),
    );
  });

  it("keeps names that are not UTF-8, long ones, and odd ones", async () => {
    const bytes = Buffer.from(tarOf([file("größe/XX", "1"), file("größe/ok", "2")]));
    const at = bytes.indexOf("XX");
    bytes.set([0xff, 0xfe], at);
    // The checksum of the header, which starts where the name does.
    const header = at - Buffer.byteLength("größe/");
    bytes.write("        ", header + 148, "latin1");
    const sum = bytes.subarray(header, header + 512).reduce((total, byte) => total + byte, 0);
    bytes.write(`${sum.toString(8).padStart(6, "0")}\0 `, header + 148, "latin1");
    const { store, descriptor } = await imageOf([
      { tar: bytes, bytes: gzipSync(bytes) },
      [file("x", "3", { longName: `${"d".repeat(200)}/${"n".repeat(250)}` }), file(" \\\n\t", "4")],
    ]);
    const root = join(await temporaryDirectory(), "rootfs");
    await unpack(store, descriptor, root);
    const names = await readdir(join(root, "größe"), { encoding: "buffer" });
    expect(names.map((name) => name.toString("hex")).sort()).toEqual(["6f6b", "fffe"]);
    expect(await text(root, " \\\n\t")).toBe("4");
    expect(await text(root, `${"d".repeat(200)}/${"n".repeat(250)}`)).toBe("3");
  });
});

it("a layer that never comes does not keep the refusal of one before it", async () => {
  const { store, descriptor } = await imageOf([[file("../bad", "x")], [file("never", "x")]]);
  const { layers } = await readImage(store, descriptor, undefined);
  const slow = Object.assign(Object.create(store), {
    resolve: store.resolve.bind(store),
    async *fetch(content: (typeof layers)[number], options: { signal?: AbortSignal } = {}) {
      if (content.digest !== layers[1]?.digest) yield* store.fetch(content, options);
      else
        await new Promise((_resolve, reject) => {
          options.signal?.addEventListener("abort", () => reject(options.signal?.reason));
        });
    },
  }) as typeof store;
  const to = join(await temporaryDirectory(), "rootfs");
  await expect(unpack(slow, descriptor, to)).rejects.toThrow(/leads upwards/);
});

describe("whiteouts", () => {
  const below_ = [
    directory("d", { mode: 0o700 }),
    file("d/a", "a"),
    file("d/b", "b"),
    directory("d/sub", { mode: 0o700 }),
    file("d/sub/c", "c"),
    file("e", "e"),
  ];

  it("take away what layers below have, and nothing of their own layer, in any order", async () => {
    const layer = [file("d/.wh.a"), file("d/a2", "new"), file(".wh.e"), file("d/.wh.sub"), file("d/sub/new", "new")];
    for (const order of [layer, [...layer].reverse()]) {
      const root = await unpacked([below_, order]);
      expect(await below(root)).toEqual(["d", "d/a2", "d/b", "d/sub", "d/sub/new"]);
      expect(await modeOf(root, "d/sub")).toBe(0o755);
      expect(await modeOf(root, "d")).toBe(0o700);
    }
  });

  it("that make a directory opaque leave only what their own layer puts there, in any order", async () => {
    const layer = [file("d/.wh..wh..opq"), file("d/sub/new", "new"), file("d/z", "z")];
    for (const order of [layer, [...layer].reverse()]) {
      const root = await unpacked([below_, order]);
      expect(await below(root)).toEqual(["d", "d/sub", "d/sub/new", "d/z", "e"]);
      expect(await modeOf(root, "d/sub")).toBe(0o755);
    }
  });

  it("of a name that the same layer has act only on what was below", async () => {
    const layer = [file("d/a", "new"), file("d/.wh.a")];
    for (const order of [layer, [...layer].reverse()]) {
      expect(await text(await unpacked([below_, order]), "d/a")).toBe("new");
    }
  });

  it("at the root, of what is not there, twice, and of links do what they say", async () => {
    expect(await below(await unpacked([below_, [file(".wh..wh..opq"), file("new", "x")]]))).toEqual(["new"]);
    expect(await below(await unpacked([[file("a", "")], [file(".wh.zzz"), file("no/where/.wh.x")]]))).toEqual(["a"]);
    const root = await unpacked([
      [file("target/kept", "x"), symlink("link", "target")],
      [file(".wh.link"), file(".wh..wh.plnk/1.2", ""), file(".wh..wh.aufs", "")],
    ]);
    expect(await below(root)).toEqual(["target", "target/kept"]);
  });

  it("leave no time behind in the directory they act in", async () => {
    const root = await unpacked([[directory("d", { mtime: 77 }), file("d/a", "")], [file("d/.wh.a")]]);
    expect(await timeOf(root, "d")).toBe(77);
  });
});

describe("the directory to unpack into", () => {
  const layers = [[file("etc/new", "new")]];

  it("comes into being whole or not at all, with its parents", async () => {
    const { store, descriptor } = await imageOf([[file("good", "x")], [file("../bad", "x")]]);
    const at = await temporaryDirectory();
    await expect(unpack(store, descriptor, join(at, "a/b"))).rejects.toThrow(/leads upwards/);
    expect(await readdir(join(at, "a"))).toEqual([]);
    expect(await readdir(join(await unpacked(layers), "etc"))).toEqual(["new"]);
  });

  it("is empty again after a failure where it was empty", async () => {
    const { store, descriptor } = await imageOf([[file("deep/good", "x")], [file("../bad", "x")]]);
    const at = await temporaryDirectory();
    await expect(unpack(store, descriptor, at)).rejects.toThrow(/leads upwards/);
    expect(await readdir(at)).toEqual([]);
  });

  it("must not hold anything unless that is asked for, and keeps what the image does not have", async () => {
    const { store, descriptor } = await imageOf(layers);
    const at = await temporaryDirectory();
    await mkdir(join(at, "etc"));
    await chmod(join(at, "etc"), 0o711);
    await writeFile(join(at, "etc/old"), "old");
    const before = await stat(join(at, "etc"));
    await expect(unpack(store, descriptor, at)).rejects.toSatisfy((error) => isOciError(error, "CONFLICT"));
    await unpack(store, descriptor, at, { force: true });
    expect(await below(at)).toEqual(["etc", "etc/new", "etc/old"]);
    const after = await stat(join(at, "etc"));
    expect([after.mode, Math.trunc(after.mtimeMs)]).toEqual([before.mode, Math.trunc(before.mtimeMs)]);
  });

  it("is not trusted: a link in it is replaced or stays inside, never followed out", async () => {
    const outside = await temporaryDirectory();
    await writeFile(join(outside, "file"), "untouched");
    const { store, descriptor } = await imageOf([[file("out/file", "x"), file("f", "y")]]);
    const at = await temporaryDirectory();
    await makeLink(outside, join(at, "out"));
    await makeLink(join(outside, "file"), join(at, "f"));
    await expect(unpack(store, descriptor, at, { force: true })).rejects.toThrow(/symbolic link \/out/);
    const whole = await imageOf([[directory("out"), file("out/file", "x"), file("f", "y")]]);
    await unpack(whole.store, whole.descriptor, at, { force: true });
    expect([await text(at, "out/file"), await text(at, "f")]).toEqual(["x", "y"]);
    expect(await text(outside, "file")).toBe("untouched");
  });
});

describe("unpacking some files", () => {
  const layers = [
    [
      directory("etc", { mode: 0o711, mtime: 9 }),
      file("etc/a.conf", "old"),
      file("etc/b.txt", "b"),
      file("etc/deleted.conf", "x"),
    ],
    [
      file("etc/a.conf", "new"),
      file("etc/.wh.deleted.conf"),
      file("usr/bin/tool", "tool"),
      hardlink("etc/tool.conf", "usr/bin/tool"),
      symlink("etc/l.conf", "a.conf"),
    ],
  ];

  it("makes those that match, as they are in the whole image, and the directories they are in", async () => {
    const { store, descriptor } = await imageOf(layers);
    const root = join(await temporaryDirectory(), "rootfs");
    await unpack(store, descriptor, root, { files: ["etc/*.conf"] });
    expect(await below(root)).toEqual(["etc", "etc/a.conf", "etc/l.conf", "etc/tool.conf"]);
    expect([await text(root, "etc/a.conf"), await text(root, "etc/tool.conf")]).toEqual(["new", "tool"]);
    expect([await modeOf(root, "etc"), await timeOf(root, "etc")]).toEqual([0o711, 9]);
  });

  it("links the names of one file to each other", async () => {
    const { store, descriptor } = await imageOf(layers);
    const root = join(await temporaryDirectory(), "rootfs");
    await unpack(store, descriptor, root, { files: ["etc/tool.conf", "usr"] });
    expect((await lstat(join(root, "etc/tool.conf"))).ino).toBe((await lstat(join(root, "usr/bin/tool"))).ino);
  });
});
