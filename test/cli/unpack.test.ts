import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BaseCheck, ImageDiff, ListedFile, UnpackResult } from "@stowage/image";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { tarOf } from "../../packages/layout/test/tar.js";
import { type Served, startServe, stowage, stowageJson, temporaryDirectory } from "./stowage.js";

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let served: Served;
let cwd: string;

beforeAll(async () => {
  directory = await temporaryDirectory();
  cwd = directory.path;
  served = await startServe(["--memory"]);
  await mkdir(join(cwd, "app/lib"), { recursive: true });
  await writeFile(join(cwd, "app/main"), "main\n", { mode: 0o755 });
  await writeFile(join(cwd, "app/lib/a"), "a\n");
  await stowageJson(["build", "app:/app", "-t", "oci:out:v1", "--platform", "linux/amd64"], { cwd });
  await stowageJson(["build", "app:/app", "-t", "oci:out:dated"], { cwd, env: { SOURCE_DATE_EPOCH: "1700000000" } });
  await stowageJson(["build", "app:/app2", "-t", "oci:out:top", "--base", "oci:out:v1"], { cwd });
  await stowageJson(["copy", "oci:out:v1", "oci-archive:v1.tar:v1"], { cwd });
  await stowageJson(["copy", "oci:out:v1", `${served.host}/acme/app:v1`], { cwd });
  await writeFile(join(cwd, "device.tar"), tarOf([{ name: "ok" }, { name: "dev/null", type: "3" }]));
});

afterAll(async () => {
  await served.stop();
  await directory.remove();
});

describe("stowage unpack", () => {
  it.each([
    ["a layout", () => "oci:out:v1"],
    ["an archive", () => "oci-archive:v1.tar"],
    ["a registry", () => `${served.host}/acme/app:v1`],
  ])("takes %s", async (kind, location) => {
    const to = `from ${kind}`;
    const result = await stowageJson<UnpackResult>(["unpack", location(), to], { cwd });
    expect(result).toMatchObject({ directory: to, layers: 1, bytes: 7, skipped: [] });
    expect(await readFile(join(cwd, to, "app/main"), "utf8")).toBe("main\n");
  });

  it("leaves nothing behind where it fails, and says what was wrong with what", async () => {
    const before = await readdir(cwd);
    await stowageJson(["build", "--layer", "device.tar", "-t", "oci:bad:device"], { cwd });
    const run = await stowage(["unpack", "oci:bad:device", "to"], { cwd });
    expect(run).toMatchObject({ code: 1, stdout: "" });
    expect(run.stderr).toMatch(/layer 1 of 1 .*"dev\/null" is a character-device\n {2}--special-files skip/);
    expect((await readdir(cwd)).sort()).toEqual([...before, "bad"].sort());
    const skipped = await stowage(["unpack", "oci:bad:device", "to", "--special-files", "skip"], { cwd });
    expect(skipped).toMatchObject({ code: 0, stderr: "stowage: left out /dev/null, a device or FIFO\n" });
  });

  it("takes only the files that are asked for", async () => {
    await stowageJson(["unpack", "oci:out:v1", "some", "--files", "app/l*"], { cwd });
    expect(await readdir(join(cwd, "some/app"))).toEqual(["lib"]);
  });

  it("does not touch what is in a directory unless it is forced to", async () => {
    await mkdir(join(cwd, "full"));
    await writeFile(join(cwd, "full/mine"), "mine");
    const run = await stowage(["unpack", "oci:out:v1", "full"], { cwd });
    expect(run.code).toBe(1);
    expect(run.stderr).toContain("--force");
    expect(await readdir(join(cwd, "full"))).toEqual(["mine"]);
    await stowageJson(["unpack", "oci:out:v1", "full", "--force"], { cwd });
    expect((await readdir(join(cwd, "full"))).sort()).toEqual(["app", "mine"]);
  });

  it("stops at a limit", async () => {
    const run = await stowage(["unpack", "oci:out:v1", "limited", "--max-entries", "1"], { cwd });
    expect(run.code).toBe(1);
    expect(run.stderr).toContain("more than 1 entries");
  });
});

describe("stowage cat and ls-files", () => {
  it("print a file, and what files there are", async () => {
    expect((await stowage(["cat", "oci:out:v1", "/app/main"], { cwd })).stdout).toBe("main\n");
    expect((await stowage(["cat", "oci:out:v1", "/app"], { cwd })).code).toBe(1);
    const names = await stowage(["ls-files", "oci:out:v1"], { cwd });
    expect(names.stdout).toBe("/\n/app/\n/app/lib/\n/app/lib/a\n/app/main\n");
    const long = await stowage(["ls-files", "oci:out:v1", "-l"], { cwd });
    expect(long.stdout).toContain("-rwxr-xr-x  0:0  5  1970-01-01 00:00:00  /app/main\n");
    const files = await stowageJson<ListedFile[]>(["ls-files", "oci:out:top", "--layer", "2"], { cwd });
    expect(files.map(({ path }) => path)).toEqual(["app2", "app2/lib", "app2/lib/a", "app2/main"]);
  });
});

describe("stowage diff", () => {
  it("ends with 0 where two images are the same, wherever they are", async () => {
    const run = await stowage(["diff", "oci:out:v1", `${served.host}/acme/app:v1`], { cwd });
    expect(run).toMatchObject({ code: 0, stderr: "" });
    expect(run.stdout).toMatch(/^identical sha256:[0-9a-f]{64}\n$/);
  });

  it("ends with 3 and says why where they are not, and with 1 where one is missing", async () => {
    const run = await stowage(["diff", "oci:out:v1", "oci:out:dated", "--quiet"], { cwd });
    expect(run).toMatchObject({ code: 3, stdout: "same files, other mtime, other time of creation, other history\n" });
    const text = await stowage(["diff", "oci:out:v1", "oci:out:dated"], { cwd });
    expect(text.stdout).toContain("\n  ~ /app/main: mtime 0 -> 1700000000\n");
    const json = await stowage(["diff", "oci:out:v1", "oci:out:top", "--json"], { cwd });
    expect((JSON.parse(json.stdout) as ImageDiff).files.map(({ path }) => path)).toEqual([
      "app2",
      "app2/lib",
      "app2/lib/a",
      "app2/main",
    ]);
    expect((await stowage(["diff", "oci:out:v1", "oci:out:none"], { cwd })).code).toBe(1);
  });
});

describe("stowage check-base", () => {
  it("ends with 0 on the newest base and with 3 on another", async () => {
    const check = (base: string) => stowage(["check-base", "oci:out:top", "--base", base, "--json"], { cwd });
    const newest = await check("oci:out:v1");
    expect(newest.code).toBe(0);
    expect(JSON.parse(newest.stdout) as BaseCheck).toMatchObject({ isNewer: false, hasCurrentLayers: true });
    const other = await check("oci:out:dated");
    expect(other.code).toBe(3);
    expect(JSON.parse(other.stdout) as BaseCheck).toMatchObject({ isNewer: true, hasRecordedLayers: true });
    expect((await stowage(["check-base", "oci:out:v1"], { cwd })).code).toBe(2);
  });
});
