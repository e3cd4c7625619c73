import type { CopyReport, Inspection } from "@stowage/layout";
import { beforeAll, describe, expect, it } from "vitest";
import { stowageJson } from "../cli/stowage.js";
import { attachAll, digestsOf, type Graph, type SmallImage, smallImage, stowageGraph } from "./images.js";
import { needs, run } from "./peers.js";
import { type PeerRegistry, startDockerRegistry } from "./registries.js";

let image: SmallImage;
let graph: Graph;
let started: Promise<PeerRegistry> | undefined;
const registry = (): Promise<PeerRegistry> => (started ??= startDockerRegistry());

beforeAll(async () => {
  image = await smallImage();
  // crane takes a layout only where it holds one entry.
  await stowageJson(["copy", "oci:out:v1", "oci:single:v1"], { cwd: image.directory });
  graph = await attachAll(image.directory, "oci:out", image.digest);
});

const pull = (from: string, to: string): Promise<CopyReport> =>
  stowageJson<CopyReport>(["pull", from, to], { cwd: image.directory });

describe("an image built into a layout", () => {
  it("goes through skopeo into a registry, and comes back with the same digests", async (context) => {
    needs(context, "skopeo", "docker-registry");
    const { host } = await registry();
    const to = ["--dest-tls-verify=false", "oci:out:v1", `docker://${host}/skopeo/app:v1`];
    await run("skopeo", ["--insecure-policy", "copy", ...to], { cwd: image.directory });
    const report = await pull(`${host}/skopeo/app:v1`, "oci:from-skopeo:v1");
    expect(report.descriptor.digest).toBe(image.digest);
    const before = await inspect("oci:out:v1");
    const after = await inspect("oci:from-skopeo:v1");
    expect(after.layers).toEqual(before.layers);
    expect(after.config).toEqual(before.config);
  });

  it("is pushed by crane, and pulled by crane into a layout that we read", async (context) => {
    needs(context, "crane", "docker-registry");
    const { host } = await registry();
    await run("crane", ["push", "--insecure", "single", `${host}/crane/app:v1`], { cwd: image.directory });
    expect((await pull(`${host}/crane/app:v1`, "oci:pushed-by-crane:v1")).descriptor.digest).toBe(image.digest);
    const out = ["--format=oci", `${host}/crane/app:v1`, "from-crane"];
    await run("crane", ["pull", "--insecure", ...out], { cwd: image.directory });
    // The layout's one entry has no name.
    expect((await inspect("oci:from-crane")).descriptor.digest).toBe(image.digest);
    expect((await pull("oci:from-crane", "oci:from-crane-again:v1")).descriptor.digest).toBe(image.digest);
  });

  it("is copied by regctl into a registry with its referrers", async (context) => {
    needs(context, "regctl", "docker-registry");
    const { host } = await registry();
    const plain = ["--host", `reg=${host},tls=disabled`];
    const copy = ["image", "copy", "--referrers", "ocidir://out:v1", `${host}/regctl/app:v1`];
    await run("regctl", [...plain, ...copy], { cwd: image.directory });
    expect(await stowageGraph(image.directory, `${host}/regctl/app:v1`)).toEqual(graph);
    const report = await pull(`${host}/regctl/app:v1`, "oci:from-regctl:v1");
    expect(report.referrers).toEqual({ found: digestsOf(graph).length - 1, copied: digestsOf(graph).length - 1 });
    expect(await stowageGraph(image.directory, "oci:from-regctl:v1")).toEqual(graph);
  });

  it("is copied by oras into a registry with its referrers", async (context) => {
    needs(context, "oras", "docker-registry");
    const { host } = await registry();
    const copy = ["copy", "-r", "--from-oci-layout", "out:v1", "--to-plain-http", `${host}/oras/app:v1`];
    await run("oras", copy, { cwd: image.directory });
    expect(await stowageGraph(image.directory, `${host}/oras/app:v1`)).toEqual(graph);
  });

  it("that we push has the same digest for crane, regctl, oras and skopeo, and is valid for crane", async (context) => {
    needs(context, "crane", "regctl", "oras", "skopeo", "docker-registry");
    const { host } = await registry();
    const reference = `${host}/stowage/app:v1`;
    await stowageJson(["push", "oci:out:v1", reference], { cwd: image.directory });
    await run("crane", ["validate", "--insecure", "--remote", reference]);
    const digests = await Promise.all([
      run("crane", ["digest", "--insecure", reference]),
      run("regctl", ["--host", `reg=${host},tls=disabled`, "manifest", "head", reference]),
      run("oras", ["resolve", "--plain-http", reference]),
      run("skopeo", ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", `docker://${reference}`]),
    ]);
    expect(digests.map((text) => text.trim())).toEqual([image.digest, image.digest, image.digest, image.digest]);
  });
});

describe("a layout that skopeo wrote", () => {
  it("under an image name without a host is listed, inspected and copied by that name", async (context) => {
    needs(context, "skopeo");
    const copy = ["copy", "oci:out:v1", "oci:named:app:v1"];
    await run("skopeo", ["--insecure-policy", ...copy], { cwd: image.directory });
    const listed = await stowageJson<{ tag: string }[]>(["list", "oci:named"], { cwd: image.directory });
    expect(listed.map(({ tag }) => tag)).toEqual(["app:v1"]);
    for (const location of ["oci:named", "oci:named:app:v1", "oci:named:v1"])
      expect((await inspect(location)).descriptor.digest).toBe(image.digest);
    await pull("oci:named", "oci:named-copy");
    expect((await inspect("oci:named-copy:app:v1")).descriptor.digest).toBe(image.digest);
  });
});

function inspect(location: string): Promise<Inspection> {
  return stowageJson<Inspection>(["inspect", location], { cwd: image.directory });
}
