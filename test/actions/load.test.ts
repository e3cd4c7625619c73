import { existsSync, readdirSync } from "node:fs";
import { ArchiveSource, list } from "@stowage/layout";
import { memoryStore, type RunningServer, serve } from "@stowage/server";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findTool, needs, run, skip } from "../interop/peers.js";
import { type DockerDaemon, startDocker } from "./docker.js";
import { Job, runtimes } from "./runner.js";

describe.each(runtimes)("load under $title", ({ node }) => {
  let job: Job;
  let docker: DockerDaemon | string;
  let server: RunningServer;
  let host: string;
  const platforms = ["linux/amd64", "linux/arm64"];
  const digests: Record<string, string> = {};
  beforeAll(async () => {
    job = await Job.start();
    docker = await startDocker();
    server = await serve({ store: memoryStore() });
    host = `${server.host}:${server.port}`;
    for (const platform of platforms) {
      await job.write("app/arch.txt", platform);
      const inputs = { files: "app:/app", target: `oci:${platform.slice(6)}:v1`, platform, entrypoint: "/app/run" };
      digests[platform] = (await job.step("build", { node, inputs })).outputs.digest as string;
    }
    await job.step("merge", { node, inputs: { parts: "oci:amd64:v1,oci:arm64:v1", target: "oci:out:v1" } });
    await job.step("publish", { node, inputs: { source: "oci:out:v1", references: `${host}/acme/app:v1` } });
  });
  afterAll(async () => {
    if (typeof docker !== "string") await docker?.stop();
    await server.close();
    await job.end();
  });

  it("gives Docker the image for its platform, under the names it is told", async (context) => {
    if (typeof docker === "string") skip(context, docker);
    const { env } = docker as DockerDaemon;
    const loaded = await job.step("load", {
      node,
      env: { ...env, PATH: `${process.env.PATH}:/usr/sbin` },
      inputs: { source: "oci:out:v1", name: "acme/app:v1, ghcr.io/acme/app:v1", platform: "linux/arm64" },
    });
    expect(loaded).toMatchObject({ code: 0, stderr: "", errors: [] });
    expect(loaded.outputs).toMatchObject({
      digest: digests["linux/arm64"],
      image: "docker.io/acme/app:v1",
      platform: "linux/arm64",
      archive: "",
    });
    for (const name of ["acme/app:v1", "ghcr.io/acme/app:v1"]) {
      const inspected = await run(
        "docker",
        ["image", "inspect", name, "--format", "{{.Architecture}} {{.Config.Entrypoint}}"],
        { env },
      );
      expect(inspected).toBe("arm64 [/app/run]\n");
    }
    const pulled = await job.step("load", {
      node,
      env: { ...env, PATH: `${process.env.PATH}:/usr/sbin` },
      inputs: { source: `${host}/acme/app:v1`, platform: "linux/amd64" },
    });
    expect(pulled).toMatchObject({ code: 0, outputs: { image: `${host}/acme/app:v1` } });
    expect(await run("docker", ["image", "ls", "-q", `${host}/acme/app:v1`], { env })).toMatch(/^[0-9a-f]{12}\n$/);
    expect(readdirSync(`${job.root}/temp`)).toEqual([]);
  });

  it("tells what Docker and kind say where they do not take it", async (context) => {
    needs(context, "docker");
    const inputs = { source: "oci:amd64:v1", name: "acme/app:v1" };
    const env = {
      DOCKER_HOST: "unix:///nonexistent/docker.sock",
      PATH: `${findTool("docker")?.replace(/\/docker$/, "")}`,
    };
    const refused = await job.step("load", { node, env, inputs });
    expect(refused).toMatchObject({ code: 1, stderr: "" });
    expect(refused.errors[0]?.data).toMatch(/^docker load ended with 1: .*docker\.sock/s);
    const kind = findTool("kind");
    if (kind === undefined || typeof docker === "string") return;
    const nodes = await job.step("load", {
      node,
      env: { ...docker.env, PATH: `${process.env.PATH}:${kind.replace(/\/kind$/, "")}` },
      inputs: { ...inputs, into: "kind", cluster: "ci" },
    });
    expect(nodes.code).toBe(1);
    expect(nodes.errors[0]?.data).toMatch(/^kind load ended with 1: .*no nodes found for cluster "ci"/s);
    expect(readdirSync(`${job.root}/temp`)).toEqual([]);
  });

  it("says what to do where the runner has no Docker", async () => {
    for (const into of ["docker", "kind"]) {
      const result = await job.step("load", {
        node,
        env: { PATH: job.root },
        inputs: { source: "oci:amd64:v1", name: "acme/app:v1", into },
      });
      expect(result).toMatchObject({ code: 1, stderr: "" });
      expect(result.errors[0]?.properties.title).toBe("stowage load: Not found");
      expect(result.errors[0]?.data).toMatch(new RegExp(`${into} is not on this runner\\n.*into: archive`));
    }
  });

  it("writes archives: for one platform what docker load reads, or all of an image with its referrers", async () => {
    const attach = { subject: "oci:out:v1", "artifact-type": "application/vnd.acme.note" };
    expect((await job.step("attach", { node, inputs: attach })).code).toBe(0);
    const docker = await job.step("load", {
      node,
      inputs: { source: "oci:out:v1", into: "archive", archive: "image.tar", name: "acme/app:v1", platform: "arm64" },
    });
    expect(docker).toMatchObject({ code: 0, outputs: { archive: "image.tar", platform: "linux/arm64" } });
    const all = await job.step("load", {
      node,
      inputs: { source: "oci:out:v1", into: "archive", archive: "oci-archive:all.tar", name: "acme/app:v1" },
    });
    expect(all).toMatchObject({ code: 0, outputs: { archive: "all.tar", platform: "" } });
    const source = await ArchiveSource.open(job.path("all.tar"));
    try {
      expect(await list(source)).toMatchObject([{ descriptor: { digest: all.outputs.digest }, referrers: 1 }]);
    } finally {
      await source.close();
    }
  });

  it("leaves nothing where it fails", async () => {
    const result = await job.step("load", {
      node,
      inputs: {
        source: "oci:out:v1",
        into: "archive",
        archive: "none.tar",
        name: "acme/app:v1",
        platform: "linux/s390x",
      },
    });
    expect(result.code).toBe(1);
    expect(existsSync(job.path("none.tar"))).toBe(false);
    expect(readdirSync(`${job.root}/temp`)).toEqual([]);
  });
});
