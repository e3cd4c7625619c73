import { fileURLToPath } from "node:url";
import type { CopyReport, Inspection } from "@stowage/layout";
import { beforeAll, describe, expect, it } from "vitest";
import { stowage, stowageJson } from "../cli/stowage.js";
import { attachAll, type Graph, type SmallImage, smallImage, stowageGraph } from "./images.js";
import { needs, run, runJson } from "./peers.js";
import { type PeerRegistry, startDockerRegistry } from "./registries.js";

const command = new URL("../../packages/cli/bin/stowage.js", import.meta.url);
let image: SmallImage;
let graph: Graph;
let started: Promise<PeerRegistry> | undefined;
const registry = (): Promise<PeerRegistry> => (started ??= startDockerRegistry());

beforeAll(async () => {
  image = await smallImage();
  graph = await attachAll(image.directory, "oci:out", image.digest);
});

const here = (): { cwd: string } => ({ cwd: image.directory });
const copy = (from: string, to: string): Promise<CopyReport> => stowageJson<CopyReport>(["copy", from, to], here());
const inspect = (location: string): Promise<Inspection> => stowageJson<Inspection>(["inspect", location], here());
const skopeo = (from: string, to: string): Promise<string> =>
  run("skopeo", ["--insecure-policy", "copy", "--quiet", from, to], here());

describe("an oci-archive that we write", () => {
  it("is read by skopeo, with the same digest", async (context) => {
    needs(context, "skopeo");
    await copy("oci:out:v1", "oci-archive:for-skopeo.tar:v1");
    await skopeo("oci-archive:for-skopeo.tar:v1", "oci:by-skopeo:v1");
    expect((await inspect("oci:by-skopeo:v1")).descriptor.digest).toBe(image.digest);
  });

  it("is imported by regctl, with the same digest", async (context) => {
    needs(context, "regctl");
    await copy("oci:out:v1", "oci-archive:for-regctl.tar:v1");
    await run("regctl", ["image", "import", "--name", "v1", "ocidir://by-regctl:v1", "for-regctl.tar"], here());
    expect((await inspect("oci:by-regctl:v1")).descriptor.digest).toBe(image.digest);
  });

  it("is listed by GNU tar with no entry outside of the layout", async (context) => {
    needs(context, "tar");
    await copy("oci:out:v1", "oci-archive:for-tar.tar:v1");
    const names = (await run("tar", ["-tf", "for-tar.tar"], here())).trim().split("\n");
    expect(names).toEqual(expect.arrayContaining(["oci-layout", "index.json"]));
    expect(names.filter((name) => !/^(?:oci-layout|index\.json|blobs\/sha256\/[0-9a-f]{64})$/.test(name))).toEqual([]);
  });

  it("carries the referrers, and gives them back", async () => {
    await copy("oci:out:v1", "oci-archive:with-referrers.tar:v1");
    expect(await stowageGraph(image.directory, "oci-archive:with-referrers.tar:v1")).toEqual(graph);
    await copy("oci-archive:with-referrers.tar:v1", "oci:with-referrers:v1");
    expect(await stowageGraph(image.directory, "oci:with-referrers:v1")).toEqual(graph);
  });
});

describe("an oci-archive that a peer writes", () => {
  it("with skopeo is read by us, with the same digest", async (context) => {
    needs(context, "skopeo");
    await skopeo("oci:out:v1", "oci-archive:by-skopeo.tar:v1");
    expect((await copy("oci-archive:by-skopeo.tar:v1", "oci:skopeo-archive:v1")).descriptor.digest).toBe(image.digest);
    expect((await stowage(["verify", "oci-archive:by-skopeo.tar"], here())).code).toBe(0);
  });

  it("with regctl image export is read by us, with the same digest", async (context) => {
    needs(context, "regctl");
    await run("regctl", ["image", "export", "ocidir://out:v1", "by-regctl.tar"], here());
    expect((await copy("oci-archive:by-regctl.tar", "oci:regctl-archive:v1")).descriptor.digest).toBe(image.digest);
  });

  it("with oras backup is read by us with the referrers", async (context) => {
    needs(context, "oras");
    const { host } = await registryOrSkip(context);
    await stowageJson(["push", "oci:out:v1", `${host}/for/backup:v1`], here());
    const backup = [
      "backup",
      "--plain-http",
      "--include-referrers",
      "--output",
      "by-oras.tar",
      `${host}/for/backup:v1`,
    ];
    await run("oras", backup, here());
    expect(await stowageGraph(image.directory, "oci-archive:by-oras.tar:v1")).toEqual(graph);
  });
});

describe("a docker-archive that a peer writes", () => {
  it("with skopeo is read by us: the same config values, and layers that are what they say", async (context) => {
    needs(context, "skopeo");
    await skopeo("oci:out:v1", "docker-archive:by-skopeo.docker.tar:docker.io/acme/app:v1");
    await copy("docker-archive:by-skopeo.docker.tar:v1", "oci:from-docker:v1");
    const [before, after] = [await inspect("oci:out:v1"), await inspect("oci:from-docker:v1")];
    expect(after.diffIds).toEqual(before.diffIds);
    expect(after.platform).toEqual(before.platform);
    expect((await stowage(["verify", "oci:from-docker", "--full"], here())).code).toBe(0);
  });

  it("with skopeo and gzip goes through a pipe into a layout", async (context) => {
    needs(context, "skopeo");
    needs(context, "gzip");
    await skopeo("oci:out:v1", "docker-archive:piped.tar:docker.io/acme/app:v1");
    const script = `gzip -c piped.tar | "$0" "$1" copy docker-archive:- oci:from-pipe:v1 --quiet`;
    await run("sh", ["-c", script, process.execPath, fileURLToPath(command)], here());
    expect((await inspect("oci:from-pipe:v1")).diffIds).toEqual((await inspect("oci:out:v1")).diffIds);
  });

  it("with crane is read by us with the layers as they were in the registry", async (context) => {
    needs(context, "crane");
    const { host } = await registryOrSkip(context);
    await copy("oci:out:v1", `${host}/for/crane:v1`);
    await run("crane", ["pull", "--insecure", `${host}/for/crane:v1`, "by-crane.tar"], here());
    await copy("docker-archive:by-crane.tar", "oci:crane-archive:v1");
    const [before, after] = [await inspect("oci:out:v1"), await inspect("oci:crane-archive:v1")];
    expect(after.layers?.map(({ digest }) => digest)).toEqual(before.layers?.map(({ digest }) => digest));
  });
});

describe("a docker-archive that we write", () => {
  it("is read by skopeo: same layers uncompressed, same config values", async (context) => {
    needs(context, "skopeo");
    await copy("oci:out:v1", "docker-archive:for-skopeo.docker.tar:acme/app:v1");
    await skopeo("docker-archive:for-skopeo.docker.tar:docker.io/acme/app:v1", "oci:docker-by-skopeo:v1");
    const [before, after] = [await inspect("oci:out:v1"), await inspect("oci:docker-by-skopeo:v1")];
    expect(after.diffIds).toEqual(before.diffIds);
    expect(after.platform).toEqual(before.platform);
  });

  it("under a name without a host is read by skopeo as a name on Docker Hub", async (context) => {
    needs(context, "skopeo");
    await copy("oci:out:v1", "docker-archive:short-name.tar:app:v1");
    const tags = await runJson<{ Tags: string[] }>("skopeo", ["list-tags", "docker-archive:short-name.tar"], here());
    expect(tags.Tags).toEqual(["docker.io/library/app:v1"]);
  });

  it("is valid for crane, which pushes it with our config and layers", async (context) => {
    needs(context, "crane");
    const { host } = await registryOrSkip(context);
    await copy("oci:out:v1", "docker-archive:for-crane.tar:acme/app:v1");
    await run("crane", ["validate", "--tarball", "for-crane.tar"], here());
    await run("crane", ["push", "--insecure", "for-crane.tar", `${host}/by/crane:v1`], here());
    const [before, after] = [await inspect("oci:out:v1"), await inspect(`${host}/by/crane:v1`)];
    expect(after.layers?.map(({ digest }) => digest)).toEqual(before.layers?.map(({ digest }) => digest));
    expect(after.diffIds).toEqual(before.diffIds);
  });

  it("is imported by regctl with the digest of the image, since it holds the layout too", async (context) => {
    needs(context, "regctl");
    await copy("oci:out:v1", "docker-archive:for-regctl.docker.tar:v1");
    await run("regctl", ["image", "import", "ocidir://docker-by-regctl:v1", "for-regctl.docker.tar"], here());
    expect((await inspect("oci:docker-by-regctl:v1")).descriptor.digest).toBe(image.digest);
  });
});

async function registryOrSkip(context: Parameters<typeof needs>[0]): Promise<PeerRegistry> {
  needs(context, "docker-registry");
  return registry();
}
