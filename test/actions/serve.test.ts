import { existsSync, readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { Layout } from "@stowage/layout";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { Job, runtimes, type StepResult } from "./runner.js";

describe.each(runtimes)("serve under $title", ({ node }) => {
  let job: Job;
  let digest: string;
  const started: StepResult[] = [];
  const start = async (inputs: Record<string, string>): Promise<StepResult> => {
    const result = await job.step("serve", { node, inputs });
    if (result.state.serving !== undefined) started.push(result);
    return result;
  };
  const stop = async ({ state }: StepResult): Promise<StepResult> => job.step("serve", { node, state });
  beforeAll(async () => {
    job = await Job.start();
    await job.write("app/hello.txt", "hello\n");
    const built = await job.step("build", {
      node,
      inputs: { files: "app", target: "oci:cache:ghcr.io/acme/app:v1" },
    });
    digest = built.outputs.digest as string;
  });
  afterEach(async () => {
    for (const one of started.splice(0)) await stop(one);
  });
  afterAll(() => job.end());

  it("is a registry over the layout for the steps after it, and ends with the job", async () => {
    const serving = await start({ directory: "cache", readonly: "true" });
    expect(serving).toMatchObject({ code: 0, stderr: "", errors: [] });
    const { url, registry, port } = serving.outputs;
    expect([url, registry]).toEqual([`http://127.0.0.1:${port}`, `127.0.0.1:${port}`]);
    const pulled = await job.step("sync", {
      node,
      inputs: { source: `${registry}/acme/app:v1`, target: "oci:pulled:v1", names: "tag" },
    });
    expect(pulled).toMatchObject({ code: 0, outputs: { complete: "true" } });
    expect((await (await Layout.open(job.path("pulled"))).resolve("v1")).digest).toBe(digest);
    const refused = await job.step("publish", {
      node,
      inputs: { source: "oci:pulled:v1", references: `${registry}/acme/new:v1` },
    });
    expect(refused).toMatchObject({ code: 1, outputs: { references: "[]" } });

    const ended = await stop(serving);
    started.length = 0;
    expect(ended).toMatchObject({ code: 0, stderr: "", errors: [], outputs: {} });
    expect(ended.log).toMatch(/stopped http:\/\/127\.0\.0\.1:\d+ after [1-9]\d* requests/);
    expect(ended.summary).toContain("Registry stopped");
    await expect(fetch(`${url}/v2/`)).rejects.toThrow();
    expect(readdirSync(`${job.root}/temp`)).toEqual([]);
    // A second post has nothing to stop, and hurts nobody.
    expect(await stop(serving)).toMatchObject({ code: 0, errors: [] });
  });

  it("takes what later steps publish, into a directory of layouts, and fetches what it lacks where it is told to", async () => {
    const origin = await start({ directory: "registry" });
    const published = await job.step("publish", {
      node,
      inputs: { source: "oci:cache", references: `${origin.outputs.registry}/acme/app:v1` },
    });
    expect(published).toMatchObject({ code: 0, errors: [] });
    expect(existsSync(job.path("registry/acme/app/oci-layout"))).toBe(true);
    const proxy = await start({ directory: "kept", proxy: origin.outputs.registry as string });
    expect(proxy).toMatchObject({ code: 0, errors: [] });
    const answer = await fetch(`${proxy.outputs.url}/v2/acme/app/manifests/v1`);
    expect([answer.status, answer.headers.get("docker-content-digest")]).toEqual([200, digest]);
  });

  it("keeps the secrets of the step from the process that it leaves running", async () => {
    const env = { ACTIONS_RUNTIME_TOKEN: "runtime-secret", GITHUB_TOKEN: "token-secret" };
    const serving = await job.step("serve", { node, env, inputs: { memory: "true" } });
    started.push(serving);
    const { pid } = JSON.parse(serving.state.serving as string) as { pid: number };
    if (process.platform !== "linux") return;
    const environment = await readFile(`/proc/${pid}/environ`, "utf8");
    const line = await readFile(`/proc/${pid}/cmdline`, "utf8");
    expect(environment + line).toContain("serve-process.mjs");
    for (const secret of Object.values(env)) expect(environment + line).not.toContain(secret);
  });

  it("fails where the port is taken or the directory is no directory, and leaves nothing running", async () => {
    const first = await start({ memory: "true" });
    const taken = await start({ memory: "true", listen: first.outputs.registry as string });
    expect(taken).toMatchObject({ code: 1, stderr: "", state: {} });
    expect(taken.errors[0]?.data).toContain(first.outputs.port);
    const wrong = await start({ directory: "app/hello.txt" });
    expect(wrong).toMatchObject({ code: 1, stderr: "", state: {} });
    expect(wrong.errors).toHaveLength(1);
    expect(wrong.errors[0]?.data).toContain("hello.txt");
  });
});
