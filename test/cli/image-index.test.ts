import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { IndexReport } from "@stowage/image";
import type { Descriptor } from "@stowage/layout";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Served, startServe, stowage, stowageJson, temporaryDirectory } from "./stowage.js";

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let served: Served;
let cwd: string;

beforeAll(async () => {
  directory = await temporaryDirectory();
  cwd = directory.path;
  mkdirSync(join(cwd, "app"));
  writeFileSync(join(cwd, "app", "main.js"), "console.log('hi')\n");
  writeFileSync(join(cwd, "sbom.json"), "{}");
  served = await startServe(["--memory"]);
  for (const platform of ["amd64", "arm64", "riscv64"]) {
    await stowageJson(["build", "app:/app", "-t", `oci:${platform}:v1`, "--platform", `linux/${platform}`], { cwd });
    await stowageJson(["attach", `oci:${platform}:v1`, "sbom.json", "--artifact-type", "application/spdx+json"], {
      cwd,
    });
  }
});

afterAll(async () => {
  await served?.stop();
  await directory?.remove();
});

interface Listed {
  readonly manifests: readonly Descriptor[];
}

function platforms({ manifests }: Listed): string[] {
  return manifests.map(({ platform }) => `${platform?.os}/${platform?.architecture}`);
}

describe("stowage index", () => {
  it("merges the layouts of the jobs of a matrix in one command, whatever their order", async () => {
    const one = await stowageJson<IndexReport>(["index", "merge", "oci:amd64", "oci:arm64", "-t", "oci:dist:v1"], {
      cwd,
    });
    const other = await stowageJson<IndexReport>(["index", "merge", "oci:arm64", "oci:amd64", "--ref", "all"], { cwd });
    expect(other.descriptor.digest).toBe(one.descriptor.digest);
    expect(one.copy.referrers).toEqual({ found: 2, copied: 2 });
    expect(platforms(await stowageJson<Listed>(["index", "list", "oci:arm64:all"], { cwd }))).toEqual([
      "linux/amd64",
      "linux/arm64",
    ]);
    expect((await stowage(["verify", "oci:dist"], { cwd })).code).toBe(0);
  });

  it("creates one in a registry of what is there, and sends only the index", async () => {
    const repository = `${served.host}/acme/app`;
    for (const platform of ["amd64", "arm64"])
      await stowageJson(["push", `oci:${platform}:v1`, `${repository}:${platform}`], { cwd });
    const { copy, descriptor } = await stowageJson<IndexReport>(
      ["index", "create", `${repository}:arm64`, `${repository}:amd64`, "-t", `${repository}:v1`],
      { cwd },
    );
    expect(copy).toMatchObject({ written: 1, bytes: descriptor.size });
    expect(platforms(await stowageJson<Listed>(["index", "list", `${repository}:v1`]))).toEqual([
      "linux/amd64",
      "linux/arm64",
    ]);
  });

  it("adds to an index and removes from it; the tag moves, and the new digest is said", async () => {
    await stowageJson(["index", "merge", "oci:amd64:v1", "oci:arm64:v1", "-t", "oci:changed:v1"], { cwd });
    await stowageJson(["attach", "oci:changed:v1", "sbom.json", "--artifact-type", "application/x.signature"], { cwd });
    const added = await stowage(["index", "add", "oci:changed:v1", "oci:riscv64:v1"], { cwd });
    expect(added.stderr).toContain("1 referrer of what was changed");
    expect(added.stdout).toContain("NEW DIGEST");
    expect(platforms(await stowageJson<Listed>(["index", "list", "oci:changed:v1"], { cwd }))).toEqual([
      "linux/amd64",
      "linux/arm64",
      "linux/riscv64",
    ]);
    const removed = await stowageJson<IndexReport>(["index", "remove", "oci:changed:v1", "linux/arm64"], { cwd });
    expect(platforms(removed)).toEqual(["linux/amd64", "linux/riscv64"]);
    expect((await stowage(["verify", "oci:changed"], { cwd })).code).toBe(0);
  });

  it("loses none of eight additions to one index at one time", async () => {
    const platforms8 = ["386", "ppc64le", "s390x", "mips64le", "loong64", "riscv64", "arm64", "arm"];
    const all = await stowageJson<{ images: { descriptor: Descriptor }[] }>(
      ["build", "app:/app", "-t", "oci:eight:v1", "--platform", platforms8.map((name) => `linux/${name}`).join(",")],
      { cwd },
    );
    await stowageJson(["index", "create", "oci:amd64:v1", "-t", "oci:many:v1"], { cwd });
    const runs = await Promise.all(
      all.images.map(({ descriptor }) =>
        stowage(["index", "add", "oci:many:v1", `oci:eight@${descriptor.digest}`], { cwd }),
      ),
    );
    expect(runs.map(({ code, stderr }) => [code, stderr])).toEqual(runs.map(() => [0, ""]));
    expect((await stowageJson<Listed>(["index", "list", "oci:many:v1"], { cwd })).manifests).toHaveLength(9);
    const removed = await Promise.all(
      ["386", "s390x", "arm64"].map((name) => stowage(["index", "remove", "oci:many:v1", `linux/${name}`], { cwd })),
    );
    expect(removed.map(({ code }) => code)).toEqual([0, 0, 0]);
    expect((await stowageJson<Listed>(["index", "list", "oci:many:v1"], { cwd })).manifests).toHaveLength(6);
  }, 180_000);

  it("refuses a second image for a platform, names both, and leaves the tag where it was", async () => {
    writeFileSync(join(cwd, "app", "more.js"), "// more\n");
    await stowageJson(["build", "app:/app", "-t", "oci:fix:v1", "--platform", "linux/amd64"], { cwd });
    await stowageJson(["index", "merge", "oci:amd64:v1", "oci:arm64:v1", "-t", "oci:kept:v1"], { cwd });
    const before = await stowageJson<Listed>(["index", "list", "oci:kept:v1"], { cwd });
    const refused = await stowage(["index", "add", "oci:kept:v1", "oci:fix:v1"], { cwd });
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/two images for linux\/amd64: .*oci:kept:v1 and .*oci:fix:v1/);
    expect(await stowageJson<Listed>(["index", "list", "oci:kept:v1"], { cwd })).toEqual(before);
    const replaced = await stowageJson<IndexReport>(["index", "add", "oci:kept:v1", "oci:fix:v1", "--replace"], {
      cwd,
    });
    expect(platforms(replaced)).toEqual(["linux/amd64", "linux/arm64"]);
  });

  it("says what a platform is for that no config names, and what an image that is no index is", async () => {
    const told = await stowageJson<IndexReport>(
      ["index", "add", "oci:dist:v1", "oci:riscv64:v1", "--platform", "linux/ppc64le", "-t", "oci:told:v1"],
      { cwd },
    );
    expect(platforms(told)).toContain("linux/ppc64le");
    const refused = await stowage(["index", "add", "oci:amd64:v1", "oci:arm64:v1"], { cwd });
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.stderr).toContain("stowage index create");
  });
});
