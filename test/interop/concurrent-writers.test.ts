import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { CopyReport } from "@stowage/layout";
import { beforeAll, describe, expect, it } from "vitest";
import { stowage, stowageJson } from "../cli/stowage.js";
import {
  type ArtifactTree,
  attach,
  type Discovered,
  digestsOf,
  orasGraph,
  regctlGraph,
  type SmallImage,
  smallImage,
  stowageGraph,
} from "./images.js";
import { needs, run, runJson } from "./peers.js";
import { startDockerRegistry } from "./registries.js";

const count = 4;
let image: SmallImage;
/** The digests of the images that were built at once, by tag. */
const built = new Map<string, string>();
let attached: string[];

beforeAll(async () => {
  image = await smallImage();
  const numbers = Array.from({ length: count }, (_, at) => at);
  for (const number of numbers) await writeFile(join(image.directory, `file-${number}`), `file ${number}\n`);
  // Processes that build and processes that attach, all at work on one layout.
  const [, digests] = await Promise.all([
    Promise.all(
      numbers.map(async (number) => {
        const build = ["build", `file-${number}:/file`, "-t", `oci:out:tag-${number}`];
        const { descriptor } = await stowageJson<CopyReport>(build, { cwd: image.directory });
        built.set(`tag-${number}`, descriptor.digest);
      }),
    ),
    Promise.all(
      numbers.map((number) =>
        attach(image.directory, "oci:out:v1", "sbom.spdx.json", "--annotation", `number=${number}`),
      ),
    ),
  ]);
  attached = digests;
  built.set("v1", image.digest);
});

const here = (): { cwd: string } => ({ cwd: image.directory });
const tags = (): string[] => [...built.keys()].sort();

describe("a layout that eight of our processes wrote at once", () => {
  it("holds for us every tag and every referrer, intact", async () => {
    const listed = await stowageJson<{ tag: string; descriptor: { digest: string } }[]>(["list", "oci:out"], here());
    expect(Object.fromEntries(listed.map(({ tag, descriptor }) => [tag, descriptor.digest]))).toEqual(
      Object.fromEntries(built),
    );
    expect(digestsOf(await stowageGraph(image.directory, "oci:out:v1"))).toEqual([image.digest, ...attached].sort());
    expect((await stowage(["verify", "oci:out"], here())).code).toBe(0);
  });

  it("holds the same for oras", async (context) => {
    needs(context, "oras");
    const shown = (await run("oras", ["repo", "tags", "--oci-layout", "out"], here())).trim().split("\n");
    expect(shown.filter((tag) => !tag.startsWith("sha256-")).sort()).toEqual(tags());
    for (const [tag, digest] of built)
      expect((await run("oras", ["resolve", "--oci-layout", `out:${tag}`], here())).trim()).toBe(digest);
    const discover = ["discover", "--oci-layout", "out:v1", "--format", "json"];
    const graph = orasGraph(await runJson<Discovered>("oras", discover, here()));
    expect(digestsOf(graph)).toEqual([image.digest, ...attached].sort());
  });

  it("holds the same for regctl", async (context) => {
    needs(context, "regctl");
    const shown = (await run("regctl", ["tag", "ls", "ocidir://out"], here())).trim().split("\n");
    expect(shown.filter((tag) => !tag.startsWith("sha256-")).sort()).toEqual(tags());
    for (const [tag, digest] of built)
      expect((await run("regctl", ["manifest", "head", `ocidir://out:${tag}`], here())).trim()).toBe(digest);
    const tree = ["artifact", "tree", "ocidir://out:v1", "--format", "{{json .}}"];
    const graph = regctlGraph(await runJson<ArtifactTree>("regctl", tree, here()), image.digest);
    expect(digestsOf(graph)).toEqual([image.digest, ...attached].sort());
  });

  it("holds the same tags for umoci, which finds each image whole", async (context) => {
    needs(context, "umoci");
    const shown = (await run("umoci", ["ls", "--layout", "out"], here())).trim().split("\n");
    expect(shown.filter((tag) => !tag.startsWith("sha256-")).sort()).toEqual(tags());
    for (const tag of tags()) await run("umoci", ["stat", "--image", `out:${tag}`, "--json"], here());
  });

  it("holds images that skopeo copies and crane finds valid", async (context) => {
    needs(context, "skopeo", "crane", "docker-registry");
    const { host } = await startDockerRegistry();
    for (const [tag, digest] of built) {
      const remote = `${host}/written/at-once:${tag}`;
      const places = ["--dest-tls-verify=false", `oci:out:${tag}`, `docker://${remote}`];
      await run("skopeo", ["--insecure-policy", "copy", "--quiet", ...places], here());
      await run("crane", ["validate", "--insecure", "--remote", remote]);
      expect((await run("crane", ["digest", "--insecure", remote])).trim()).toBe(digest);
    }
  });
});
