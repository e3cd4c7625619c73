import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BuildResult, MutateReport } from "@stowage/image";
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

  it.each([
    [["--clear", "everything"], 2, "clear"],
    [["--created", "yesterday"], 2, "yesterday"],
    [["--label", "x"], 2, "KEY=VALUE"],
    [["--health-interval", "soon"], 2, "duration"],
    [["--workdir", "relative"], 1, "absolute path"],
    [["--platform", "linux/s390x"], 1, "linux/s390x"],
  ])("%j ends with %d", async (args, code, text) => {
    const run = await stowage(["mutate", "oci:out:v1", "-t", "oci:no:v1", ...args], { cwd });
    expect(run.stderr).toContain(text);
    expect(run.stdout).toBe("");
    expect(run.code).toBe(code);
  });
});
