import { Layout, list, readManifest } from "@stowage/layout";
import { RegistryClient } from "@stowage/registry";
import { memoryStore, type RunningServer, serve } from "@stowage/server";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Job, runtimes } from "./runner.js";

const platforms = ["linux/amd64", "linux/arm64"];

describe.each(runtimes)("merge under $title", ({ node }) => {
  let job: Job;
  let server: RunningServer;
  let host: string;
  const digests: Record<string, string> = {};
  beforeAll(async () => {
    job = await Job.start();
    server = await serve({ store: memoryStore() });
    host = `${server.host}:${server.port}`;
    for (const platform of platforms) {
      // What each job of a matrix has built, and uploaded as an artifact.
      const layout = `parts/${platform.replace("/", "-")}`;
      await job.write("app/arch.txt", platform);
      const built = await job.step("build", { node, inputs: { files: "app", target: `oci:${layout}:v1`, platform } });
      digests[platform] = built.outputs.digest as string;
      await job.step("attach", {
        node,
        inputs: { subject: `oci:${layout}:v1`, "artifact-type": "application/vnd.acme.note" },
      });
    }
  });
  afterAll(async () => {
    await server.close();
    await job.end();
  });

  it("makes one image of the layouts of a matrix, with their referrers, that the next step publishes", async () => {
    const merged = await job.step("merge", {
      node,
      inputs: {
        parts: "oci:parts/linux-amd64:v1\noci:parts/linux-arm64",
        target: "oci:out:v1",
        annotations: "index:org.example.level=index\nmanifest:org.example.level=manifest\norg.example.plain=yes",
        "descriptor-annotations": "org.example.entry=yes",
      },
    });
    expect(merged).toMatchObject({ code: 0, stderr: "", errors: [] });
    const { digest, reference, layout, copied, present } = merged.outputs;
    expect({ reference, layout, present }).toEqual({ reference: `oci:out:v1@${digest}`, layout: "out", present: "0" });
    expect(Number(copied)).toBeGreaterThan(6);
    expect(Number(merged.outputs["copied-bytes"])).toBeGreaterThan(1000);
    expect(JSON.parse(merged.outputs.platforms as string)).toEqual(digests);
    const target = await Layout.open(job.path("out"));
    const { manifest } = await readManifest(target, await target.resolve("v1"));
    expect(manifest.annotations).toEqual({ "org.example.level": "index", "org.example.plain": "yes" });
    expect(merged.summary).toContain("linux/arm64");
    // The picture: an index, two images, and what refers to each.
    expect(merged.summary).toMatch(/```mermaid\nflowchart LR\n(?:.*\n)*?```/);
    expect(merged.summary.match(/-\.->/g)).toHaveLength(2);
    expect(merged.summary.match(/-->/g)).toHaveLength(2);
    expect(merged.summary).toMatch(/```mermaid\npie\n {2}"linux\/amd64, /);

    const published = await job.step("publish", {
      node,
      inputs: { source: reference as string, references: `${host}/acme/app:v1` },
    });
    expect(published).toMatchObject({ code: 0, outputs: { digest, mounted: "0", layout: "out" } });
    expect(published.outputs.copied).toBe(copied);
    const client = new RegistryClient();
    try {
      const [tag] = await list(client.repository(`${host}/acme/app`));
      expect(tag).toMatchObject({ tag: "v1", descriptor: { digest } });
    } finally {
      await client.close();
    }
    const again = await job.step("publish", {
      node,
      inputs: { source: reference as string, references: `${host}/acme/app:v2` },
    });
    expect(again.outputs).toMatchObject({ copied: "0", "copied-bytes": "0" });
    expect(Number(again.outputs.present)).toBeGreaterThan(0);
  });

  it("makes the same digest in whatever order the parts are named, also where the first of them is", async () => {
    const one = await job.step("merge", {
      node,
      inputs: { parts: "oci:parts/linux-arm64:v1,oci:parts/linux-amd64:v1", target: "oci:other:v1", summary: "false" },
    });
    const two = await job.step("merge", {
      node,
      inputs: { parts: "oci:parts/linux-amd64:v1,oci:parts/linux-arm64:v1", ref: "all" },
    });
    expect(one).toMatchObject({ code: 0, summary: "" });
    expect(two.outputs).toMatchObject({ digest: one.outputs.digest, layout: "parts/linux-amd64" });
  });

  it("refuses two images for one platform, and names both parts", async () => {
    await job.write("app/arch.txt", "another");
    await job.step("build", { node, inputs: { files: "app", target: "oci:twin:v1", platform: "linux/amd64" } });
    const result = await job.step("merge", {
      node,
      inputs: { parts: "oci:parts/linux-amd64:v1,oci:twin:v1", target: "oci:conflict:v1" },
    });
    expect(result.code).toBe(1);
    expect(result.errors[0]?.properties.title).toBe("stowage merge: Conflict");
    expect(result.errors[0]?.data).toMatch(/linux\/amd64.*oci:parts\/linux-amd64:v1.*oci:twin:v1/s);
  });
});
