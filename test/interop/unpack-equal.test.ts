import { existsSync } from "node:fs";
import { chmod, link, lstat, mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { UnpackResult } from "@stowage/image";
import { describe, expect, it, type TestContext } from "vitest";
import { type TarMember, tarOf } from "../../packages/layout/test/tar.js";
import { stowageJson } from "../cli/stowage.js";
import { fileTree } from "./file-tree.js";
import { needs, peersDirectory, run, scratch, skip } from "./peers.js";

const isRoot = process.getuid?.() === 0;
const rootless = isRoot ? [] : ["--rootless"];
const devices = ["--special-files", isRoot ? "create" : "skip"];

/** Unpacks an image of a layout with umoci and with stowage, and expects the same files, whole. Returns how many. */
async function expectEqual(directory: string, image: string, location = `oci:${image}`): Promise<number> {
  await run("umoci", ["raw", "unpack", ...rootless, "--image", image, "theirs"], { cwd: directory, timeout: 100_000 });
  await stowageJson<UnpackResult>(["unpack", location, "ours", ...devices], { cwd: directory });
  const theirs = await fileTree(join(directory, "theirs"), { whole: true });
  const ours = await fileTree(join(directory, "ours"), { whole: true });
  // Name by name: a difference of two large trees would fill the screen.
  const names = [...new Set([...Object.keys(ours), ...Object.keys(theirs)])];
  const different = names.filter((name) => JSON.stringify(ours[name]) !== JSON.stringify(theirs[name]));
  expect(Object.fromEntries(different.slice(0, 5).map((name) => [name, ours[name]]))).toEqual(
    Object.fromEntries(different.slice(0, 5).map((name) => [name, theirs[name]])),
  );
  for (const made of ["ours", "theirs"]) await rm(join(directory, made), { recursive: true, force: true });
  return names.length;
}

const dir = (name: string, more: Partial<TarMember> = {}): TarMember => ({
  name: `${name}/`,
  type: "5",
  mode: 0o755,
  mtime: 1_600_000_000,
  ...more,
});
const file = (name: string, content = "", more: Partial<TarMember> = {}): TarMember => ({
  name,
  content,
  mtime: 1_600_000_001,
  ...more,
});

/** Two layers: of everything a layer can hold, and of every way to take it away or put something else there. */
const lower: readonly TarMember[] = [
  dir("."),
  dir("etc"),
  file("etc/removed", "x"),
  file("etc/kept", "x", { uid: 7, gid: 8, mode: 0o4711, mtime: 1_500_000_000 }),
  file("etc/replaced", "old"),
  dir("opaque", { mode: 0o700 }),
  file("opaque/gone", "x"),
  dir("opaque/deep"),
  file("opaque/deep/gone", "x"),
  dir("removed-tree"),
  dir("removed-tree/a"),
  file("removed-tree/a/b", "x"),
  dir("again"),
  file("again/old", "x"),
  dir("dir-to-file"),
  file("dir-to-file/x", "x"),
  file("file-to-dir", "x"),
  { name: "link-to-dir", type: "2", link: "etc", mode: 0o777, mtime: 1_600_000_002 },
  { name: "link-to-file", type: "2", link: "etc/kept", mode: 0o777, mtime: 1_600_000_002 },
  file("hard-a", "hard"),
  { name: "hard-b", type: "1", link: "hard-a", mtime: 1_600_000_001 },
  { name: "hard-c", type: "1", link: "hard-a", mtime: 1_600_000_001 },
  dir("usr"),
  dir("usr/lib"),
  { name: "lib", type: "2", link: "usr/lib", mode: 0o777, mtime: 1_600_000_003 },
  file("name with spaces é", "x", { pax: { path: "größe/日本語", mtime: "1600000004.123456" } }),
];
const lowerWithParents = [...lower.slice(0, -1), dir("größe", { name: "größe/" }), ...lower.slice(-1)];
const upper: readonly TarMember[] = [
  dir("."),
  dir("etc", { mode: 0o711, mtime: 1_650_000_000 }),
  file("etc/.wh.removed"),
  file("etc/.wh.never-there"),
  file("etc/replaced", "new"),
  dir("opaque", { mode: 0o750 }),
  file("opaque/.wh..wh..opq"),
  file("opaque/new", "x"),
  file(".wh.removed-tree"),
  file(".wh.again"),
  dir("again", { mode: 0o711 }),
  file("again/new", "x"),
  file("dir-to-file", "now a file"),
  dir("file-to-dir"),
  file("file-to-dir/x", "x"),
  dir("link-to-dir"),
  file("link-to-dir/not-in-etc", "x"),
  file("link-to-file", "now a file"),
  file("hard-b", "no link any more"),
  file("lib/through-link", "x"),
  { name: "hard-d", type: "1", link: "hard-c", mtime: 1_600_000_001 },
];

/** An image made by umoci of layers that are given as tars. */
async function imageOfLayers(directory: string, layers: readonly Uint8Array[]): Promise<void> {
  await run("umoci", ["init", "--layout", "image"], { cwd: directory });
  await run("umoci", ["new", "--image", "image:v1"], { cwd: directory });
  for (const [at, layer] of layers.entries()) {
    await writeFile(join(directory, `${at}.tar`), layer);
    await run("umoci", ["raw", "add-layer", "--image", "image:v1", `${at}.tar`], { cwd: directory });
  }
}

describe("stowage unpack makes the files that umoci makes", () => {
  it("of an image with every form of whiteout and every change of type", async (context) => {
    needs(context, "umoci");
    const directory = await scratch();
    await imageOfLayers(directory, [tarOf(lowerWithParents), tarOf(upper)]);
    expect(await expectEqual(directory, "image:v1")).toBeGreaterThan(20);
  });

  it("of an image that umoci changed with insert and repack", async (context) => {
    needs(context, "umoci");
    const directory = await scratch();
    await imageOfLayers(directory, [tarOf(lowerWithParents)]);
    await mkdir(join(directory, "tree/sub"), { recursive: true });
    await writeFile(join(directory, "tree/sub/new"), "new", { mode: 0o640 });
    const insert = (...args: string[]): Promise<string> =>
      run("umoci", ["insert", ...rootless, "--image", "image:v1", ...args], { cwd: directory });
    await insert("--opaque", "tree", "/opaque");
    await insert("--whiteout", "/etc/removed");
    await insert("tree", "/inserted");
    await run("umoci", ["unpack", ...rootless, "--image", "image:v1", "bundle"], { cwd: directory });
    const rootfs = join(directory, "bundle/rootfs");
    await rm(join(rootfs, "removed-tree"), { recursive: true });
    await writeFile(join(rootfs, "etc/kept"), "changed");
    await run("umoci", ["repack", "--image", "image:v1", "bundle"], { cwd: directory });
    await expectEqual(directory, "image:v1");
  });

  it("of an image that skopeo recompressed and put into an archive", async (context) => {
    needs(context, "umoci", "skopeo");
    const directory = await scratch();
    await imageOfLayers(directory, [tarOf(lowerWithParents), tarOf(upper)]);
    const copy = (...args: string[]): Promise<string> => run("skopeo", ["copy", ...args], { cwd: directory });
    await copy("--dest-compress-format", "zstd", "--dest-compress", "oci:image:v1", "oci:zstd:v1");
    await copy("oci:image:v1", "oci-archive:image.oci.tar:v1");
    await expectEqual(directory, "image:v1", "oci:zstd:v1");
    await expectEqual(directory, "image:v1", "oci-archive:image.oci.tar");
  });

  it("of an image that crane put together", async (context) => {
    needs(context, "umoci", "skopeo", "crane");
    const directory = await scratch();
    await writeFile(join(directory, "lower.tar"), tarOf(lowerWithParents));
    await writeFile(join(directory, "upper.tar"), tarOf(upper));
    const layers = ["--new_layer", "lower.tar", "--new_layer", "upper.tar"];
    await run(
      "crane",
      ["append", "--oci-empty-base", ...layers, "--new_tag", "acme/image:v1", "--output", "crane.tar"],
      {
        cwd: directory,
      },
    );
    await run("skopeo", ["copy", "docker-archive:crane.tar", "oci:image:v1"], { cwd: directory });
    await expectEqual(directory, "image:v1");
  });

  it("of an image that buildah committed", async (context) => {
    needs(context, "umoci", "buildah");
    if (!isRoot) skip(context, "buildah takes root here");
    const directory = await scratch();
    await imageOfLayers(directory, [tarOf(lowerWithParents)]);
    const store = ["--root", join(directory, "store"), "--runroot", join(directory, "run"), "--storage-driver", "vfs"];
    const buildah = async (...args: string[]): Promise<string> =>
      (await run("buildah", [...store, ...args], { cwd: directory, env: { DOCKER_CONFIG: undefined } })).trim();
    const container = await buildah("from", "oci:image:v1");
    const rootfs = await buildah("mount", container);
    await rm(join(rootfs, "etc/removed"));
    await rm(join(rootfs, "opaque"), { recursive: true });
    await mkdir(join(rootfs, "opaque"));
    await writeFile(join(rootfs, "opaque/new"), "new");
    await rm(join(rootfs, "dir-to-file"), { recursive: true });
    await symlink("etc", join(rootfs, "dir-to-file"));
    await link(join(rootfs, "hard-a"), join(rootfs, "hard-e"));
    await chmod(join(rootfs, "etc/kept"), 0o2755);
    await buildah("umount", container);
    await buildah("commit", container, "oci:image:v2");
    await buildah("rm", container);
    await expectEqual(directory, "image:v2");
  });

  it("of a Debian root file system, devices included", async (context) => {
    needs(context, "umoci");
    const tar = debian(context);
    const directory = await scratch();
    await run("umoci", ["init", "--layout", "image"], { cwd: directory });
    await run("umoci", ["new", "--image", "image:v1"], { cwd: directory });
    await run("umoci", ["raw", "add-layer", "--image", "image:v1", tar], { cwd: directory, timeout: 100_000 });
    expect(await expectEqual(directory, "image:v1")).toBeGreaterThan(5_000);
  }, 300_000);
});

function debian(context: TestContext): string {
  const kept = join(peersDirectory, "debian-bookworm-minbase.tar");
  if (!existsSync(kept)) skip(context, "no Debian here yet; base-image.test.ts makes it");
  return kept;
}

it("--xattrs sets the extended attributes that a layer has, whatever bytes are in them", async (context) => {
  needs(context, "setfattr", "getfattr");
  const directory = await scratch();
  // As GNU tar and the Go tools write them.
  const pax = { "SCHILY.xattr.user.stowage": "a value=\twith é" };
  await writeFile(
    join(directory, "layer.tar"),
    tarOf([dir("d", { pax }), file("d/f", "x", { mode: 0o444, pax }), file("d/plain", "x")]),
  );
  await stowageJson(["build", "--layer", "layer.tar", "-t", "oci:image:v1"], { cwd: directory });
  const plain = await stowageJson<UnpackResult>(["unpack", "oci:image:v1", "plain"], { cwd: directory });
  expect(plain.withoutXattrs).toBe(2);
  const set = await stowageJson<UnpackResult>(["unpack", "oci:image:v1", "set", "--xattrs"], { cwd: directory });
  expect(set.withoutXattrs).toBe(0);
  const value = await run("getfattr", ["--only-values", "-n", "user.stowage", "set/d", "set/d/f"], { cwd: directory });
  expect(value).toBe("a value=\twith é".repeat(2));
  expect((await lstat(join(directory, "set/d/f"))).mtimeMs).toBe(1_600_000_001_000);
});
