import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { CopyReport, Usage, VerifyReport } from "@stowage/layout";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Served, startServe, stowage, stowageJson, temporaryDirectory } from "./stowage.js";

interface Built {
  readonly layers: readonly { readonly descriptor: { readonly digest: string } }[];
}

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let served: Served;
let cwd: string;
let layer: string;

beforeAll(async () => {
  directory = await temporaryDirectory();
  cwd = directory.path;
  mkdirSync(join(cwd, "app"));
  writeFileSync(join(cwd, "app", "main.js"), "console.log('hi')\n");
  writeFileSync(join(cwd, "sbom.spdx.json"), "{}");
  served = await startServe(["--memory"]);
  const built = await stowageJson<Built>(["build", "app:/app", "-t", "oci:one:v1", "--blobs", "pool"], { cwd });
  layer = (built.layers[0] as Built["layers"][number]).descriptor.digest.slice("sha256:".length);
});

afterAll(async () => {
  await served?.stop();
  await directory?.remove();
});

describe("--blobs", () => {
  it("collects what is built, and a copy links all of it", async () => {
    expect(await readdir(join(cwd, "pool", "sha256"))).toContain(layer);
    const report = await stowageJson<CopyReport>(["copy", "oci:one:v1", "oci:two", "--blobs", "pool"], { cwd });
    expect(report).toMatchObject({ written: 0, linked: 3, bytes: 0 });
    expect(await stowageJson<VerifyReport>(["verify", "oci:two"], { cwd })).toMatchObject({ findings: [] });
  });

  it("is filled by attach and by a pull", async () => {
    await stowageJson(["attach", "oci:two:v1", "sbom.spdx.json", "--blobs", "pool"], { cwd });
    await stowageJson<CopyReport>(["push", "oci:two:v1", `${served.host}/app:v1`], { cwd });
    const report = await stowageJson<CopyReport>(["pull", `${served.host}/app:v1`, "oci:three", "--blobs", "pool"], {
      cwd,
    });
    expect(report).toMatchObject({ written: 0, bytes: 0, referrers: { found: 1, copied: 1 } });
  });
});

describe("--hardlink", () => {
  it("copies between layouts without moving a byte", async () => {
    const report = await stowageJson<CopyReport>(["copy", "oci:one:v1", "oci:linked", "--hardlink"], { cwd });
    expect(report).toMatchObject({ written: 0, linked: 3, bytes: 0 });
  });
});

describe("--hardlink, of images that come through several sources", () => {
  it("links what an index is made of", async () => {
    const args = ["index", "create", "-t", "oci:merged:v1", "oci:one:v1", "--hardlink"];
    const { copy } = await stowageJson<{ copy: CopyReport }>(args, { cwd });
    expect(copy).toMatchObject({ written: 1, linked: 3 });
  });
});

describe("du", () => {
  it("tells shared from own bytes", async () => {
    const usage = await stowageJson<Usage>(["du", "oci:one", "oci:two"], { cwd });
    expect(usage.layouts.map(({ path }) => path)).toEqual(["one", "two"]);
    for (const { bytes, shared, own } of usage.layouts) expect(bytes).toBe(shared + own);
    expect(usage.layouts[0]?.own).toBe(0);
    const text = await stowage(["du", "oci:one", "oci:two"], { cwd });
    expect(text.stdout).toMatch(/^BYTES +SHARED +OWN +BLOBS +LAYOUT\n.* one\n.* two\n.* in .* of files\n$/);
  });

  it("refuses what is no layout directory, or only a part of one, as wrong usage", async () => {
    for (const location of ["alpine", "oci-archive:a.tar", "oci:one:v1"])
      expect((await stowage(["du", location], { cwd })).code).toBe(2);
    expect((await stowage(["du", "oci:nothing"], { cwd })).code).toBe(1);
  });
});

describe("--allow-root", () => {
  it("lets a copy read a blob that is a symbolic link, and sends its bytes", async () => {
    await stowageJson(["copy", "oci:one:v1", "oci:links:v1"], { cwd });
    mkdirSync(join(cwd, "store"));
    const blob = join(cwd, "links", "blobs", "sha256", layer);
    renameSync(blob, join(cwd, "store", "layer"));
    symlinkSync(join(cwd, "store", "layer"), blob);
    const refused = await stowage(["push", "oci:links:v1", `${served.host}/links:v1`], { cwd });
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("symbolic link");
    const sent = await stowage(["push", "oci:links:v1", `${served.host}/links:v1`, "--allow-root", "store"], { cwd });
    expect(sent.code).toBe(0);
    rmSync(join(cwd, "store"), { recursive: true });
    const pulled = await stowageJson<CopyReport>(["pull", `${served.host}/links:v1`, "oci:whole:v1"], { cwd });
    expect(pulled.failures).toEqual([]);
    expect((await stowage(["verify", "oci:whole"], { cwd })).code).toBe(0);
  });
});
