import { memoryStore, type RunningServer, serve } from "@stowage/server";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeNixCache } from "./nix-cache.js";
import { Job, runtimes } from "./runner.js";

describe.each(runtimes)("nix-export under $title", ({ node }) => {
  let job: Job;
  let server: RunningServer;
  let path: string;
  beforeAll(async () => {
    job = await Job.start();
    server = await serve({ store: memoryStore() });
    path = await writeNixCache(job);
  });
  afterAll(async () => {
    await server.close();
    await job.end();
  });

  it("makes an image of a closure that the next step publishes, and compresses nothing twice", async () => {
    const inputs = {
      from: "cache:nix",
      roots: path,
      to: "oci:out:v1",
      entrypoint: path,
      labels: "org.example.label=yes",
    };
    const first = await job.step("nix-export", { node, inputs: { ...inputs, "per-path-artifacts": "true" } });
    expect(first).toMatchObject({
      code: 0,
      stderr: "",
      errors: [],
      outputs: { paths: "2", packed: "2", layout: "out" },
    });
    const { digest, reference } = first.outputs;
    expect(reference).toBe(`oci:out:v1@${digest}`);
    expect(Number(first.outputs["nar-bytes"])).toBeGreaterThan(100);
    expect(first.summary).toContain("Nix closure exported");
    expect(first.summary).toContain("```mermaid\nflowchart LR");
    const second = await job.step("nix-export", { node, inputs: { ...inputs, summary: "false" } });
    expect(second).toMatchObject({ code: 0, summary: "", outputs: { paths: "2", packed: "0", digest } });
    const published = await job.step("publish", {
      node,
      inputs: { source: reference as string, references: `${server.host}:${server.port}/acme/nix:v1` },
    });
    expect(published).toMatchObject({ code: 0, outputs: { digest } });
  });

  it("refuses paths without a signature where it is told to, and leaves nothing behind", async () => {
    const key = `cache.example.org-1:${Buffer.alloc(32, 1).toString("base64")}`;
    const refused = await job.step("nix-export", {
      node,
      inputs: { from: "cache:nix", to: "oci:signed:v1", "trusted-key": key },
    });
    expect(refused).toMatchObject({ code: 1, stderr: "" });
    expect(refused.errors[0]?.data).toContain("2 of 2 store paths lack a signature");
    const missing = await job.step("nix-export", { node, inputs: { from: "cache:app", to: "oci:none:v1" } });
    expect(missing).toMatchObject({ code: 1, stderr: "" });
    expect(missing.errors[0]?.data).toContain("nix-cache-info");
  });
});
