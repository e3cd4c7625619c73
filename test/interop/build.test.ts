import { link, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { IndexBuildResult } from "@stowage/image";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Served, startServe, stowageJson } from "../cli/stowage.js";
import { fileTree } from "./file-tree.js";
import { attempt, needs, run, scratch, skip } from "./peers.js";

const isRoot = process.getuid?.() === 0;
/** umoci makes the files of others only where it is root. */
const rootless = isRoot ? [] : ["--rootless"];

let served: Served;
let cwd: string;
let built: IndexBuildResult;

/** An index of two images with everything that a build can put into one, and the first of them by itself. */
beforeAll(async () => {
  served = await startServe(["--memory"]);
  cwd = await scratch();
  for (const arch of ["amd64", "arm64"]) {
    await mkdir(join(cwd, "dist", arch), { recursive: true });
    await writeFile(join(cwd, "dist", arch, "server"), `for ${arch}\n`);
  }
  await mkdir(join(cwd, "tree", "empty"), { recursive: true });
  await writeFile(join(cwd, "tree", "file"), Buffer.alloc(2_500_000, "some bytes and more "));
  await writeFile(join(cwd, "tree", `${"long".repeat(40)}-ä`), "x");
  await link(join(cwd, "tree", "file"), join(cwd, "tree", "other name"));
  await symlink("../nowhere", join(cwd, "tree", "link"));
  const owner = isRoot ? ":3000000:7" : "";
  const options = [
    ...["--layer", `tree:/tree:644${owner}`, "dist/{arch}/server:/bin/server:755"],
    ...["--platform", "linux/amd64,linux/arm64", "--data-max", "700B", "--created", "4294967296"],
    ...["--annotation", "manifest:a=1", "--annotation", "index:b=2", "--annotation", "manifest-descriptor:c=3"],
    ...["--healthcheck", "true", "--health-interval", "1m", "--expose", "80", "--volume", "/data"],
    ...["--stop-signal", "SIGINT", "--label", "x=y", "--user", "1:1", "--author", "me", "--comment", "text"],
  ];
  built = await stowageJson<IndexBuildResult>(["build", ...options, "-t", "oci:out:v1"], { cwd });
  await stowageJson(["copy", `oci:out@${built.images[0]?.descriptor.digest}`, "oci:out:one"], { cwd });
  await stowageJson(["copy", "oci:out:v1", `${served.host}/acme/app:v1`], { cwd });
});

afterAll(async () => {
  await served?.stop();
});

describe("what we build is taken by", () => {
  it("crane, which validates index and images", async (context) => {
    needs(context, "crane");
    const location = `${served.host}/acme/app:v1`;
    await run("crane", ["validate", "--insecure", "--remote", location], { cwd });
    const digest = await run("crane", ["digest", "--insecure", "--platform", "linux/arm64", location], { cwd });
    expect(digest.trim()).toBe(built.images[1]?.descriptor.digest);
  });

  it("skopeo, which copies all of it and keeps the digest", async (context) => {
    needs(context, "skopeo");
    await run("skopeo", ["copy", "--all", "--preserve-digests", "oci:out:v1", "oci:copied:v1"], { cwd });
    const index = JSON.parse(await readFile(join(cwd, "copied", "index.json"), "utf8")) as {
      manifests: { digest: string }[];
    };
    expect(index.manifests.map(({ digest }) => digest)).toEqual([built.descriptor.digest]);
    const config = JSON.parse(await run("skopeo", ["inspect", "--config", "oci:out:one"], { cwd }));
    expect(config).toMatchObject({ architecture: "amd64", author: "me", config: { StopSignal: "SIGINT" } });
  });

  it("umoci, which makes the files of it that we make", async (context) => {
    needs(context, "umoci");
    await run("umoci", ["raw", "unpack", ...rootless, "--image", "out:one", "theirs"], { cwd });
    await stowageJson(["unpack", "oci:out:one", "ours"], { cwd });
    const theirs = await fileTree(join(cwd, "theirs"), { whole: true });
    expect(await fileTree(join(cwd, "ours"), { whole: true })).toEqual(theirs);
    expect(Object.keys(theirs).length).toBeGreaterThan(8);
    await run("umoci", ["stat", "--image", "out:one", "--json"], { cwd });
  });

  it("buildah, which makes a container of it", async (context) => {
    needs(context, "buildah");
    if (!isRoot) skip(context, "buildah takes root here");
    const store = ["--root", join(cwd, "store"), "--runroot", join(cwd, "run"), "--storage-driver", "vfs"];
    const buildah = async (...args: string[]): Promise<string> =>
      (await run("buildah", [...store, ...args], { cwd, env: { DOCKER_CONFIG: undefined } })).trim();
    const container = await buildah("from", "oci:out:one");
    const rootfs = await buildah("mount", container);
    expect(await readFile(join(rootfs, "bin/server"), "utf8")).toBe("for amd64\n");
    await buildah("umount", container);
    await buildah("rm", container);
  });

  it("podman, which loads it", async (context) => {
    needs(context, "podman");
    if (!isRoot) skip(context, "podman takes root here");
    const store = ["--root", join(cwd, "store"), "--runroot", join(cwd, "run"), "--storage-driver", "vfs"];
    const works = await attempt("podman", [...store, "info"], { cwd });
    if (works.code !== 0) skip(context, `podman does not run here: ${works.stderr.trim().split("\n").at(-1)}`);
    const pulled = await run("podman", [...store, "pull", "oci:out:one"], { cwd, env: { DOCKER_CONFIG: undefined } });
    expect(pulled).toMatch(/^[0-9a-f]{64}\n$/);
  });

  it("oras and regctl, where it is an artifact", async (context) => {
    needs(context, "oras", "regctl");
    await writeFile(join(cwd, "model.bin"), "weights");
    const options = ["--artifact-type", "application/vnd.example.model", "--data-max", "100B"];
    await stowageJson(["build", "model.bin:application/vnd.example.weights", ...options, "-t", "oci:out:art"], { cwd });
    await run("oras", ["pull", "--oci-layout", "out:art", "--output", "pulled"], { cwd });
    expect(await readFile(join(cwd, "pulled", "model.bin"), "utf8")).toBe("weights");
    await mkdir(join(cwd, "got"));
    await run("regctl", ["artifact", "get", "ocidir://out:art", "--output", join(cwd, "got")], { cwd });
    expect(await readFile(join(cwd, "got", "model.bin"), "utf8")).toBe("weights");
  });
});
