import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { SyncReport } from "@stowage/registry";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Run, startServe, stowage, stowageJson, temporaryDirectory } from "./stowage.js";

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;

beforeAll(async () => {
  directory = await temporaryDirectory();
  mkdirSync(join(directory.path, "files"));
  for (const tag of ["v1", "v2"]) {
    writeFileSync(join(directory.path, "files", "server"), tag);
    const built = await stowage(["build", "files:/app", "-t", `oci:in:docker.io/acme/app:${tag}`], {
      cwd: directory.path,
    });
    expect(built.stderr).toBe("");
  }
});

afterAll(() => directory?.remove());

const run = (...args: readonly string[]): Promise<Run> => stowage(["sync", ...args], { cwd: directory.path });
const write = (name: string, ...items: readonly string[]): void =>
  writeFileSync(join(directory.path, name), ["version: 1", "sync:", ...items.map((item) => `  - ${item}`)].join("\n"));

describe("stowage sync", () => {
  it("prints what became of each image, and writes and follows a lock whose digest it prints", async () => {
    write("sync.yaml", '{ source: "oci:in", target: "oci:out", rename: { "docker.io/(.*)": "mirror.local/$1" } }');
    const planned = await run("sync.yaml", "--dry-run");
    expect(planned.stdout).toMatch(
      /^created {2}oci:in:docker.io\/acme\/app:v1 -> oci:out:mirror.local\/acme\/app:v1 {2}sha256:[0-9a-f]{64}\n/,
    );
    expect(planned.stdout).toMatch(/\n2 images: 2 created; [0-9.]+ kB to move\n$/);
    const done = await run("sync.yaml", "--update");
    expect(done).toMatchObject({ code: 0, stderr: "" });
    const { stdout: digest } = await run("sync.yaml", "--lock-digest");
    expect(done.stdout.trimEnd()).toMatch(new RegExp(`; lock ${digest.trim()}$`));
    const report = await stowageJson<SyncReport>(["sync", "sync.yaml", "--frozen", "--offline"], {
      cwd: directory.path,
    });
    expect(report.lock).toEqual({ path: "stowage.lock", digest: digest.trim() });
    expect(report.images.map(({ change }) => change)).toEqual(["unchanged", "unchanged"]);
    write("sync.yaml", '{ source: "oci:in", target: "oci:out" }');
    const other = await run("sync.yaml", "--frozen");
    expect(other).toMatchObject({ code: 1, stdout: "" });
    expect(other.stderr).toContain("the item at sync.yaml:3:15 is new or has been changed");
  });

  it("takes out what is damaged with --salvage, says so, and brings it again", async () => {
    write("salvage.yaml", '{ source: "oci:in", target: "oci:salvaged", names: tag, tags: v1 }');
    expect(await run("salvage.yaml", "--quiet")).toMatchObject({ code: 0, stderr: "" });
    writeFileSync(join(directory.path, "salvaged", "index.json"), "{");
    const again = await run("salvage.yaml", "--salvage", "--quiet");
    expect(again).toMatchObject({ code: 0, stdout: "oci:salvaged:v1\n" });
    expect(again.stderr).toContain("damaged, and taken out of oci:salvaged: its index (");
    expect(await run("salvage.yaml", "--salvage", "--quiet")).toMatchObject({ code: 0, stderr: "" });
  });

  it("sends blobs in chunks where it is asked to", async () => {
    const served = await startServe(["--memory", "--log", "text"]);
    let log = "";
    served.process.stderr?.on("data", (chunk) => (log += String(chunk)));
    try {
      const args = ["oci:in", `${served.host}/chunks`, "--repositories", "**", "--upload", "chunked"];
      expect(await run(...args, "--chunk-size", "100")).toMatchObject({ code: 0 });
      expect(log).toMatch(/PATCH/);
      expect(await run(...args, "--chunk-size", "none")).toMatchObject({ code: 2 });
    } finally {
      await served.stop();
    }
  });

  it("ends with 3 where a part failed, which it names first, and with 1 where nothing was done", async () => {
    write(
      "partly.yaml",
      '{ source: "oci:in", target: "oci:partly", names: tag }',
      '{ source: "oci:gone", target: "oci:x" }',
    );
    const partly = await run("partly.yaml", "--quiet");
    expect(partly).toMatchObject({ code: 3, stdout: "oci:partly:v1\noci:partly:v2\n" });
    expect(partly.stderr).toContain("stowage: not synced: partly.yaml:4:15: oci:gone: cannot open the layout gone");
    write("nothing.yaml", '{ source: "oci:gone", target: "oci:x" }');
    expect(await run("nothing.yaml")).toMatchObject({ code: 1, stdout: "0 images; 0 B moved\n" });
  });

  it("ends with 2 for a mistake in the file, with its place", async () => {
    write("wrong.yaml", "{ source: alpine, taget: x }");
    const wrong = await run("wrong.yaml");
    expect(wrong).toMatchObject({ code: 2, stdout: "" });
    expect(wrong.stderr).toContain('wrong.yaml:3:23: unknown key "taget"; write target\n');
  });

  it("does without a file, and prunes where it is asked to", async () => {
    const all = await run("oci:in", "oci:pair", "--names", "tag", "--tags", "v*", "--semver", ">=1");
    expect(all.stdout).toContain("2 images: 2 created");
    const pruned = await run("oci:in", "oci:pair", "--names", "tag", "--newest", "1", "--prune");
    expect(pruned).toMatchObject({ code: 0, stderr: "" });
    expect(pruned.stdout).toMatch(
      /\npruned {2}oci:pair v1 \(sha256:[0-9a-f]{64}\)\n1 image: 1 unchanged; 0 B moved\n$/,
    );
  });
});
