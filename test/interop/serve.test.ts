import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Served, startServe, stowageJson } from "../cli/stowage.js";
import {
  type ArtifactTree,
  attachAll,
  type Discovered,
  digestsOf,
  type Graph,
  orasGraph,
  regctlGraph,
  type SmallImage,
  smallImage,
  sorted,
  stowageGraph,
} from "./images.js";
import { needs, run, runJson } from "./peers.js";

let image: SmallImage;
let graph: Graph;
let served: Served;

beforeAll(async () => {
  image = await smallImage();
  await stowageJson(["copy", "oci:out:v1", "oci:single:v1"], { cwd: image.directory });
  graph = await attachAll(image.directory, "oci:out", image.digest);
  served = await startServe(["served"], { cwd: image.directory });
});
afterAll(() => served.stop());

const here = (): { cwd: string } => ({ cwd: image.directory });

describe("a directory of layouts that we serve", () => {
  it("takes an image from skopeo and gives it back to skopeo", async (context) => {
    needs(context, "skopeo");
    const remote = `docker://${served.host}/by/skopeo:v1`;
    await run("skopeo", ["--insecure-policy", "copy", "--dest-tls-verify=false", "oci:out:v1", remote], here());
    await run("skopeo", ["--insecure-policy", "copy", "--src-tls-verify=false", remote, "oci:skopeo:v1"], here());
    for (const location of ["oci:served/by/skopeo:v1", "oci:skopeo:v1"])
      expect((await stowageGraph(image.directory, location)).digest).toBe(image.digest);
  });

  it("takes an image from crane, which finds it valid", async (context) => {
    needs(context, "crane");
    const remote = `${served.host}/by/crane:v1`;
    await run("crane", ["push", "--insecure", "single", remote], here());
    await run("crane", ["validate", "--insecure", "--remote", remote]);
    expect((await run("crane", ["digest", "--insecure", remote])).trim()).toBe(image.digest);
    expect((await run("crane", ["catalog", "--insecure", served.host])).split("\n")).toContain("by/crane");
  });

  it("takes an image with referrers from oras, and shows them to oras, regctl and us", async (context) => {
    needs(context, "oras", "regctl");
    const remote = `${served.host}/by/oras:v1`;
    await run("oras", ["copy", "-r", "--from-oci-layout", "out:v1", "--to-plain-http", remote], here());
    await sameForEverybody(remote, graph);
  });

  it("takes an image with referrers from regctl, and shows them to oras, regctl and us", async (context) => {
    needs(context, "oras", "regctl");
    const remote = `${served.host}/by/regctl:v1`;
    const copy = ["image", "copy", "--referrers", "ocidir://out:v1", remote];
    await run("regctl", [...plain(), ...copy], here());
    await sameForEverybody(remote, graph);
  });

  it("has what a peer attached over HTTP in the layout, where the peers' own readers find it", async (context) => {
    needs(context, "oras", "regctl");
    const remote = `${served.host}/attached/by-oras:v1`;
    await stowageJson(["push", "oci:out:v1", remote], here());
    const artifactType = "application/vnd.example.later";
    const attach = ["attach", "--plain-http", "--artifact-type", artifactType, remote, "--format", "json"];
    const { digest } = await runJson<{ digest: string }>("oras", [...attach, "hello.txt:text/plain"], here());
    const all = sorted({ ...graph, referrers: [...graph.referrers, { digest, artifactType, referrers: [] }] });
    await sameForEverybody(remote, all);
    const layout = "served/attached/by-oras";
    const discover = ["discover", "--oci-layout", `${layout}:v1`, "--format", "json"];
    expect(orasGraph(await runJson<Discovered>("oras", discover, here()))).toEqual(all);
    const tree = ["artifact", "tree", `ocidir://${layout}:v1`, "--format", "{{json .}}"];
    expect(regctlGraph(await runJson<ArtifactTree>("regctl", tree, here()), image.digest)).toEqual(all);
    const verified = await stowageJson<{ referrers: number }>(["verify", `oci:${layout}`], here());
    expect(verified.referrers).toBe(digestsOf(all).length - 1);
  });
});

const plain = (): string[] => ["--host", `reg=${served.host},tls=disabled`];

async function sameForEverybody(remote: string, expected: Graph): Promise<void> {
  const discover = ["discover", "--plain-http", "--format", "json", remote];
  expect(orasGraph(await runJson<Discovered>("oras", discover))).toEqual(expected);
  const tree = [...plain(), "artifact", "tree", remote, "--format", "{{json .}}"];
  expect(regctlGraph(await runJson<ArtifactTree>("regctl", tree), image.digest)).toEqual(expected);
  expect(await stowageGraph(image.directory, remote)).toEqual(expected);
}
