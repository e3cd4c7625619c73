import { mkdirSync, writeFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { ArtifactBuildResult, BuildResult, IndexBuildResult, ListedFile } from "@stowage/image";
import type { Inspection } from "@stowage/layout";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stowage, stowageJson, temporaryDirectory } from "./stowage.js";

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let cwd: string;

beforeAll(async () => {
  directory = await temporaryDirectory();
  cwd = directory.path;
  for (const [name, text] of Object.entries({
    "dist/linux_amd64/server": "amd64",
    "dist/linux_arm64/server": "arm64",
    "app/main.js": "1",
    "app/debug.log": "x",
    "config.json": "{}",
    list: "# the application\napp/main.js:/list/main.js:600\n",
    ignored: "# logs\n*/*.log\n",
  })) {
    mkdirSync(join(cwd, name, ".."), { recursive: true });
    writeFileSync(join(cwd, name), text);
  }
});

afterAll(() => directory?.remove());

describe("stowage build", () => {
  it("makes an index of an image for each platform, with what stands on each level", async () => {
    const result = await stowageJson<IndexBuildResult>(
      [
        ...[
          "build",
          "dist/{os}_{arch}/server:/server:755:1:2",
          "[linux/arm64]config.json:/arm.json",
          "-t",
          "oci:out:v1",
        ],
        ...["--platform", "linux/arm64", "--platform", "linux/amd64", "--layer", "app:/app,config.json:/app/"],
        ...["--ignore-file", "ignored", "--files-from", "list", "--annotation", "index:a=1"],
        ...["--annotation", "manifest[linux/arm64]:b=2", "--data-max", "1kB"],
        ...["--healthcheck", "curl localhost", "--health-interval", "30s", "--author", "me", "--created-by", "make"],
        ...["--expose", "80", "--volume", "/data", "--stop-signal", "SIGINT", "--compression-level", "9"],
      ],
      { cwd },
    );
    expect(result.images.map(({ platform, layers }) => [platform.architecture, layers.length])).toEqual([
      ["amd64", 2],
      ["arm64", 2],
    ]);
    const index = await stowageJson<Inspection>(["inspect", "oci:out:v1"], { cwd });
    expect(index.annotations).toEqual({ a: "1" });
    const arm = ["oci:out:v1", "--platform", "linux/arm64"];
    expect(await stowageJson<Inspection>(["inspect", ...arm], { cwd })).toMatchObject({
      annotations: { b: "2" },
      config: {
        Healthcheck: { Test: ["CMD-SHELL", "curl localhost"], Interval: 30e9 },
        ExposedPorts: { "80/tcp": {} },
        Volumes: { "/data": {} },
        StopSignal: "SIGINT",
      },
    });
    const files = await stowageJson<ListedFile[]>(["ls-files", ...arm], { cwd });
    expect(
      files
        .filter(({ type }) => type === "file")
        .map(({ path, mode, uid, gid }) => `${path} ${mode.toString(8)} ${uid}:${gid}`),
    ).toEqual([
      "app/config.json 644 0:0",
      "app/main.js 644 0:0",
      "arm.json 644 0:0",
      "list/main.js 600 0:0",
      "server 755 1:2",
    ]);
    expect((await stowage(["cat", "oci:out:v1", "/server", "--platform", "linux/amd64"], { cwd })).stdout).toBe(
      "amd64",
    );
    expect((await stowage(["verify", "oci:out", "--full"], { cwd })).code).toBe(0);
  });

  it("compresses a layer once: built again, it is found in the layout, and the digest is the same", async () => {
    const args = ["build", "app:/app", "-t", "oci:again:v1", "-q"];
    const first = await stowage(args, { cwd });
    expect(await readdir(join(cwd, "again/.stowage-layers"))).toHaveLength(1);
    expect((await stowage(args, { cwd })).stdout).toBe(first.stdout);
    expect(await readdir(join(cwd, "again/.stowage-layers"))).toHaveLength(1);
    await stowage(["untag", "oci:again:v1"], { cwd });
    expect((await stowage(["gc", "again", "--grace", "0"], { cwd })).code).toBe(0);
    expect((await stowage(["verify", "oci:again", "--strict"], { cwd })).stdout).not.toContain("stowage-layers");
  });

  it("makes a layer of each mapping, and an artifact of files of any type", async () => {
    const { layers } = await stowageJson<BuildResult>(
      ["build", "app:/app", "config.json:/c", "--split-layers", "--owner", "5:6", "-t", "oci:out:split"],
      { cwd },
    );
    expect(layers).toHaveLength(2);
    const artifact = await stowageJson<ArtifactBuildResult>(
      [
        "build",
        "list:text/plain",
        "--config",
        "config.json:application/vnd.example.config+json",
        "-t",
        "oci:out:artifact",
      ],
      { cwd },
    );
    expect(artifact.artifactType).toBe("application/vnd.example.config+json");
    expect(artifact.files[0]?.mediaType).toBe("text/plain");
    const typed = await stowage(["build", "list", "--artifact-type", "application/vnd.example", "-t", "oci:out:t"], {
      cwd,
    });
    expect(typed.stdout).toContain("application/vnd.example");
  });

  it.each<[string, string[], 1 | 2, RegExp]>([
    [
      "an option of images for an artifact",
      ["app", "--artifact-type", "a/b", "--env", "A=1"],
      2,
      /--env is for an image/,
    ],
    ["an annotation of no index", ["app", "--annotation", "index:a=b"], 1, /single image has none.*\n.*--index/],
    ["an index for no platform", ["app", "--index"], 2, /--platform/],
    ["one platform twice", ["app", "--platform", "linux/amd64,x86_64"], 1, /two images for linux\/amd64/],
    ["no level", ["app", "--compression-level", "10"], 1, /no level 10.*\n.*1 to 9/],
    ["no owner", ["app", "--owner", "root"], 2, /UID:GID/],
    ["no list", ["--files-from", "missing"], 1, /missing/],
    ["a device", ["/dev/null:/x"], 1, /\/dev\/null into a layer: it is a device/],
    ["no mapping", ["app:"], 2, /SRC:DEST/],
  ])("refuses %s, and makes nothing", async (_what, args, code, message) => {
    const run = await stowage(["build", ...args, "-t", "oci:refused:v1"], { cwd });
    expect(run).toMatchObject({ code, stdout: "" });
    expect(run.stderr).toMatch(message);
    expect((await stowage(["list", "oci:refused", "-q"], { cwd })).stdout).toBe("");
  });
});
