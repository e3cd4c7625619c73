import { chmod, link, mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Inspection } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { stowageJson } from "../cli/stowage.js";
import { fileTree } from "./file-tree.js";
import { needs, run, scratch } from "./peers.js";

/** umoci makes the files of others only where it is root. */
const rootless = process.getuid?.() === 0 ? [] : ["--rootless"];

/** Files of every kind that a layer can have and an ordinary user can make. */
async function writeTree(root: string): Promise<void> {
  const long = "a".repeat(120);
  await mkdir(join(root, "directory", "empty"), { recursive: true });
  await mkdir(join(root, long, "b".repeat(120), "c".repeat(60)), { recursive: true });
  await mkdir(join(root, "ünï cödé", "日本"), { recursive: true });
  await writeFile(join(root, "program"), "#!/bin/sh\n");
  await writeFile(join(root, "binary"), Buffer.from(Array.from({ length: 100_000 }, (_, at) => (at * 7919) & 255)));
  await writeFile(join(root, "nothing"), "");
  await writeFile(join(root, "secret"), "secret\n");
  await writeFile(join(root, long, `${"d".repeat(200)}.txt`), "a long name\n");
  await writeFile(join(root, long, "b".repeat(120), "c".repeat(60), "deep"), "a long path\n");
  await writeFile(join(root, "ünï cödé", "日本", "ファイル 🚢.txt"), "names in UTF-8\n");
  await symlink("program", join(root, "relative link"));
  await symlink("/nowhere/at all", join(root, "dangling link"));
  await symlink("e".repeat(180), join(root, "link to a long name"));
  await symlink("../ünï cödé/日本", join(root, "directory", "リンク"));
  await link(join(root, "program"), join(root, "second name"));
  await link(join(root, "program"), join(root, "directory", "third name"));
  await link(join(root, "nothing"), join(root, "nothing else"));
  await chmod(join(root, "program"), 0o4755);
  await chmod(join(root, "secret"), 0o600);
  await chmod(join(root, "directory"), 0o700);
  await chmod(join(root, "directory", "empty"), 0o1777);
  await chmod(join(root, "nothing"), 0o444);
  await chmod(root, 0o755);
}

describe("umoci unpack", () => {
  for (const compression of ["gzip", "gzip-native", "none"]) {
    it(`makes the tree that went into an image built with --compression ${compression} --keep-modes`, async (context) => {
      needs(context, "umoci");
      const directory = await scratch();
      await mkdir(join(directory, "tree"));
      await writeTree(join(directory, "tree"));
      const options = ["-t", "oci:out:v1", "--keep-modes", "--compression", compression];
      await stowageJson(["build", "tree:/data", ...options], { cwd: directory });
      await run("umoci", ["unpack", ...rootless, "--image", "out:v1", "bundle"], { cwd: directory });
      const before = await fileTree(join(directory, "tree"));
      expect(Object.keys(before).length).toBeGreaterThan(20);
      expect(await fileTree(join(directory, "bundle", "rootfs", "data"))).toEqual(before);
    });
  }

  it("finds the modes that a build without --keep-modes says it gives", async (context) => {
    needs(context, "umoci");
    const directory = await scratch();
    await mkdir(join(directory, "tree"));
    await writeTree(join(directory, "tree"));
    await stowageJson(["build", "tree:/data", "-t", "oci:out:v1"], { cwd: directory });
    await run("umoci", ["unpack", ...rootless, "--image", "out:v1", "bundle"], { cwd: directory });
    const tree = await fileTree(join(directory, "bundle", "rootfs", "data"));
    const modes = Object.fromEntries(Object.entries(tree).map(([name, { mode }]) => [name, mode]));
    expect(modes).toMatchObject({ program: "0755", secret: "0644", nothing: "0644", directory: "0755" });
  });

  it("and GNU tar agree on what a layer holds", async (context) => {
    needs(context, "umoci", "tar");
    const directory = await scratch();
    await mkdir(join(directory, "tree"));
    await writeTree(join(directory, "tree"));
    await stowageJson(["build", "tree:/data", "-t", "oci:out:v1", "--keep-modes"], { cwd: directory });
    const { layers } = await stowageJson<Inspection>(["inspect", "oci:out:v1"], { cwd: directory });
    const [layer] = (layers ?? []).map((descriptor) => descriptor.digest.replace(":", "/"));
    await mkdir(join(directory, "extracted"));
    const blob = join(directory, "out", "blobs", layer as string);
    await run("tar", ["-xpzf", blob, "-C", join(directory, "extracted")]);
    expect(await fileTree(join(directory, "extracted", "data"))).toEqual(await fileTree(join(directory, "tree")));
  });
});
