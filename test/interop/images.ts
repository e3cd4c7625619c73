import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BuildResult } from "@stowage/image";
import type { Descriptor, TreeNode } from "@stowage/layout";
import { stowageJson } from "../cli/stowage.js";
import { scratch } from "./peers.js";

/** A manifest with what refers to it, by digest, the way the tests compare it. */
export interface Graph {
  readonly digest: string;
  readonly artifactType?: string;
  readonly referrers: readonly Graph[];
}

/** A directory with a small image at `oci:out:v1`, and the files that tests attach. */
export interface SmallImage {
  readonly directory: string;
  readonly digest: string;
}

/** Builds a small image in a new directory. */
export async function smallImage(): Promise<SmallImage> {
  const directory = await scratch();
  await writeFile(join(directory, "hello.txt"), "hello\n");
  await writeFile(join(directory, "sbom.spdx.json"), JSON.stringify({ spdxVersion: "SPDX-2.3", name: "small" }));
  await writeFile(join(directory, "signature.json"), JSON.stringify({ signed: "with nothing" }));
  const built = await stowageJson<BuildResult>(["build", "hello.txt:/hello.txt", "-t", "oci:out:v1"], {
    cwd: directory,
  });
  return { directory, digest: built.descriptor.digest };
}

/** Attaches a file with stowage and returns the digest of the referrer. */
export async function attach(
  directory: string,
  subject: string,
  file: string,
  ...options: readonly string[]
): Promise<string> {
  const attached = await stowageJson<{ descriptor: Descriptor }>(["attach", subject, file, ...options], {
    cwd: directory,
  });
  return attached.descriptor.digest;
}

/** The types of what {@link attachAll} attaches. */
export const types = {
  sbom: "application/spdx+json",
  signature: "application/vnd.example.signature",
  nested: "application/vnd.example.signature.of.signature",
} as const;

/** Attaches an SBOM, a signature, and a signature of the signature. Returns the graph that every reader has to see. */
export async function attachAll(directory: string, layout: string, digest: string): Promise<Graph> {
  const subject = `${layout}@${digest}`;
  const sbom = await attach(directory, subject, "sbom.spdx.json");
  const signature = await attach(directory, subject, "signature.json", "--artifact-type", types.signature);
  const onSignature = `${layout}@${signature}`;
  const nested = await attach(directory, onSignature, "signature.json", "--artifact-type", types.nested);
  return sorted({
    digest,
    referrers: [
      { digest: sbom, artifactType: types.sbom, referrers: [] },
      {
        digest: signature,
        artifactType: types.signature,
        referrers: [{ digest: nested, artifactType: types.nested, referrers: [] }],
      },
    ],
  });
}

/** The graph as `stowage tree` shows it. */
export async function stowageGraph(directory: string, location: string, ...options: string[]): Promise<Graph> {
  const graph = (node: TreeNode): Graph => ({
    digest: node.descriptor.digest,
    ...(node.artifactType === undefined ? {} : { artifactType: node.artifactType }),
    referrers: node.referrers.map(graph),
  });
  return sorted(graph(await stowageJson<TreeNode>(["tree", location, ...options], { cwd: directory })));
}

/** The graph with the referrers of each manifest in the order of their digests. */
export function sorted(graph: Graph): Graph {
  const referrers = graph.referrers.map(sorted).sort((a, b) => (a.digest < b.digest ? -1 : 1));
  return { ...graph, referrers };
}

/** The digests in a graph, those of the referrers at every depth included. */
export function digestsOf(graph: Graph): string[] {
  return [graph.digest, ...graph.referrers.flatMap(digestsOf)].sort();
}

/** What `oras discover` shows of a layout (`--oci-layout out:v1`) or a registry (`--plain-http HOST/REPO:TAG`). */
export interface Discovered {
  readonly digest: string;
  readonly artifactType?: string;
  readonly referrers?: readonly Discovered[];
}

/** The graph that `oras discover --format json` printed. */
export function orasGraph(shown: Discovered): Graph {
  const graph = (node: Discovered): Graph => ({
    digest: node.digest,
    ...(node.artifactType === undefined ? {} : { artifactType: node.artifactType }),
    referrers: (node.referrers ?? []).map(graph),
  });
  return sorted(graph(shown));
}

/** A node of what `regctl artifact tree --format '{{json .}}'` prints. */
export interface ArtifactTree {
  readonly reference: { readonly Digest: string };
  readonly artifactType?: string;
  readonly child?: readonly ArtifactTree[];
  readonly referrer?: readonly ArtifactTree[];
}

/** The graph that regctl printed. It names the root by its tag, so the digest is told. */
export function regctlGraph(shown: ArtifactTree, digest: string): Graph {
  const graph = (node: ArtifactTree): Graph => ({
    digest: node.reference.Digest,
    ...(node.artifactType === undefined ? {} : { artifactType: node.artifactType }),
    referrers: (node.referrer ?? []).map(graph),
  });
  return sorted({ ...graph(shown), digest });
}
