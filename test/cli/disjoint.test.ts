import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { AnnotateReport, DisjointReport, StoreReport, UnpackDisjointResult } from "@stowage/image";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type TarMember, tarOf } from "../../packages/layout/test/tar.js";
import { stowage, stowageJson, temporaryDirectory } from "./stowage.js";

let temporary: Awaited<ReturnType<typeof temporaryDirectory>>;
let cwd: string;

const dir = (name: string, mode = 0o755): TarMember => ({ name: `${name}/`, type: "5", mode });

async function build(tag: string, ...layers: readonly (readonly TarMember[])[]): Promise<void> {
  const args: string[] = [];
  for (const [at, members] of layers.entries()) {
    await writeFile(join(cwd, `${at}.tar`), tarOf(members));
    args.push("--layer", `${at}.tar`);
  }
  await stowageJson(["build", ...args, "-t", `oci:dist:${tag}`], { cwd });
}

const layer = (name: string): TarMember[] => [
  dir("opt"),
  dir("opt/packages"),
  dir(`opt/packages/${name}`, 0o555),
  { name: `opt/packages/${name}/file`, content: name },
];

beforeAll(async () => {
  temporary = await temporaryDirectory();
  cwd = temporary.path;
  await build("v1", layer("a"), layer("b"));
});

afterAll(() => temporary.remove());

describe("stowage disjoint", () => {
  it("does what its page says, command by command", async () => {
    const page = await readFile(new URL("../../docs/disjoint-layers.md", import.meta.url), "utf8");
    const lines = /^```sh\n([\s\S]*?)^```/m.exec(page)?.[1]?.trim().split("\n") ?? [];
    expect(lines).toHaveLength(7);
    for (const line of lines) {
      const run = await stowage(line.split(" ").slice(1), { cwd });
      expect(`${line}: ${run.code} ${run.stderr}`).toBe(`${line}: 0 `);
    }
    for (const rootfs of ["rootfs", "rootfs2", "rootfs3"])
      expect(await readFile(join(cwd, rootfs, "opt/packages/a/file"), "utf8")).toBe("a");
    expect((await readdir(join(cwd, "bundle"))).sort()).toEqual(["mounts.json", "rootfs"]);
  });

  it("annotate says which digest is new, what each layer owns and what keeps referring to the old", async () => {
    await writeFile(join(cwd, "sbom.json"), "{}");
    await stowageJson(["attach", "oci:dist:v1", "sbom.json", "--artifact-type", "application/x"], { cwd });
    const run = await stowage(["disjoint", "annotate", "oci:dist:v1", "oci:dist:new"], { cwd });
    expect(run.code).toBe(0);
    expect(run.stdout).toMatch(
      /2 of 2 layers can declare[\s\S]*layer 1 sha256:\w+: owns \/opt\/packages\/a\n[\s\S]*NEW DIGEST:\n {4}was sha256:\w+\n {4}is {2}sha256:/,
    );
    expect(run.stderr).toMatch(/the referrer sha256:\w+ stays with the old digest/);
    const again = await stowageJson<AnnotateReport>(["disjoint", "annotate", "oci:dist:new"], { cwd });
    expect(again.descriptor.digest).toBe(again.before.digest);
  });

  it("annotate --dry-run changes nothing; where no layer can declare anything the exit code is 1", async () => {
    const before = await readFile(join(cwd, "dist/index.json"), "utf8");
    const run = await stowage(["disjoint", "annotate", "oci:dist:v1", "--dry-run"], { cwd });
    expect(run).toMatchObject({ code: 0, stdout: expect.stringContaining("owns /opt/packages/b") });
    expect(await readFile(join(cwd, "dist/index.json"), "utf8")).toBe(before);
    await build("same", layer("a"), layer("a"));
    const same = await stowage(["disjoint", "annotate", "oci:dist:same", "--dry-run"], { cwd });
    expect(same).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/\/opt\/packages\/a\/file in layers 1 and 2: is the same file/),
    });
  });

  it("verify names rule, layer and entry, as lines and as JSON, and its exit code tells", async () => {
    expect((await stowage(["disjoint", "verify", "oci:dist:v1"], { cwd })).code).toBe(1);
    await stowageJson(["disjoint", "annotate", "oci:dist:v1", "oci:dist:ok"], { cwd });
    const ok = await stowageJson<DisjointReport>(["disjoint", "verify", "oci:dist:ok"], { cwd });
    expect(ok).toMatchObject({ disjoint: 2, violations: [], more: 0 });
    // On top of it comes a layer that changes what another owns.
    await writeFile(join(cwd, "evil.tar"), tarOf([{ name: "opt/packages/a/file", content: "evil" }]));
    await stowageJson(["mutate", "oci:dist:ok", "-t", "oci:dist:bad", "--add-layer", "evil.tar"], { cwd });
    const bad = await stowage(["disjoint", "verify", "oci:dist:bad"], { cwd });
    expect(bad.code).toBe(1);
    expect(bad.stdout).toMatch(
      /^V7 layer 3 \(sha256:\w+\): \/opt\/packages\/a\/file is put where layer 1 \(sha256:\w+\) owns everything\n1 violation \(2 of 3 layers disjoint\)\n$/,
    );
    const json = await stowage(["disjoint", "verify", "oci:dist:bad", "--json"], { cwd });
    expect(json.code).toBe(1);
    expect(JSON.parse(json.stdout)).toMatchObject({
      violations: [{ rule: "V7", layer: { number: 3 }, other: { number: 1 } }],
    });
    const refused = await stowage(["unpack", "oci:dist:bad", "bad", "--disjoint", "merge"], { cwd });
    expect(refused).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/not disjoint: V7 layer 3[\s\S]*stowage disjoint verify/),
    });
    expect(await readdir(cwd)).not.toContain("bad");
  });

  it("a store is shared by images, and collected", async () => {
    await build("v3", layer("a"), layer("b"), layer("c"));
    for (const tag of ["v1", "v3"]) await stowageJson(["disjoint", "annotate", `oci:dist:${tag}`], { cwd });
    const unpack = (tag: string): Promise<UnpackDisjointResult> =>
      stowageJson(["unpack", `oci:dist:${tag}`, `of-${tag}`, "--disjoint", "hardlink", "--store", "shared"], { cwd });
    expect(await unpack("v1")).toMatchObject({ reused: 0, bytesWritten: 2, files: { linked: 2 } });
    expect(await unpack("v3")).toMatchObject({ reused: 2, bytesWritten: 1, files: { linked: 3 } });
    const collected = await stowageJson<StoreReport>(["disjoint", "gc", "shared", "--unused-for", "0"], { cwd });
    expect(collected.removed).toHaveLength(3);
  });

  it.each([
    ["hardlink without a store", ["--disjoint", "hardlink"], /needs --store/],
    ["merge with a store", ["--disjoint", "merge", "--store", "x"], /needs no --store/],
    ["a store without a mode", ["--store", "x"], /need --disjoint/],
    ["some of the files", ["--disjoint", "merge", "--files", "x"], /not with --force or --files/],
    ["another mode", ["--disjoint", "overlay"], /merge/],
  ])("unpack with %s is wrong usage", async (_what, args, message) => {
    const run = await stowage(["unpack", "oci:dist:v1", "to", ...args], { cwd });
    expect(run).toMatchObject({ code: 2, stderr: expect.stringMatching(message) });
  });

  it("gc touches no directory that is no store", async () => {
    await mkdir(join(cwd, "precious"));
    const run = await stowage(["disjoint", "gc", "precious"], { cwd });
    expect(run).toMatchObject({ code: 1, stderr: expect.stringContaining("no store of layers") });
    const missing = await stowage(["disjoint", "gc", "missing"], { cwd });
    expect(missing.code).toBe(1);
    expect(await readdir(cwd)).not.toContain("missing");
  });
});
