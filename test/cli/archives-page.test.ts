import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Served, startServe, stowage, temporaryDirectory } from "./stowage.js";

const page = readFileSync(new URL("../../docs/archives.md", import.meta.url), "utf8");
const lines = [...page.matchAll(/^```sh\n([\s\S]*?)^```/gm)].flatMap((match) =>
  (match[1] as string).trim().split("\n"),
);

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let served: Served;

beforeAll(async () => {
  directory = await temporaryDirectory();
  const cwd = directory.path;
  mkdirSync(join(cwd, "dist"));
  writeFileSync(join(cwd, "dist", "server"), "#!/bin/sh\necho hello\n", { mode: 0o755 });
  served = await startServe(["--memory"]);
  await stowage(["build", "dist:/app", "-t", "oci:out:v1", "--platform", "linux/amd64"], { cwd });
  for (const name of ["app", "other"]) await stowage(["push", "oci:out:v1", `${served.host}/acme/${name}:v1`], { cwd });
});

afterAll(async () => {
  await served?.stop();
  await directory?.remove();
});

describe("the page about archives", () => {
  it("has commands that work in this order", async () => {
    expect(lines).toHaveLength(8);
    for (const line of lines) {
      const [name, ...args] = line.replaceAll("localhost:5000", served.host).replaceAll('"', "").split(" ");
      expect(name).toBe("stowage");
      const run = await stowage([...args, "--quiet"], { cwd: directory.path });
      expect(`${line}: ${run.stderr}`).toBe(`${line}: `);
      expect(run.code).toBe(0);
    }
    const { stdout } = await stowage(["list", `${served.host}/renamed/other`, "--quiet"], { cwd: directory.path });
    expect(stdout).toContain("v1");
  });

  it("is right about the formats and names there are", async () => {
    const { stdout } = await stowage(["export", "--help"]);
    for (const name of ["hybrid", "oci", "docker"]) expect(page).toContain(`| \`${name}\``);
    expect(stdout.replace(/\s+/g, " ")).toContain('[choices: "any", "oci", "docker", "containerd", "podman"]');
    for (const name of ["any", "oci", "docker", "containerd", "podman"]) expect(page).toContain(`| \`${name}\``);
  });
});
