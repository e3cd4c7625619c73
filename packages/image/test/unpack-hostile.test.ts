import { chmod, lstat, mkdir, readdir, readFile, readlink, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { isOciError } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { type TarMember, tarOf } from "../../layout/test/tar.js";
import { ImageFiles } from "../src/files/image-files.js";
import { readImage } from "../src/image.js";
import { type UnpackOptions, unpack } from "../src/unpack/unpack.js";
import { directory, file, hardlink, imageOf, symlink, type TestLayer } from "./image-of.js";
import { temporaryDirectory } from "./support.js";

/** Where an image is unpacked, and beside it what must stay as it is. */
async function place(): Promise<{ outside: string; rootfs: string; untouched: () => Promise<void> }> {
  const outside = await temporaryDirectory();
  await writeFile(join(outside, "secret"), "secret");
  await mkdir(join(outside, "dir"));
  return {
    outside,
    rootfs: join(outside, "rootfs"),
    untouched: async () => {
      expect((await readdir(outside, { recursive: true })).sort()).toEqual(["dir", "secret"]);
      expect(await readFile(join(outside, "secret"), "utf8")).toBe("secret");
    },
  };
}

/** Unpacks layers and expects a refusal that names `path`, with nothing left, inside or out. */
async function refused(
  layers: (outside: string) => readonly TestLayer[],
  path: string | RegExp,
  options: UnpackOptions = {},
  code: "INVALID" | "LIMIT" | "UNSUPPORTED" = "INVALID",
): Promise<void> {
  const { outside, rootfs, untouched } = await place();
  const { store, descriptor } = await imageOf(layers(outside));
  const error = await unpack(store, descriptor, rootfs, options).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toSatisfy((reason) => isOciError(reason, code));
  expect((error as Error).message).toMatch(path);
  await untouched();
  const files = ImageFiles.read(store, await readImage(store, descriptor, undefined), options);
  // In memory there is nothing to escape to, but the same is refused; devices are only listed.
  if (!/device|fifo/.test((error as Error).message)) await expect(files).rejects.toThrow((error as Error).message);
}

const up = (depth: number): string => "../".repeat(depth);

describe("an entry that would be written outside is refused", () => {
  it.each<[advisory: string, layers: (outside: string) => readonly TestLayer[], path: string | RegExp]>([
    ["a name with .. in it, as in tar-fs CVE-2024-12905", () => [[file(`a/${up(9)}secret`, "x")]], /leads upwards/],
    ["a name that is only ..", () => [[directory("..")]], /leads upwards/],
    [
      "an entry through a link made before it, as in oras CVE-2021-21272",
      (outside) => [[symlink("out", outside), file("out/secret", "x")]],
      "symbolic link /out",
    ],
    [
      "a link to the parent, as in oras-go GHSA-8xwf-rjm4-xvhv",
      () => [[symlink("out", ".."), file("out/secret", "x")]],
      "symbolic link /out",
    ],
    [
      "a chain of links, as in oras-go GHSA-m37j-52j7-pjw7",
      () => [[directory("a"), symlink("a/b", ".."), symlink("c", "a/b/.."), file("c/secret", "x")]],
      "symbolic link",
    ],
    [
      "a link of a layer below, as in go-containerregistry v0.21.3",
      (outside) => [[symlink("out", outside)], [file("out/dir/new", "x")]],
      "out",
    ],
    [
      "a directory entry through a link, as in node-tar CVE-2021-32803",
      (outside) => [[directory("d"), file(".wh.x"), symlink("l", outside), directory("l/dir/new")]],
      "symbolic link /l",
    ],
    [
      "a link that takes the place of a directory, as in node-tar CVE-2021-37701",
      (outside) => [[directory("d")], [symlink("d", outside), file("d/secret", "x")]],
      "/d",
    ],
    [
      "a hard link upwards, as in oras-go GHSA-fxhp-mv3v-67qp",
      () => [[hardlink("h", `${up(5)}secret`)]],
      /leads upwards/,
    ],
    [
      "a hard link to an absolute path, as in node-tar GHSA-8qq5-rm4j-mr97",
      (outside) => [[hardlink("h", `${outside}/secret`)]],
      "hard link to",
    ],
    [
      "a hard link through a link, as in node-tar GHSA-34x7-hfp2-rc4v",
      (outside) => [[symlink("l", outside), hardlink("h", "l/secret")]],
      "l",
    ],
    [
      "a hard link through a chain of links, as in node-tar GHSA-83g3-92jg-28cx",
      (outside) => [[symlink("a", "b"), symlink("b", "c"), symlink("c", outside), hardlink("h", "a/secret")]],
      "symbolic link",
    ],
    [
      "a hard link to a link that leads out, as in tar-fs CVE-2025-48387",
      (outside) => [[symlink("l", join(outside, "secret")), hardlink("h", "l/../secret")]],
      /leads upwards|l/,
    ],
    [
      "a hard link to a path of a drive, as in node-tar GHSA-qffp-2rhf-9h96",
      () => [[hardlink("h", "C:../secret")]],
      "hard link to",
    ],
    [
      "an entry through a link to a path of a drive, as in node-tar GHSA-9ppj-qmqm-q256",
      () => [[symlink("l", `C:${up(3)}`), file("l/secret", "x")]],
      "l",
    ],
    [
      "an entry through a link to a directory whose name begins as that of the root, as in tar-fs CVE-2025-59343",
      (outside) => [[symlink("l", `${outside}/rootfs-other`), file("l/new", "x")]],
      "symbolic link /l",
    ],
    [
      "an entry through an absolute link, as in moby CVE-2014-9356",
      (outside) => [[symlink("etc", join(outside, "dir"))], [file("etc/passwd", "x")]],
      "symbolic link /etc",
    ],
    ["a hard link to a directory", () => [[directory("d"), hardlink("h", "d")]], "no file"],
    ["a hard link to itself", () => [[file("h", "x")], [hardlink("h", "h")]], "takes the place of"],
    [
      "a hard link to a file that has to become a directory for it",
      () => [[file("a", "x")], [hardlink("a/b", "a")]],
      "takes the place of",
    ],
    [
      "a root that is a link, as in umoci CVE-2021-29136",
      (outside) => [[{ name: "/", type: "2", link: outside }, file("secret", "x")]],
      "root of the image",
    ],
    ["a root called . that is a link", (outside) => [[{ name: ".", type: "2", link: outside }]], "root of the image"],
    ["a whiteout of the parent", () => [[file("d/.wh...", "")]], /whiteout that deletes nothing/],
    ["a whiteout of the directory itself", () => [[file("d/.wh..", "")]], /whiteout that deletes nothing/],
    ["a whiteout of nothing", () => [[file("d/.wh.", "")]], /whiteout that deletes nothing/],
    [
      "a whiteout through a link, as in containers/storage CVE-2024-9676",
      (outside) => [[symlink("l", outside)], [file("l/.wh.secret")]],
      /l/,
    ],
    ["an opaque directory through a link", (outside) => [[symlink("l", outside)], [file("l/.wh..wh..opq")]], /l/],
    ["a file below a whiteout", () => [[file(".wh.d/x", "x")]], /whiteout that deletes nothing/],
    [
      "links in a circle",
      () => [[symlink("a", "b"), symlink("b", "a"), file("a/x", "x")]],
      /too many symbolic links|leads through/,
    ],
    ["a file into which something is put", () => [[file("a", "x"), file("a/b", "x")]], "is a file"],
    ["a file in the place of a directory of its own layer", () => [[file("a/b", "x"), file("a", "x")]], /a/],
  ])("%s", (_advisory, layers, path) => refused(layers, path));

  it("a name of many layers that share one path, as in stereoscope CVE-2024-24579", () =>
    refused((outside) => [[symlink("tmp", outside)], [symlink("tmp/x", "secret")], [file("tmp/x", "changed")]], "tmp"));
});

describe("what looks like an escape and stays inside is taken", () => {
  it("absolute names start at the root of the image, as in node-tar CVE-2021-32804, and so do names with ./ in front", async () => {
    const { rootfs } = await place();
    const { store, descriptor } = await imageOf([[file("/a", "1"), file("./b", "2"), file("////c/./d", "3")]]);
    await unpack(store, descriptor, rootfs);
    expect((await readdir(rootfs)).sort()).toEqual(["a", "b", "c"]);
  });

  it.skipIf(process.platform === "win32")(
    "names of drives are names where there are none, as in node-tar CVE-2021-37713",
    async () => {
      const { rootfs, untouched } = await place();
      const { store, descriptor } = await imageOf([[file("C:../a", "1"), file("C:\\b", "2")]]);
      await unpack(store, descriptor, rootfs);
      expect((await readdir(rootfs)).sort()).toEqual(["C:..", "C:\\b"]);
      await rm(rootfs, { recursive: true });
      await untouched();
    },
  );

  it("a name that is a number is a name, as in node-tar GHSA-w8wr-v893-vjvp", async () => {
    const { rootfs } = await place();
    const { store, descriptor } = await imageOf([
      [file("x", "1", { pax: { path: "123" } }), { ...symlink("l", "y"), pax: { linkpath: "456" } }],
    ]);
    await unpack(store, descriptor, rootfs);
    expect(await readFile(join(rootfs, "123"), "utf8")).toBe("1");
    expect(await readlink(join(rootfs, "l"))).toBe("456");
  });

  it("a directory in the place of a link gets its mode, not what the link led to, as in tar-rs CVE-2026-33056", async () => {
    for (const layers of [1, 2]) {
      const { outside, rootfs } = await place();
      await chmod(join(outside, "dir"), 0o750);
      const members = [symlink("d", join(outside, "dir")), directory("d", { mode: 0o707 })];
      const image = await imageOf(layers === 1 ? [members] : members.map((one) => [one]));
      await unpack(image.store, image.descriptor, rootfs, { allowDuplicates: true });
      expect((await lstat(join(outside, "dir"))).mode & 0o777).toBe(0o750);
      expect((await lstat(join(rootfs, "d"))).mode & 0o170777).toBe(0o040707);
    }
  });

  it("a link out is made, and not followed when something takes its place, as in node-tar CVE-2021-37712", async () => {
    const { outside, rootfs } = await place();
    const links = [symlink("dir", join(outside, "dir")), symlink("f", join(outside, "secret"))];
    const { store, descriptor } = await imageOf([
      links,
      [directory("dir"), file("dir/new", "x"), file("f", "new")],
      [file(".wh.dir"), file(".wh.f")],
    ]);
    await unpack(store, descriptor, rootfs);
    expect(await readdir(rootfs)).toEqual([]);
    expect(await readdir(join(outside, "dir"))).toEqual([]);
    expect(await readFile(join(outside, "secret"), "utf8")).toBe("secret");
  });

  it("names that only differ for a file system, as in node-tar GHSA-r6q2-hw4h-h46w, are two names or refused", async () => {
    const { outside, rootfs } = await place();
    const { store, descriptor } = await imageOf([
      [symlink("straße", outside), directory("STRASSE"), file("STRASSE/new", "x")],
    ]);
    await unpack(store, descriptor, rootfs);
    expect(await readdir(outside)).not.toContain("new");
  });
});

describe("devices", () => {
  it.each<[string, TarMember]>([
    ["a character device", { name: "dev/null", type: "3", device: [1, 3] }],
    ["a block device, as in moby CVE-2014-9357", { name: "dev/sda", type: "4", device: [8, 0] }],
    ["a FIFO", { name: "dev/pipe", type: "6" }],
  ])("%s is refused, or left out where that is asked for", async (_kind, member) => {
    await refused(() => [[member]], member.name);
    const { rootfs } = await place();
    const { store, descriptor } = await imageOf([[file(member.name, "x")], [member]]);
    const { skipped } = await unpack(store, descriptor, rootfs, { specialFiles: "skip" });
    expect(skipped).toEqual([`/${member.name}`]);
    expect(await readdir(join(rootfs, "dev"))).toEqual([]);
  });
});

describe("an archive that readers take differently is refused", () => {
  const smuggled = (): Buffer => tarOf([file("smuggled", "x")]).subarray(0, 1024);
  it.each<[string, readonly TarMember[], RegExp]>([
    ["a directory with a body, as in tokio-tar CVE-2025-62518", [directory("d", { content: smuggled() })], /yet has/],
    ["a link with a body", [{ ...symlink("l", "x"), content: smuggled() }], /yet has/],
    ["two entries of one name", [file("a", "1"), file("./a", "2")], /twice/],
    ["two names for one entry", [file("a", "1", { pax: { path: "b" }, longName: "c" })], /two names/],
    ["a path for all entries", [{ name: "g", type: "g", content: "10 path=a\n" }, file("b", "x")], /for all entries/],
    ["a size for all entries", [{ name: "g", type: "g", content: "10 size=9\n" }, file("b", "x")], /for all entries/],
    [
      "two PAX headers",
      [{ name: "x", type: "x", content: "10 path=a\n" }, file("b", "x", { pax: { path: "c" } })],
      /two PAX headers/,
    ],
    [
      "a negative size in base 256",
      [file("a", "x", { sizeField: "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" })],
      /size -1/,
    ],
    [
      "a negative size in octal, as in node-tar GHSA-8x88-c5mf-7j5w",
      [file("a", "x", { sizeField: "-0000000001" })],
      /number/,
    ],
    ["a negative size in PAX", [file("a", "x", { pax: { size: "-1" } })], /size/],
    ["a size that is no number, as in tar-rs 0.4.45", [file("a", "x", { pax: { size: "1e3" } })], /size/],
    ["a name with a NUL, as in node-tar GHSA-gvwx-54wh-qm9j", [file("a", "x", { pax: { path: "a\0b" } })], /NUL/],
    ["a link to a name with a NUL", [{ ...symlink("l", "x"), pax: { linkpath: "a\0b" } }], /NUL|to nothing/],
    ["an owner that is no number", [file("a", "x", { pax: { uid: "root" } })], /uid/],
    ["a time that is no number", [file("a", "x", { pax: { mtime: "Infinity" } })], /mtime/],
    ["a kind nobody knows", [{ name: "a", type: "Z" }], /not known/],
  ])("%s", (_advisory, members, message) => refused(() => [members], message));

  it("a sparse file, as in Go CVE-2025-58183", async () => {
    await refused(() => [[{ name: "a", type: "S", content: "x" }]], /sparse/, {}, "UNSUPPORTED");
    const pax = { "GNU.sparse.major": "1", "GNU.sparse.minor": "0" };
    await refused(() => [[file("a", "x", { pax })]], /sparse/, {}, "UNSUPPORTED");
  });

  it("and not one whose size stands in PAX, which counts for its body alone, as in node-tar GHSA-vmf3-w455-68vh and tar-rs CVE-2026-33055", async () => {
    const { rootfs } = await place();
    const inner = smuggled();
    const { store, descriptor } = await imageOf([
      [
        file("a", inner, { pax: { size: String(inner.length) }, sizeField: "00000000000\0" }),
        file("x", "body", { pax: { size: "4" }, longName: "long-name" }),
      ],
    ]);
    await unpack(store, descriptor, rootfs);
    expect((await readdir(rootfs)).sort()).toEqual(["a", "long-name"]);
    expect((await readFile(join(rootfs, "a"))).equals(inner)).toBe(true);
    expect(await readFile(join(rootfs, "long-name"), "utf8")).toBe("body");
  });

  it("of several entries of one name the last is taken where that is asked for", async () => {
    const { rootfs } = await place();
    const { store, descriptor } = await imageOf([[file("a", "1"), file("a", "2")]]);
    await unpack(store, descriptor, rootfs, { allowDuplicates: true });
    expect(await readFile(join(rootfs, "a"), "utf8")).toBe("2");
  });
});

describe("what would take all memory or disk is refused", () => {
  it("a gzip bomb, as in tar-split CVE-2017-14992 and node-tar GHSA-23hp-3jrh-7fpw", () => {
    const tar = tarOf([file("zeros", Buffer.alloc(80 * 2 ** 20))]);
    return refused(() => [{ tar, bytes: gzipSync(tar, { level: 9 }) }], /unpacks to more than/, {}, "LIMIT");
  });

  it("a zstd bomb, a megabyte of which is four bytes", () => {
    // A frame with a window of 1 MiB and blocks of one repeated byte, RFC 8878 section 3.1.1.2.
    const block = (last: boolean): Buffer => {
      const bytes = Buffer.alloc(4);
      bytes.writeUIntLE(((2 ** 17) << 3) | (1 << 1) | (last ? 1 : 0), 0, 3);
      return bytes;
    };
    const blocks = Array.from({ length: 600 }, (_, at) => block(at === 599));
    const bytes = Buffer.concat([Buffer.from("28b52ffd0050", "hex"), ...blocks]);
    return refused(() => [{ tar: Buffer.alloc(0), bytes }], /unpacks to more than/, {}, "LIMIT");
  });

  it("zstd that asks for 2 GiB of memory", () =>
    refused(
      () => [{ tar: Buffer.alloc(0), bytes: Buffer.from("28b52ffd00a8010000", "hex") }],
      /bytes of memory/,
      {},
      "LIMIT",
    ));

  it("more bytes, entries or layers than are asked for", async () => {
    const layer = [file("a", Buffer.alloc(3000)), file("b", Buffer.alloc(3000))];
    await refused(() => [layer], /unpacks to more than 5000/, { size: 5000 }, "LIMIT");
    await refused(() => [layer, layer, layer], /more than 20000 bytes/, { size: 20_000 }, "LIMIT");
    await refused(() => [layer], /more than 1 entries/, { entries: 1 }, "LIMIT");
  });

  it("an extended header of megabytes, as in Go CVE-2022-2879", () =>
    refused(
      () => [[{ name: "x", type: "x", content: Buffer.alloc(2 ** 21, "a") }, file("a", "x")]],
      /extended header/,
      {},
      "LIMIT",
    ));

  it("a path of thousands of parts, as in node-tar CVE-2024-28863 and GHSA-r292-9mhp-454m", () =>
    refused(() => [[file("x", "x", { longName: `${"d/".repeat(1000)}f` })]], /parts/, {}, "LIMIT"));

  it("a path longer than any", () =>
    refused(
      () => [[file("x", "x", { pax: { path: `${`${"d".repeat(200)}/`.repeat(30)}f` } })]],
      /longer than/,
      {},
      "LIMIT",
    ));

  it("a layer that is not the one of the config", async () => {
    const { rootfs, untouched } = await place();
    const { store, descriptor } = await imageOf([
      { tar: tarOf([file("a", "x")]), bytes: gzipSync(tarOf([file("a", "y")])) },
    ]);
    await expect(unpack(store, descriptor, rootfs)).rejects.toSatisfy((error) => isOciError(error, "MISMATCH"));
    await untouched();
  });

  it("a layer that is cut off, or with more behind its gzip", async () => {
    const tar = tarOf([file("a", Buffer.alloc(100_000, "abc"))]);
    const bytes = gzipSync(tar);
    await refused(() => [{ tar, bytes: bytes.subarray(0, -20) }], /gzip/);
    await refused(() => [{ tar: tar.subarray(0, 60_000), bytes: gzipSync(tar.subarray(0, 60_000)) }], /ends too early/);
  });
});
