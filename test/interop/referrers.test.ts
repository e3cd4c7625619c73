import type { Inspection, ListedTag } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { stowageJson } from "../cli/stowage.js";
import {
  type ArtifactTree,
  attach,
  attachAll,
  type Discovered,
  digestsOf,
  type Graph,
  orasGraph,
  regctlGraph,
  smallImage,
  sorted,
  stowageGraph,
} from "./images.js";
import { needs, run, runJson } from "./peers.js";
import { startOlareg } from "./registries.js";

const orasType = "application/vnd.example.from.oras";
const regctlType = "application/vnd.example.from.regctl";

async function discover(cwd: string, reference: string): Promise<Graph> {
  return orasGraph(
    await runJson<Discovered>("oras", ["discover", "--oci-layout", reference, "--format", "json"], { cwd }),
  );
}

function artifactTree(cwd: string, reference: string, ...options: string[]): Promise<ArtifactTree> {
  const arguments_ = ["artifact", "tree", `ocidir://${reference}`, "--format", "{{json .}}", ...options];
  return runJson<ArtifactTree>("regctl", arguments_, { cwd });
}

async function attachWithOras(cwd: string, reference: string): Promise<string> {
  const file = "signature.json:application/json";
  const attached = await runJson<{ digest: string }>(
    "oras",
    ["attach", "--oci-layout", "--artifact-type", orasType, reference, file, "--format", "json"],
    { cwd },
  );
  return attached.digest;
}

async function attachWithRegctl(cwd: string, reference: string): Promise<string> {
  const put = ["artifact", "put", "--subject", `ocidir://${reference}`, "--artifact-type", regctlType];
  const format = ["--format", "{{.Manifest.GetDescriptor.Digest}}"];
  return (await run("regctl", [...put, "--file", "signature.json", ...format], { cwd })).trim();
}

describe("what we attach in a layout", () => {
  it("is what oras discover shows, the referrer of a referrer included", async (context) => {
    needs(context, "oras");
    const { directory, digest } = await smallImage();
    const graph = await attachAll(directory, "oci:out", digest);
    expect(await discover(directory, "out:v1")).toEqual(graph);
  });

  it("is what regctl artifact tree shows, the referrer of a referrer included", async (context) => {
    needs(context, "regctl");
    const { directory, digest } = await smallImage();
    const graph = await attachAll(directory, "oci:out", digest);
    expect(regctlGraph(await artifactTree(directory, "out:v1"), digest)).toEqual(graph);
  });

  it("to a platform of an index is shown there by both", async (context) => {
    needs(context, "oras", "regctl");
    const { directory } = await smallImage();
    for (const platform of ["amd64", "arm64"]) {
      const options = ["-t", `oci:out:${platform}`, "--platform", `linux/${platform}`];
      await stowageJson(["build", "hello.txt:/hello.txt", ...options], { cwd: directory });
    }
    const refs = ["--ref", "ocidir://out:amd64", "--ref", "ocidir://out:arm64"];
    await run("regctl", ["index", "create", "ocidir://out:multi", ...refs], { cwd: directory });
    const sbom = await attach(directory, "oci:out:multi", "sbom.spdx.json", "--platform", "linux/arm64");
    const child = await stowageGraph(directory, "oci:out:arm64");
    expect(child.referrers.map((referrer) => referrer.digest)).toEqual([sbom]);

    expect(await discover(directory, `out@${child.digest}`)).toEqual(child);
    const shown = await artifactTree(directory, "out:multi");
    const children = (shown.child ?? []).map((node) => regctlGraph(node, node.reference.Digest));
    const other = (await stowageGraph(directory, "oci:out:amd64")).digest;
    expect(children).toEqual([{ digest: other, referrers: [] }, child]);
  });

  it("to an index itself is shown there by both", async (context) => {
    needs(context, "oras", "regctl");
    const { directory } = await smallImage();
    await run("regctl", ["index", "create", "ocidir://out:multi", "--ref", "ocidir://out:v1"], { cwd: directory });
    const { descriptor } = await stowageJson<Inspection>(["inspect", "oci:out:multi"], { cwd: directory });
    const graph = await attachAll(directory, "oci:out", descriptor.digest);
    expect(await discover(directory, "out:multi")).toEqual(graph);
    expect(regctlGraph(await artifactTree(directory, "out:multi"), descriptor.digest)).toEqual(graph);
  });
});

describe("one layout that stowage, oras and regctl attach to", () => {
  const orders = [
    ["stowage", "oras", "regctl"],
    ["oras", "stowage", "regctl"],
    ["oras", "regctl", "stowage"],
  ] as const;
  for (const order of orders) {
    it(`loses nothing in the order ${order.join(", ")}`, async (context) => {
      needs(context, "oras", "regctl");
      const { directory, digest } = await smallImage();
      const referrers: Graph[] = [];
      for (const writer of order) {
        if (writer === "stowage") referrers.push(...(await attachAll(directory, "oci:out", digest)).referrers);
        else if (writer === "oras")
          referrers.push({ digest: await attachWithOras(directory, "out:v1"), artifactType: orasType, referrers: [] });
        else
          referrers.push({
            digest: await attachWithRegctl(directory, "out:v1"),
            artifactType: regctlType,
            referrers: [],
          });
        expect(await stowageGraph(directory, "oci:out:v1")).toEqual(sorted({ digest, referrers }));
      }
      const all = sorted({ digest, referrers });
      const inspection = await stowageJson<Inspection>(["inspect", "oci:out:v1"], { cwd: directory });
      expect(inspection.referrers.map((referrer) => referrer.digest)).toEqual(all.referrers.map((node) => node.digest));
      const [listed] = await stowageJson<ListedTag[]>(["list", "oci:out"], { cwd: directory });
      expect(listed).toMatchObject({ tag: "v1", referrers: all.referrers.length });
      await stowageJson(["verify", "oci:out"], { cwd: directory });

      // oras reads both forms. regctl reads what oras wrote only where it is told to look at every entry.
      expect(await discover(directory, "out:v1")).toEqual(all);
      expect(regctlGraph(await artifactTree(directory, "out:v1", "--slow-referrers"), digest)).toEqual(all);
      const seen = regctlGraph(await artifactTree(directory, "out:v1"), digest);
      const notByOras = all.referrers.filter((node) => node.artifactType !== orasType);
      expect(digestsOf(seen)).toEqual(expect.arrayContaining(digestsOf({ digest, referrers: notByOras })));

      // A copy of ours registers each of them, so that regctl sees them all.
      await stowageJson(["copy", "oci:out:v1", "oci:copy:v1"], { cwd: directory });
      expect(regctlGraph(await artifactTree(directory, "copy:v1"), digest)).toEqual(all);
      expect(await discover(directory, "copy:v1")).toEqual(all);
    });
  }

  it("keeps all of them also where umoci tags and collects garbage", async (context) => {
    needs(context, "oras", "regctl", "umoci");
    const { directory, digest } = await smallImage();
    const ours = await attachAll(directory, "oci:out", digest);
    const oras = { digest: await attachWithOras(directory, "out:v1"), artifactType: orasType, referrers: [] };
    const all = sorted({ digest, referrers: [...ours.referrers, oras] });
    await run("umoci", ["tag", "--image", "out:v1", "v2"], { cwd: directory });
    await run("umoci", ["gc", "--layout", "out"], { cwd: directory });
    expect(await stowageGraph(directory, "oci:out:v2")).toEqual(all);
    await stowageJson(["verify", "oci:out"], { cwd: directory });
  });
});

describe("what olareg keeps in a layout", () => {
  it("is read from its directory, with what was attached to it before and after", async (context) => {
    needs(context, "olareg", "oras");
    const { directory, digest } = await smallImage();
    const before = await attachAll(directory, "oci:out", digest);
    const registry = await startOlareg();
    await stowageJson(["push", "oci:out:v1", `${registry.host}/app:v1`], { cwd: directory });
    const target = ["attach", "--plain-http", "--artifact-type", orasType, `${registry.host}/app:v1`];
    const { digest: oras } = await runJson<{ digest: string }>(
      "oras",
      [...target, "signature.json:application/json", "--format", "json"],
      { cwd: directory },
    );
    const all = sorted({
      digest,
      referrers: [...before.referrers, { digest: oras, artifactType: orasType, referrers: [] }],
    });
    expect(await stowageGraph(directory, `${registry.host}/app:v1`)).toEqual(all);
    expect(await stowageGraph(directory, `oci:${registry.directory}/data/app:v1`)).toEqual(all);
  });
});
