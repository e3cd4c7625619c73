import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { ImageManifest, Inspection } from "@stowage/layout";
import { beforeAll, describe, expect, it, type TestContext } from "vitest";
import { stowageJson } from "../cli/stowage.js";
import { attachAll, type SmallImage, smallImage } from "./images.js";
import { attempt, launch, needs, run, runJson, scratch, skip } from "./peers.js";

const NAME = "registry.example/acme/app:v1";
let image: SmallImage;
const here = (): { cwd: string } => ({ cwd: image.directory });
const json = <T>(...args: string[]): Promise<T> => stowageJson<T>(args, here());
const inspect = (location: string): Promise<Inspection> => json<Inspection>("inspect", location);

beforeAll(async () => {
  image = await smallImage();
  // With referrers: a loader must neither trip over them nor take them for images.
  await attachAll(image.directory, "oci:out", image.digest);
  for (const format of ["hybrid", "docker", "oci"])
    await json("export", "oci:out:v1", `${format}.tar`, "--name", NAME, "--format", format);
  await json("export", "oci:out:v1", "plain.tar", "--name", NAME, "--format", "oci", "--referrers", "none");
  await json("export", "oci:out:v1", "two.tar", "--name", NAME, "--name", "registry.example/acme/other:v2");
  await json("export", "oci:out:v1", "tag.tar", "--names", "oci", "--name", NAME);
});

const blobOf = (digest: string): string => `blobs/${digest.replace(":", "/")}`;

let started: Promise<string> | undefined;

/** The directory of a Docker of its own, with a containerd of its own, which keeps everything in there. */
function docker(context: TestContext): Promise<string> {
  needs(context, "docker", "dockerd", "containerd", "ctr", "runc");
  if (process.getuid?.() !== 0) skip(context, "dockerd wants root");
  started ??= startDocker();
  return started;
}

async function startDocker(): Promise<string> {
  const directory = await scratch();
  await launch(
    "dockerd",
    [
      ...["--storage-driver=vfs", "--bridge=none", "--iptables=false", "--ip6tables=false"],
      ...[`--data-root=${join(directory, "data")}`, `--exec-root=${join(directory, "exec")}`],
      ...[`--pidfile=${join(directory, "pid")}`, `--host=unix://${join(directory, "docker.sock")}`],
    ],
    directory,
  );
  for (let tries = 0; tries < 150; tries++) {
    const { code } = await attempt("docker", ["-H", `unix://${join(directory, "docker.sock")}`, "version"]);
    if (code === 0) return directory;
    await sleep(200);
  }
  throw new Error("dockerd does not answer");
}

describe("docker", () => {
  const call = (directory: string, ...args: string[]): Promise<string> =>
    run("docker", ["-H", `unix://${join(directory, "docker.sock")}`, ...args], here());

  it.for(["hybrid.tar", "docker.tar", "two.tar"])(
    "loads %s under its names, and saves what we import",
    async (file, context) => {
      const directory = await docker(context);
      expect(await call(directory, "load", "-i", file)).toContain(`Loaded image: ${NAME}`);
      await call(directory, "save", NAME, "-o", `saved-${file}`);
      await json("import", `saved-${file}`, `oci:saved-${file}-layout`);
      const [before, after] = [await inspect("oci:out:v1"), await inspect(`oci:saved-${file}-layout:v1`)];
      expect(after.diffIds).toEqual(before.diffIds);
      expect(after.platform).toEqual(before.platform);
      await call(directory, "rmi", "-f", NAME);
    },
  );
});

describe("containerd", () => {
  const call = (directory: string, ...args: string[]): Promise<string> =>
    run(
      "ctr",
      ["-a", join(directory, "exec", "containerd", "containerd.sock"), "-n", "test", "images", ...args],
      here(),
    );

  it("imports the default as kind and k3s do, all platforms, with the digest, and only the image", async (context) => {
    const directory = await docker(context);
    await call(directory, "import", "--all-platforms", "--snapshotter", "native", "hybrid.tar");
    expect((await call(directory, "ls", "-q")).trim()).toBe(NAME);
    expect(await call(directory, "ls")).toContain(image.digest);
    await call(directory, "export", "by-containerd.tar", NAME);
    await json("import", "by-containerd.tar", "oci:by-containerd");
    expect((await inspect(`oci:by-containerd:${NAME}`)).descriptor.digest).toBe(image.digest);
    await call(directory, "rm", NAME);
  });

  it("imports what docker alone would load, and a layout without referrers", async (context) => {
    const directory = await docker(context);
    for (const file of ["docker.tar", "plain.tar"]) {
      await call(directory, "import", "--all-platforms", "--snapshotter", "native", file);
      expect((await call(directory, "ls", "-q")).trim()).toBe(NAME);
      await call(directory, "rm", NAME);
    }
  });
});

describe("podman", () => {
  let storage: string;
  const call = (...args: string[]): Promise<string> =>
    run(
      "podman",
      [
        ...["--root", join(storage, "root"), "--runroot", join(storage, "run"), "--tmpdir", join(storage, "tmp")],
        ...["--storage-driver", "vfs", "--events-backend", "none", "--cgroup-manager", "cgroupfs", ...args],
      ],
      here(),
    );

  it("loads the default, what docker loads, and a layout, under the name; with the digest where the layout is there", async (context) => {
    needs(context, "podman");
    if (process.getuid?.() !== 0) skip(context, "podman without root wants more than a user here has");
    storage = await scratch();
    await mkdir(join(storage, "tmp"));
    for (const [file, digest] of [
      ["hybrid.tar", image.digest],
      ["plain.tar", image.digest],
      ["docker.tar", ""],
    ] as const) {
      expect(await call("load", "-i", file)).toContain(`Loaded image: ${NAME}`);
      const [found] = JSON.parse(await call("image", "inspect", NAME)) as { Digest: string }[];
      expect(found?.Digest).toContain(digest);
      await call("rmi", NAME);
    }
    expect(await call("load", "-i", "two.tar")).toContain("registry.example/acme/other:v2");
    await call("save", "-o", "by-podman.tar", "--multi-image-archive", NAME, "registry.example/acme/other:v2");
    await call("save", "-o", "by-podman.oci.tar", "--format", "oci-archive", NAME);
    for (const file of ["by-podman.tar", "by-podman.oci.tar"]) {
      await json("import", file, `oci:${file}.layout`);
      const after = await inspect(`oci:${file}.layout:${NAME}`);
      expect(after.diffIds).toEqual((await inspect("oci:out:v1")).diffIds);
    }
    await inspect("oci:by-podman.tar.layout:registry.example/acme/other:v2");
  });
});

describe("buildah, skopeo, crane, regctl and oras", () => {
  it("buildah pulls from it, as a layout and as what docker loads", async (context) => {
    needs(context, "buildah");
    const storage = await scratch();
    const store = ["--root", join(storage, "root"), "--runroot", join(storage, "run"), "--storage-driver", "vfs"];
    const account = join(storage, "auth.json");
    const { config } = await runJson<ImageManifest>("tar", ["-xOf", "hybrid.tar", blobOf(image.digest)], here());
    await writeFile(account, "{}");
    for (const transport of ["oci-archive", "docker-archive"]) {
      const id = (
        await run("buildah", [...store, "pull", "--authfile", account, "--quiet", `${transport}:hybrid.tar`], here())
      ).trim();
      expect(id).toBe(config.digest.slice(7));
    }
  });

  it("skopeo reads all formats, by the full name", async (context) => {
    needs(context, "skopeo");
    const digestOf = async (from: string): Promise<string> =>
      (await runJson<{ Digest: string }>("skopeo", ["inspect", from], here())).Digest;
    expect(await digestOf(`oci-archive:hybrid.tar:${NAME}`)).toBe(image.digest);
    expect(await digestOf("oci-archive:plain.tar")).toBe(image.digest);
    expect(await digestOf("oci-archive:tag.tar:v1")).toBe(image.digest);
    for (const file of ["hybrid.tar", "docker.tar"])
      await run(
        "skopeo",
        ["--insecure-policy", "copy", `docker-archive:${file}:${NAME}`, `dir:by-skopeo-${file}`],
        here(),
      );
  });

  it("crane finds both formats that docker loads valid", async (context) => {
    needs(context, "crane");
    for (const file of ["hybrid.tar", "docker.tar"])
      expect(await run("crane", ["validate", "--tarball", file], here())).toContain("PASS");
  });

  it("regctl imports all formats, those with a layout with the digest", async (context) => {
    needs(context, "regctl");
    for (const file of ["hybrid", "oci", "docker"])
      await run("regctl", ["image", "import", "--name", NAME, `ocidir://by-regctl-${file}:v1`, `${file}.tar`], here());
    expect((await inspect("oci:by-regctl-hybrid:v1")).descriptor.digest).toBe(image.digest);
    expect((await inspect("oci:by-regctl-oci:v1")).descriptor.digest).toBe(image.digest);
    expect((await inspect("oci:by-regctl-docker:v1")).diffIds).toEqual((await inspect("oci:out:v1")).diffIds);
  });

  it("oras reads it by the digest, and by the tag where only that is the name", async (context) => {
    needs(context, "oras");
    for (const from of [`hybrid.tar@${image.digest}`, "tag.tar:v1"]) {
      const descriptor = await runJson<{ digest: string }>(
        "oras",
        ["manifest", "fetch", "--descriptor", "--oci-layout", from],
        here(),
      );
      expect(descriptor.digest).toBe(image.digest);
    }
    const found = await run(
      "oras",
      ["discover", "--oci-layout", `oci.tar@${image.digest}`, "--format", "json"],
      here(),
    );
    expect(found).toContain("application/spdx+json");
  });
});
