import { mkdirSync, writeFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { AttachResult, CopyReport, Inspection, ListedTag, TreeNode, VerifyReport } from "@stowage/layout";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Served, startServe, stowage, stowageJson, temporaryDirectory } from "./stowage.js";

interface Built {
  readonly descriptor: { readonly digest: string };
  readonly layers: readonly { readonly descriptor: { readonly digest: string } }[];
}

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let served: Served;
let cwd: string;
let built: Built;

beforeAll(async () => {
  directory = await temporaryDirectory();
  cwd = directory.path;
  mkdirSync(join(cwd, "app", "lib"), { recursive: true });
  writeFileSync(join(cwd, "app", "main.js"), "console.log('hi')\n");
  writeFileSync(join(cwd, "app", "lib", "a.js"), "// a\n");
  writeFileSync(join(cwd, "sbom.spdx.json"), '{"spdxVersion":"SPDX-2.3"}');
  writeFileSync(join(cwd, "scan.json"), '{"runs":[]}');
  served = await startServe(["--memory"]);
  built = await stowageJson<Built>(
    [
      "build",
      "app:/app",
      "-t",
      "oci:out:v1",
      "--platform",
      "linux/amd64",
      "--entrypoint",
      '["node","/app/main.js"]',
      "--env",
      "A=1",
      "--env",
      "B=two words",
      "--label",
      "x=y",
      "--workdir",
      "/app",
      "--user",
      "1000",
      "--annotation",
      "org.opencontainers.image.title=app",
    ],
    { cwd },
  );
});

afterAll(async () => {
  await served?.stop();
  await directory?.remove();
});

describe("build", () => {
  it("makes the same digest again, and another one for another file", async () => {
    const args = ["--platform", "linux/amd64", "--quiet"];
    const one = await stowage(["build", "app:/app", "-t", "oci:o1:v1", ...args], { cwd });
    const two = await stowage(["build", "app:/app", "-t", "oci:o2:v1", ...args], {
      cwd,
      env: { TZ: "Asia/Tokyo", LC_ALL: "C" },
    });
    const other = await stowage(["build", "app:/srv", "-t", "oci:o3:v1", ...args], { cwd });
    expect(one.stdout).toBe(two.stdout);
    expect(one.stdout).toMatch(/^sha256:[0-9a-f]{64}\n$/);
    expect(other.stdout).not.toBe(one.stdout);
  });

  it("puts the options into the config", async () => {
    const { config, platform, annotations } = await stowageJson<Inspection>(["inspect", "oci:out:v1"], { cwd });
    expect(config).toMatchObject({
      Entrypoint: ["node", "/app/main.js"],
      Env: ["A=1", "B=two words"],
      Labels: { x: "y" },
      WorkingDir: "/app",
      User: "1000",
    });
    expect(platform).toBe("linux/amd64");
    expect(annotations).toEqual({ "org.opencontainers.image.title": "app" });
  });

  it("builds on a base and keeps its layers as they are", async () => {
    writeFileSync(join(cwd, "extra.txt"), "extra\n");
    const above = await stowageJson<Built>(
      ["build", "extra.txt:/etc/", "-t", "oci:out:above", "--base", "oci:out:v1", "--created", "1700000000"],
      { cwd },
    );
    expect(above.layers[0]?.descriptor.digest).toBe(built.layers[0]?.descriptor.digest);
    expect(above.layers).toHaveLength(2);
    const inspection = await stowageJson<Inspection>(["inspect", "oci:out:above"], { cwd });
    expect(inspection.created).toBe("2023-11-14T22:13:20Z");
    expect(inspection.config).toMatchObject({ Entrypoint: ["node", "/app/main.js"] });
    expect(inspection.annotations?.["org.opencontainers.image.base.digest"]).toBe(built.descriptor.digest);
  });

  it("builds straight into a registry and into several targets", async () => {
    const run = await stowage(
      [
        "build",
        "app:/app",
        "-t",
        `${served.host}/direct/app:v1`,
        "-t",
        "oci:direct:v1",
        "-t",
        "oci-archive:direct.tar:v1",
        "-q",
      ],
      { cwd },
    );
    expect(run.code).toBe(0);
    for (const location of [`${served.host}/direct/app:v1`, "oci:direct:v1", "oci-archive:direct.tar:v1"]) {
      expect((await stowage(["inspect", location, "-q"], { cwd })).stdout).toBe(run.stdout);
    }
  });

  it("tells what is missing, and leaves no tag", async () => {
    const run = await stowage(["build", "nothing-here:/app", "-t", "oci:out:broken"], { cwd });
    expect(run).toMatchObject({ code: 1, stdout: "" });
    expect(run.stderr).toContain("nothing-here");
    const tags = await stowage(["list", "oci:out", "-q"], { cwd });
    expect(tags.stdout).not.toContain("broken");
  });
});

describe("attach, tree and list", () => {
  it("attaches offline without changing the image", async () => {
    const result = await stowageJson<AttachResult>(
      ["attach", "oci:out:v1", "sbom.spdx.json", "--annotation", "by=test"],
      { cwd },
    );
    expect(result).toMatchObject({
      artifactType: "application/spdx+json",
      subject: { digest: built.descriptor.digest },
    });
    await stowageJson(
      ["attach", `oci:out@${result.descriptor.digest}`, "scan.json:application/sarif+json", "--tag", "scan"],
      { cwd },
    );
    const tree = await stowageJson<TreeNode>(["tree", "oci:out:v1"], { cwd });
    expect(tree.descriptor.digest).toBe(built.descriptor.digest);
    expect(tree.referrers[0]).toMatchObject({ artifactType: "application/spdx+json", annotations: { by: "test" } });
    expect(tree.referrers[0]?.referrers[0]).toMatchObject({ artifactType: "application/sarif+json" });
  });

  it("draws the tree with an arrow at each referrer", async () => {
    const { stdout } = await stowage(["tree", "oci:out:v1"], { cwd });
    expect(stdout).toMatch(
      /^image linux\/amd64 sha256:[0-9a-f]{64} .*\n└── <- application\/spdx\+json sha256:.*\n {4}└── <- application\/sarif\+json sha256:/,
    );
  });

  it("needs an artifact type that it cannot tell", async () => {
    const run = await stowage(["attach", "oci:out:v1", "scan.json"], { cwd });
    expect(run.code).toBe(1);
    expect(run.stderr).toContain("--artifact-type");
  });

  it("lists tags without those that carry referrers", async () => {
    const tags = await stowageJson<ListedTag[]>(["list", "oci:out"], { cwd });
    expect(tags.map(({ tag }) => tag)).toEqual(["above", "scan", "v1"]);
    expect(tags.at(-1)).toMatchObject({ platforms: ["linux/amd64"], referrers: 1 });
  });
});

describe("copy and publish", () => {
  it("carries an image with the referrers of its referrers through a registry, digests unchanged", async () => {
    const sent = await stowageJson<CopyReport>(["push", "oci:out:v1", `${served.host}/team/app`], { cwd });
    expect(sent.tags).toEqual(["latest"]);
    expect(sent.referrers).toEqual({ found: 2, copied: 2 });
    const report = await stowageJson<CopyReport>(["pull", `${served.host}/team/app`, "oci:back"], { cwd });
    expect(report.descriptor.digest).toBe(built.descriptor.digest);
    const tree = await stowageJson<TreeNode>(["tree", "oci:back:latest"], { cwd });
    expect(tree.referrers[0]?.referrers[0]?.artifactType).toBe("application/sarif+json");
    expect(await stowageJson<VerifyReport>(["verify", "oci:back"], { cwd })).toMatchObject({ findings: [] });
  });

  it("moves nothing when all is there", async () => {
    await stowage(["push", "oci:out:v1", `${served.host}/again/app:v1`], { cwd });
    const again = await stowageJson<CopyReport>(["push", "oci:out:v1", `${served.host}/again/app:v1`], { cwd });
    expect(again).toMatchObject({ written: 0, bytes: 0 });
  });

  it("leaves referrers behind where it is told to", async () => {
    await stowage(["copy", "oci:out:v1", "oci:bare:v1", "--referrers", "none"], { cwd });
    expect((await stowageJson<TreeNode>(["tree", "oci:bare:v1"], { cwd })).referrers).toEqual([]);
  });

  it("publishes under several names at once, and says which failed", async () => {
    const good = await stowage(
      ["publish", "oci:out:v1", `${served.host}/p/one:a`, `${served.host}/p/one:b`, `${served.host}/p/two:a`],
      { cwd },
    );
    expect(good).toMatchObject({ code: 0, stderr: "" });
    const partly = await stowage(["publish", "oci:out:v1", `${served.host}/p/three:a`, "127.0.0.1:1/p/three:a"], {
      cwd,
    });
    expect(partly.code).toBe(3);
    expect(partly.stdout).toContain(`published ${served.host}/p/three:a`);
    expect(partly.stderr).toContain("not published: 127.0.0.1:1/p/three:a");
    const none = await stowage(["publish", "oci:out:v1", "127.0.0.1:1/p/three:a"], { cwd });
    expect(none).toMatchObject({ code: 1, stdout: "" });
  });

  it("goes through an archive and back, and writes the same bytes twice", async () => {
    for (const name of ["one.tar", "two.tar"])
      expect((await stowage(["copy", "oci:out:v1", `oci-archive:${name}:v1`], { cwd })).code).toBe(0);
    expect(await readFile(join(cwd, "one.tar"))).toEqual(await readFile(join(cwd, "two.tar")));
    const report = await stowageJson<CopyReport>(["copy", "oci-archive:one.tar", "oci:unpacked"], { cwd });
    expect(report.descriptor.digest).toBe(built.descriptor.digest);
    expect(report.referrers.copied).toBe(2);
  });

  it("writes an archive to stdout, and nothing else", async () => {
    await stowage(["copy", "oci:out:v1", "oci-archive:file.tar:v1"], { cwd });
    const { code, stdout } = await stowage(["copy", "oci:out:v1", "oci-archive:-:v1"], { cwd });
    expect(code).toBe(0);
    expect(stdout).toBe((await readFile(join(cwd, "file.tar"))).toString("utf8"));
  });

  it("names an image for docker load only where it has a full name", async () => {
    const names = async (source: string, target: string): Promise<unknown> => {
      await stowage(["copy", source, target], { cwd });
      const tar = await readFile(join(cwd, "docker.tar"), "latin1");
      return JSON.parse(tar.slice(tar.indexOf('[{"Config"'), tar.lastIndexOf("}]") + 2))[0].RepoTags;
    };
    expect(await names("oci:out:v1", "docker-archive:docker.tar")).toEqual([]);
    expect(await names("oci:out:v1", "docker-archive:docker.tar:acme/app:2")).toEqual(["docker.io/acme/app:2"]);
    await stowage(["push", "oci:out:v1", `${served.host}/names/app:v1`], { cwd });
    expect(await names(`${served.host}/names/app:v1`, "docker-archive:docker.tar")).toEqual([
      `${served.host}/names/app:v1`,
    ]);
  });

  it("names the tag when a layout has several", async () => {
    const run = await stowage(["copy", "oci:out", "oci:x"], { cwd });
    expect(run.code).toBe(2);
    expect(run.stderr).toContain("oci:out:above");
  });
});

describe("tag, untag and inspect", () => {
  it("gives and takes names", async () => {
    expect((await stowage(["tag", "oci:out:v1", "stable", "edge"], { cwd })).code).toBe(0);
    expect((await stowage(["inspect", "oci:out:stable", "-q"], { cwd })).stdout.trim()).toBe(built.descriptor.digest);
    expect((await stowage(["untag", "oci:out:edge"], { cwd })).code).toBe(0);
    const gone = await stowage(["inspect", "oci:out:edge"], { cwd });
    expect(gone.code).toBe(1);
    expect(gone.stderr).toContain("stable");
  });

  it("prints the bytes of a manifest", async () => {
    const { stdout } = await stowage(["inspect", "oci:out:v1", "--raw"], { cwd });
    const { createHash } = await import("node:crypto");
    expect(`sha256:${createHash("sha256").update(stdout).digest("hex")}`).toBe(built.descriptor.digest);
  });

  it("shows control characters in a stranger's annotation instead of obeying them", async () => {
    await stowage(["build", "app:/app", "-t", "oci:evil:v1", "--annotation", "note=\u001b[31mred\u0007"], { cwd });
    const { stdout } = await stowage(["inspect", "oci:evil:v1"], { cwd });
    expect(stdout).toContain("note=\\x1b[31mred\\x07");
  });
});

describe("serve", () => {
  it("serves a layout read-only, and ends with 0 when it is interrupted", async () => {
    const layout = await startServe(["out", "--readonly"], { cwd });
    try {
      const pulled = await stowageJson<CopyReport>(["pull", `${layout.host}/out:v1`, "oci:from-serve:v1"], { cwd });
      expect(pulled.descriptor.digest).toBe(built.descriptor.digest);
      expect((await stowage(["push", "oci:out:v1", `${layout.host}/out:v2`], { cwd })).code).toBe(1);
    } finally {
      expect(await layout.stop()).toBe(0);
    }
  });

  it("keeps what is pushed to a directory as layouts, which can be read as such", async () => {
    const registry = await startServe(["store"], { cwd });
    try {
      await stowage(["push", "oci:out:v1", `${registry.host}/team/app:v1`], { cwd });
    } finally {
      await registry.stop();
    }
    expect(await readdir(join(cwd, "store", "team", "app"))).toContain("index.json");
    expect((await stowage(["verify", "oci:store/team/app"], { cwd })).code).toBe(0);
    expect((await stowageJson<TreeNode>(["tree", "oci:store/team/app:v1"], { cwd })).referrers).toHaveLength(1);
  });
});
