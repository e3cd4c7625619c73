import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BuildResult, ListedFile, MutateReport } from "@stowage/image";
import type { AttachResult, Inspection } from "@stowage/layout";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Served, startServe, stowage, stowageJson, temporaryDirectory } from "./stowage.js";

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let served: Served;
let cwd: string;
let built: BuildResult;

beforeAll(async () => {
  directory = await temporaryDirectory();
  cwd = directory.path;
  mkdirSync(join(cwd, "app"));
  writeFileSync(join(cwd, "app", "main.js"), "console.log('hi')\n");
  writeFileSync(join(cwd, "sbom.json"), "{}");
  served = await startServe(["--memory"]);
  const platform = ["--platform", "linux/amd64"];
  built = await stowageJson(["build", "app:/app", "-t", "oci:out:v1", "--env", "A=1", "--label", "x=y", ...platform], {
    cwd,
  });
});

afterAll(async () => {
  await served?.stop();
  await directory?.remove();
});

describe("stowage mutate", () => {
  it("changes the config on the way into a registry, and says old and new digest", async () => {
    const location = `${served.host}/acme/app:v2`;
    const { code, stdout } = await stowage(
      [
        "mutate",
        "oci:out:v1",
        "-t",
        location,
        ..."--user 1000 --remove-env A --remove-label x --clear cmd --expose 80 --created 0".split(" "),
        ..."--annotation a=b --health-interval 1m --healthcheck".split(" "),
        "curl localhost",
      ],
      { cwd },
    );
    expect(code).toBe(0);
    const { descriptor, config, created } = await stowageJson<Inspection>(["inspect", location], { cwd });
    expect(stdout).toContain(`NEW DIGEST:\n    was ${built.descriptor.digest}\n    is  ${descriptor.digest}`);
    expect(created).toBe("1970-01-01T00:00:00Z");
    expect(config).toEqual({
      User: "1000",
      ExposedPorts: { "80/tcp": {} },
      Healthcheck: { Test: ["CMD-SHELL", "curl localhost"], Interval: 60_000_000_000 },
    });
  });

  it("says that nothing changed, and what stays behind", async () => {
    const same = await stowage(["mutate", "oci:out:v1", "-t", "oci:out:same"], { cwd });
    expect(same.stdout).toContain("nothing changed; the digest stays");
    const sbom = ["attach", "oci:out:v1", "sbom.json", "--artifact-type", "application/spdx+json"];
    const attached = await stowageJson<AttachResult>(sbom, { cwd });
    const { code, stderr, stdout } = await stowage(["mutate", "oci:out:v1", "-t", "oci:out:v3", "--user", "a", "-q"], {
      cwd,
    });
    expect(code).toBe(0);
    expect(stderr).toContain(`the referrer ${attached.descriptor.digest} stays with the old digest`);
    const { descriptor } = await stowageJson<Inspection>(["inspect", "oci:out:v3"], { cwd });
    expect(stdout.trim()).toBe(descriptor.digest);
    const report = await stowageJson<MutateReport>(["mutate", "oci:out:v1", "-t", "oci:b:v3", "--user", "a"], { cwd });
    expect(report.left.map(({ digest }) => digest)).toEqual([attached.descriptor.digest]);
    expect(report.descriptor.digest).toBe(descriptor.digest);
  });

  it("changes layers in every way, and the result is sound and says so", async () => {
    const files = async (location: string) => {
      const listed = await stowageJson<readonly ListedFile[]>(["ls-files", location], { cwd });
      return listed.map(({ path }) => path);
    };
    const mutate = (...args: string[]) => stowageJson<MutateReport>(["mutate", ...args], { cwd });
    await mutate("oci:out:v1", "-t", "oci:layers:two", "--add-files", "sbom.json:/doc/", "--created", "0");
    await mutate("oci:layers:two", "-t", "oci:layers:flat", "--flatten", "--timestamps", "0", "--compression", "none");
    expect(await files("oci:layers:flat")).toEqual(await files("oci:layers:two"));
    await mutate("oci:layers:two", "-t", "oci:layers:squashed", "--squash", "1-2");
    await mutate("oci:layers:two", "-t", "oci:layers:stripped", "--strip", "doc");
    await mutate("oci:layers:two", "-t", "oci:layers:dropped", "--drop-layer", "2");
    expect(await files("oci:layers:dropped")).toEqual(await files("oci:out:v1"));
    expect(await files("oci:layers:stripped")).toEqual(await files("oci:out:v1"));
    const docker = ["--media-types", "docker", "--compression", "gzip"];
    const { descriptor } = await mutate("oci:layers:flat", "-t", `${served.host}/acme/docker:v1`, ...docker);
    expect(descriptor.mediaType).toBe("application/vnd.docker.distribution.manifest.v2+json");
    const verified = await stowage(["verify", "--full", "oci:layers"], { cwd });
    expect(verified.stdout + verified.stderr).not.toContain("error");
    expect(verified.code).toBe(0);
  });

  it("moves an image onto a newer base, and names the layer that is another", async () => {
    writeFileSync(join(cwd, "release"), "1");
    const platform = ["--platform", "linux/amd64"];
    await stowageJson(["build", "release:/etc/", "-t", "oci:base:v1", ...platform], { cwd });
    await stowageJson(["build", "app:/app", "-t", "oci:img:v1", "--base", "oci:base:v1", ...platform], { cwd });
    writeFileSync(join(cwd, "release"), "2");
    const base = ["build", "release:/etc/", "-t", "oci:base:v2", "--env", "RELEASE=2", ...platform];
    const { descriptor } = await stowageJson<BuildResult>(base, { cwd });
    const fresh = ["build", "app:/app", "-t", "oci:img:built", "--base", "oci:base:v2", ...platform];
    const rebuilt = await stowageJson<BuildResult>(fresh, { cwd });
    const rebase = ["mutate", "oci:img:v1", "-t", "oci:img:v2", "--rebase"];
    const report = await stowageJson<MutateReport>([...rebase, "oci:base:v1", "oci:base:v2"], { cwd });
    // As if it had been built on it.
    expect(report.descriptor.digest).toBe(rebuilt.descriptor.digest);
    const { annotations, config } = await stowageJson<Inspection>(["inspect", "oci:img:v2"], { cwd });
    expect(annotations).toEqual({ "org.opencontainers.image.base.digest": descriptor.digest });
    expect(config).toEqual({ Env: ["RELEASE=2"] });
    const wrong = await stowage([...rebase, "oci:base:v2", "oci:base:v1"], { cwd });
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toContain("layer 1 of the base");
  });

  it.each([
    [["--clear", "everything"], 2, "clear"],
    [["--created", "yesterday"], 2, "yesterday"],
    [["--label", "x"], 2, "KEY=VALUE"],
    [["--health-interval", "soon"], 2, "duration"],
    [["--squash", "all"], 2, "FIRST-LAST"],
    [["--squash", "1-3"], 1, "1 layers"],
    [["--replace-layer", "1"], 2, "LAYER=FILE"],
    [["--drop-layer", "2"], 1, "none is 2"],
    [["--timestamps", "yesterday"], 2, "yesterday"],
    [["--media-types", "windows"], 2, "media-types"],
    [["--rebase", "oci:out:v1"], 2, "rebase"],
    [["--workdir", "relative"], 1, "absolute path"],
    [["--platform", "linux/s390x"], 1, "linux/s390x"],
  ])("%j ends with %d", async (args, code, text) => {
    const run = await stowage(["mutate", "oci:out:v1", "-t", "oci:no:v1", ...args], { cwd });
    expect(run.stderr).toContain(text);
    expect(run.stdout).toBe("");
    expect(run.code).toBe(code);
  });
});
