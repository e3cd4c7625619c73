import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Served, startServe, stowageJson } from "../cli/stowage.js";
import { fileTree } from "./file-tree.js";
import { needs, run, scratch } from "./peers.js";

/** umoci makes the files of others only where it is root. */
const rootless = process.getuid?.() === 0 ? [] : ["--rootless"];

let served: Served;

beforeAll(async () => {
  served = await startServe(["--memory"]);
});

afterAll(async () => {
  await served?.stop();
});

/** Three layers: what a build made, and what two runs of umoci changed, took away and put in the place of something else. */
async function makeImage(cwd: string): Promise<void> {
  await mkdir(join(cwd, "tree", "gone"), { recursive: true });
  for (const name of ["a", "b", "turns", "gone/x"]) await writeFile(join(cwd, "tree", name), `${name}\n`);
  await mkdir(join(cwd, "tree", "again"));
  await writeFile(join(cwd, "tree", "again", "old"), "old\n");
  await stowageJson(["build", "tree:/data", "-t", "oci:out:v1"], { cwd });
  await repack(cwd, "one", async (data) => {
    await rm(join(data, "gone"), { recursive: true });
    await rm(join(data, "again"), { recursive: true });
    await rm(join(data, "turns"));
    await mkdir(join(data, "turns"));
    await writeFile(join(data, "turns", "inside"), "inside\n");
  });
  await repack(cwd, "two", async (data) => {
    await mkdir(join(data, "again"));
    await writeFile(join(data, "again", "new"), "new\n");
    await rm(join(data, "b"));
    await symlink("a", join(data, "b"));
  });
}

async function repack(cwd: string, bundle: string, change: (data: string) => Promise<void>): Promise<void> {
  await run("umoci", ["unpack", ...rootless, "--image", "out:v1", bundle], { cwd });
  await change(join(cwd, bundle, "rootfs", "data"));
  await run("umoci", ["repack", "--image", "out:v1", bundle], { cwd });
}

async function unpacked(cwd: string, tag: string) {
  await run("umoci", ["unpack", ...rootless, "--image", `out:${tag}`, `bundle-${tag}`], { cwd });
  return fileTree(join(cwd, `bundle-${tag}`, "rootfs"));
}

describe("umoci unpack", () => {
  it("finds the same files in an image after its layers were made one, or compressed again", async (context) => {
    needs(context, "umoci");
    const cwd = await scratch();
    await makeImage(cwd);
    const before = await unpacked(cwd, "v1");
    expect(Object.keys(before).sort()).toEqual(
      [".", "data", "data/a", "data/again", "data/again/new", "data/b", "data/turns", "data/turns/inside"].sort(),
    );
    for (const [tag, ...args] of [
      ["flat", "--flatten"],
      ["squashed", "--squash", "2-3"],
      ["lower", "--squash", "1-2"],
      ["plain", "--compression", "none"],
      ["timed", "--timestamps", "86400"],
    ] as const) {
      await stowageJson(["mutate", "oci:out:v1", "-t", `oci:out:${tag}`, ...args], { cwd });
      expect(await unpacked(cwd, tag), tag).toEqual(before);
    }
  });
});

describe("crane validate", () => {
  it("finds nothing wrong with what was changed", async (context) => {
    needs(context, "umoci", "crane");
    const cwd = await scratch();
    await makeImage(cwd);
    for (const args of [
      ["--flatten"],
      ["--squash", "2-3", "--compression", "gzip-native"],
      ["--media-types", "docker", "--user", "1000"],
      ["--drop-layer", "2", "--label", "a=b"],
      ["--strip", "data/again", "--timestamps", "0"],
    ]) {
      const location = `${served.host}/acme/changed:v1`;
      await stowageJson(["mutate", "oci:out:v1", "-t", location, ...args], { cwd });
      await run("crane", ["validate", "--insecure", "--remote", location], { cwd });
    }
  });
});
