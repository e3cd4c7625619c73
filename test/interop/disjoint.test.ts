import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BindPlan, UnpackDisjointResult } from "@stowage/image";
import { describe, expect, it, type TestContext } from "vitest";
import { type TarMember, tarOf } from "../../packages/layout/test/tar.js";
import { stowageJson } from "../cli/stowage.js";
import { fileTree } from "./file-tree.js";
import { attempt, needs, run, scratch, skip } from "./peers.js";
import { startDockerRegistry, startZot, zot } from "./registries.js";

const isRoot = process.getuid?.() === 0;
const rootless = isRoot ? [] : ["--rootless"];
const dir = (name: string, mode = 0o755): TarMember => ({ name: `${name}/`, type: "5", mode, mtime: 1 });

/** What a store path looks like, beside the directories that lead to it. */
function packageMembers(name: string): TarMember[] {
  const path = `nix/store/${name}`;
  return [
    dir("nix"),
    dir("nix/store"),
    dir(path, 0o555),
    dir(`${path}/bin`, 0o555),
    { name: `${path}/bin/${name}`, content: `#!/bin/sh\necho ${name}\n`, mode: 0o555, mtime: 1 },
    { name: `${path}/link`, type: "2", link: `bin/${name}`, mode: 0o777, mtime: 1 },
    { name: `${path}/same`, type: "1", link: `${path}/bin/${name}`, mtime: 1 },
  ];
}

/** Builds an image of these layers and annotates it. */
async function build(directory: string, tag: string, layers: readonly (readonly TarMember[])[]): Promise<void> {
  await mkdir(join(directory, tag));
  const args: string[] = [];
  for (const [at, members] of layers.entries()) {
    await writeFile(join(directory, tag, `${at}.tar`), tarOf(members));
    args.push("--layer", join(tag, `${at}.tar`));
  }
  await stowageJson(["build", ...args, "-t", `oci:image:${tag}-plain`], { cwd: directory });
  await stowageJson(["disjoint", "annotate", `oci:image:${tag}-plain`, `oci:image:${tag}`, "--readonly"], {
    cwd: directory,
  });
}

const names = (count: number): string[] => Array.from({ length: count }, (_, at) => `p${at}`);
const unpack = (directory: string, image: string, to: string, ...args: string[]): Promise<UnpackDisjointResult> =>
  stowageJson(["unpack", image, to, ...args], { cwd: directory });

describe("disjoint layers", () => {
  it("many in any order, few with the same files, and each way to unpack them, are one tree to umoci", async (context) => {
    needs(context, "umoci");
    const directory = await scratch();
    const packages = names(9);
    const groups = [packages.slice(0, 4), packages.slice(4)].map((group) => {
      const members = group.flatMap(packageMembers);
      return members.filter(({ name }, at) => members.findIndex((other) => other.name === name) === at);
    });
    await build(directory, "wide", packages.map(packageMembers));
    await build(directory, "turned", packages.map(packageMembers).reverse());
    await build(directory, "narrow", groups);
    const trees: unknown[] = [];
    for (const tag of ["wide", "turned", "narrow"]) {
      await run("umoci", ["raw", "unpack", ...rootless, "--image", `image:${tag}`, `umoci-${tag}`], { cwd: directory });
      trees.push(await fileTree(join(directory, `umoci-${tag}`), { whole: true }));
      for (const mode of ["merge", "hardlink", "reflink"]) {
        const store = mode === "merge" ? [] : ["--store", "layers"];
        await unpack(directory, `oci:image:${tag}`, `${mode}-${tag}`, "--disjoint", mode, ...store);
        trees.push(await fileTree(join(directory, `${mode}-${tag}`), { whole: true }));
      }
    }
    expect(Object.keys(trees[0] as object)).toHaveLength(1 + 2 + 9 * 5);
    for (const tree of trees) expect(tree).toEqual(trees[0]);
  });

  it("bound from a store by runc, are a container that can read and run them and change none", async (context) => {
    if (process.platform !== "linux" || !isRoot) skip(context, "running a container takes Linux and root here");
    needs(context, "umoci", "runc", "apt-get", "dpkg-deb");
    const directory = await scratch();
    const busybox = await fetchBusybox(context, directory);
    await build(directory, "v1", [
      ...names(3).map(packageMembers),
      [dir("nix"), dir("nix/store"), { name: "nix/store/one-file", content: "one file\n", mode: 0o444, mtime: 1 }],
      [
        dir("bin"),
        { name: "bin/busybox", content: busybox, mode: 0o755 },
        { name: "bin/sh", type: "2", link: "busybox" },
      ],
    ]);
    const layers = ["--store", "layers"];
    const result = await unpack(directory, "oci:image:v1", "bundle", "--disjoint", "bind-plan", ...layers);
    expect(result.mounts).toBe(5);
    const bundle = join(directory, "bundle");
    await run("runc", ["spec", "--bundle", bundle], { cwd: directory });
    const plan = JSON.parse(await readFile(join(bundle, "mounts.json"), "utf8")) as BindPlan;
    const config = JSON.parse(await readFile(join(bundle, "config.json"), "utf8"));
    const script =
      "p1 && /nix/store/p2/link && cat /nix/store/one-file && ! touch /nix/store/p0/x && ! echo x >/nix/store/one-file";
    config.process = { ...config.process, terminal: false, args: ["/bin/busybox", "sh", "-c", script] };
    config.process.env = ["PATH=/nix/store/p1/bin:/bin"];
    config.root = plan.root;
    config.mounts.push(...plan.mounts);
    config.linux.readonlyPaths.push(...plan.linux.readonlyPaths);
    await writeFile(join(bundle, "config.json"), JSON.stringify(config));
    const name = `stowage-disjoint-${process.pid}`;
    const state = ["--root", join(directory, "state")];
    try {
      const ended = await attempt("runc", [...state, "run", "--bundle", bundle, name], { cwd: directory });
      expect(ended).toMatchObject({ code: 0, stdout: "p1\np2\none file\n" });
      expect(ended.stderr).toContain("Read-only file system");
    } finally {
      await attempt("runc", [...state, "delete", "--force", name], { cwd: directory });
    }
    // The files of the store are what they were.
    const again = await unpack(
      directory,
      "oci:image:v1",
      "again",
      "--disjoint",
      "hardlink",
      ...layers,
      "--check-store",
    );
    expect(again).toMatchObject({ reused: 5, bytesWritten: 0 });
  });

  it("more than any kernel stacks, through real registries and back, unpack to the same tree, and to umoci's", async (context) => {
    needs(context, "umoci", "docker-registry", zot);
    const directory = await scratch();
    await build(directory, "wide", names(520).map(packageMembers));
    await run("umoci", ["raw", "unpack", ...rootless, "--image", "image:wide", "umoci"], { cwd: directory });
    const expected = JSON.stringify(await fileTree(join(directory, "umoci"), { whole: true }));
    for (const registry of [await startZot(), await startDockerRegistry()]) {
      const there = `${registry.host}/acme/wide:v1`;
      await stowageJson(["copy", "oci:image:wide", there], { cwd: directory });
      await stowageJson(["copy", there, `oci:${registry.program}:v1`], { cwd: directory });
      const result = await unpack(
        directory,
        `oci:${registry.program}:v1`,
        `of-${registry.program}`,
        "--disjoint",
        "merge",
      );
      expect(result).toMatchObject({ layers: 520, disjoint: 520 });
      // A difference would fill the screen.
      const tree = JSON.stringify(await fileTree(join(directory, `of-${registry.program}`), { whole: true }));
      expect(tree === expected).toBe(true);
    }
  }, 300_000);
});

async function fetchBusybox(context: TestContext, directory: string): Promise<Buffer> {
  const fetched = await attempt("apt-get", ["download", "-q", "busybox-static"], { cwd: directory });
  if (fetched.code !== 0) skip(context, `busybox-static cannot be had: ${fetched.stderr.trim().split("\n").at(-1)}`);
  const archive = (await readdir(directory)).find((name) => name.endsWith(".deb")) as string;
  await run("dpkg-deb", ["-x", archive, "package"], { cwd: directory });
  return readFile(join(directory, "package/bin/busybox"));
}
