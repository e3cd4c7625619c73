import { cp } from "node:fs/promises";
import { join } from "node:path";
import type { ChainLink, ReconcileReport } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { stowageJson } from "../cli/stowage.js";
import { type ArtifactTree, attach, type Discovered, digestsOf, orasGraph, regctlGraph, smallImage } from "./images.js";
import { launch, needs, run, runJson, scratch, stop } from "./peers.js";
import { freePort } from "./registries.js";

type Writer = (directory: string, at: number) => Promise<string>;

const writers: Readonly<Record<"stowage" | "oras" | "regctl", Writer>> = {
  stowage: (directory, at) =>
    attach(directory, "oci:out:v1", "sbom.spdx.json", "--artifact-type", `application/vnd.example.${at}`),
  async oras(directory, at) {
    const type = ["--artifact-type", `application/vnd.example.${at}`];
    const file = "signature.json:application/json";
    const attached = await runJson<{ digest: string }>(
      "oras",
      ["attach", "--oci-layout", ...type, "out:v1", file, "--format", "json"],
      { cwd: directory },
    );
    return attached.digest;
  },
  async regctl(directory, at) {
    const put = ["artifact", "put", "--subject", "ocidir://out:v1", "--artifact-type", `application/vnd.example.${at}`];
    const format = ["--format", "{{.Manifest.GetDescriptor.Digest}}"];
    return (await run("regctl", [...put, "--file", "signature.json", ...format], { cwd: directory })).trim();
  },
};

async function seenByStowage(directory: string, location = "oci:out:v1"): Promise<string[]> {
  const links = await stowageJson<ChainLink[]>(["tree", location, "--chain"], { cwd: directory });
  return links.map(({ descriptor }) => descriptor.digest).sort();
}

async function seenByOras(directory: string): Promise<string[]> {
  const arguments_ = ["discover", "--oci-layout", "out:v1", "--format", "json"];
  const graph = orasGraph(await runJson<Discovered>("oras", arguments_, { cwd: directory }));
  return graph.referrers.flatMap(digestsOf).sort();
}

async function seenByRegctl(directory: string): Promise<string[]> {
  const arguments_ = ["artifact", "tree", "ocidir://out:v1", "--format", "{{json .}}"];
  const graph = regctlGraph(await runJson<ArtifactTree>("regctl", arguments_, { cwd: directory }), "root");
  return graph.referrers.flatMap(digestsOf).sort();
}

/** What olareg answers of a copy of the layout, which it may change as it likes. */
async function seenByOlareg(directory: string, digest: string): Promise<string[]> {
  const data = await scratch();
  await cp(join(directory, "out"), join(data, "out"), { recursive: true });
  const port = await freePort();
  const server = await launch("olareg", ["serve", "--addr", "127.0.0.1", "--port", String(port), "--dir", data], data);
  try {
    const url = `http://127.0.0.1:${port}/v2/out/referrers/${digest}`;
    for (let trial = 0; ; trial++) {
      try {
        const answer = await fetch(url);
        if (answer.status !== 200) return [];
        const { manifests } = (await answer.json()) as { manifests: { digest: string }[] };
        return manifests.map((one) => one.digest).sort();
      } catch (error) {
        if (trial === 200 || server.exitCode !== null) throw error;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  } finally {
    await stop(server);
  }
}

function reconcile(directory: string, to: string): Promise<ReconcileReport> {
  return stowageJson<ReconcileReport>(["reconcile", "oci:out", "--to", to], { cwd: directory });
}

describe("a layout that several tools attached to, reconciled,", () => {
  const orders = [
    ["stowage", "oras", "regctl"],
    ["stowage", "regctl", "oras"],
    ["oras", "stowage", "regctl"],
    ["oras", "regctl", "stowage"],
    ["regctl", "stowage", "oras"],
    ["regctl", "oras", "stowage"],
  ] as const;
  it.for(orders)("is read whole by each tool: %s, then %s, then %s", async (those, context) => {
    needs(context, "oras", "regctl", "olareg");
    const { directory, digest } = await smallImage();
    const expected: string[] = [];
    for (const [at, writer] of those.entries()) {
      expected.push(await writers[writer](directory, at));
      expect(await seenByStowage(directory)).toEqual([...expected].sort());
    }
    expected.sort();
    await reconcile(directory, "all");
    expect((await reconcile(directory, "all")).changes).toEqual([]);
    expect(await seenByStowage(directory)).toEqual(expected);
    expect(await seenByOras(directory)).toEqual(expected);
    expect(await seenByRegctl(directory)).toEqual(expected);
    expect(await seenByOlareg(directory, digest)).toEqual(expected);

    // And the tools go on writing to what was reconciled.
    const late = [await writers.oras(directory, 8), await writers.regctl(directory, 9)];
    const all = [...expected, ...late].sort();
    expect(await seenByStowage(directory)).toEqual(all);
    await reconcile(directory, "all");
    expect(await seenByOras(directory)).toEqual(all);
    expect(await seenByRegctl(directory)).toEqual(all);
  });
});

describe("a layout in one tool's form", () => {
  it("is read whole by that tool, whatever form it had before", async (context) => {
    needs(context, "oras", "regctl", "olareg");
    const { directory, digest } = await smallImage();
    const expected: string[] = [];
    for (const [at, write] of Object.values(writers).entries()) expected.push(await write(directory, at));
    expected.sort();
    for (const to of ["regclient", "oras", "olareg", "regclient", "olareg", "oras", "all"]) {
      await reconcile(directory, to);
      expect(await seenByStowage(directory), to).toEqual(expected);
      // oras follows every entry there is, so it reads the forms of the others as well.
      expect(await seenByOras(directory), to).toEqual(expected);
      expect(await seenByRegctl(directory), to).toEqual(to === "regclient" || to === "all" ? expected : []);
      // olareg takes over the tagged lists of a layout that it has not seen before.
      expect(await seenByOlareg(directory, digest), to).toEqual(to === "oras" ? [] : expected);
    }
  });
});

describe("a layout that olareg has taken over", () => {
  it("shows olareg what others attach from then on, once it is reconciled", async (context) => {
    needs(context, "oras", "regctl", "olareg");
    const { directory, digest } = await smallImage();
    const expected = [await writers.stowage(directory, 0)];
    await reconcile(directory, "olareg");
    for (const [at, write] of Object.values(writers).entries()) {
      expected.push(await write(directory, at + 1));
      await reconcile(directory, "all");
      expect(await seenByOlareg(directory, digest)).toEqual([...expected].sort());
      expect(await seenByRegctl(directory)).toEqual([...expected].sort());
      expect(await seenByOras(directory)).toEqual([...expected].sort());
    }
  });
});
