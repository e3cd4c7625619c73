import { existsSync, readdirSync, readFileSync } from "node:fs";
import { copy, Layout, list, readManifest } from "@stowage/layout";
import { RegistryClient } from "@stowage/registry";
import { memoryStore, type RunningServer, serve } from "@stowage/server";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Job, runtimes } from "./runner.js";

const sbom = JSON.stringify({ spdxVersion: "SPDX-2.3", name: "app" });

describe.each(runtimes)("build, attach and publish under $title", ({ node }) => {
  let job: Job;
  let server: RunningServer;
  let host: string;
  beforeAll(async () => {
    job = await Job.start();
    server = await serve({ store: memoryStore() });
    host = `${server.host}:${server.port}`;
    await job.write("app/server.js", "console.log(1)\n");
    await job.write("notes, with comma.txt", "notes\n");
    await job.write("sbom.spdx.json", sbom);
  });
  afterAll(async () => {
    await server.close();
    await job.end();
  });

  it("hand an image with its referrer from one step to the next, and to a registry under several tags", async () => {
    const built = await job.step("build", {
      node,
      inputs: {
        files: "app:/app\n  notes, with comma.txt:/notes.txt  \n\n",
        target: "oci:out:v1",
        tags: "latest, ghcr.io/acme/app:stable",
        entrypoint: '["/app/server.js", "a b"]',
        cmd: "--one\n--two",
        env: "NAME=a=b\n \nOTHER=",
        labels: "org.example.label=x y",
        annotations: "manifest:org.example.level=in\nindex:org.example.level=out\norg.example.plain=yes",
        platform: "linux/arm64",
        workdir: "/app",
        user: "1000:1000",
        expose: "8080/tcp",
        volume: "/data",
        "stop-signal": "SIGINT",
        created: "1700000000",
      },
    });
    expect(built).toMatchObject({ code: 0, stderr: "", errors: [] });
    const digest = built.outputs.digest as string;
    expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(JSON.parse(built.outputs.descriptor as string)).toMatchObject({
      digest,
      platform: { architecture: "arm64" },
    });
    expect(built.outputs).toMatchObject({ reference: `oci:out:v1@${digest}`, layout: "out", platform: "linux/arm64" });
    expect(JSON.parse(built.outputs.references as string)).toEqual([`oci:out:v1@${digest}`]);
    expect(built.summary).toContain(digest);

    const layout = await Layout.open(job.path("out"));
    const { manifest } = await readManifest(layout, await layout.resolve("stable"));
    expect(manifest.annotations).toEqual({ "org.example.level": "in", "org.example.plain": "yes" });
    const blob = (name: string): string => readFileSync(job.path(`out/blobs/${name.replace(":", "/")}`), "utf8");
    expect(JSON.parse(blob((manifest as { config: { digest: string } }).config.digest))).toMatchObject({
      created: "2023-11-14T22:13:20Z",
      config: {
        Entrypoint: ["/app/server.js", "a b"],
        Cmd: ["--one", "--two"],
        Env: ["NAME=a=b", "OTHER="],
        Labels: { "org.example.label": "x y" },
        WorkingDir: "/app",
        User: "1000:1000",
        ExposedPorts: { "8080/tcp": {} },
        Volumes: { "/data": {} },
        StopSignal: "SIGINT",
      },
    });

    const attached = await job.step("attach", {
      node,
      inputs: { subject: built.outputs.reference as string, files: "sbom.spdx.json", created: "1700000000" },
    });
    expect(attached).toMatchObject({ code: 0, stderr: "", errors: [] });
    expect(attached.outputs).toMatchObject({ "subject-digest": digest, "artifact-type": "application/spdx+json" });
    expect(attached.outputs.reference).toBe(`oci:out@${attached.outputs.digest}`);
    expect(JSON.parse(attached.outputs.files as string)).toMatchObject([{ size: sbom.length }]);
    expect(attached.summary).toContain(attached.outputs.digest);

    const published = await job.step("publish", {
      node,
      inputs: {
        source: built.outputs.reference as string,
        references: `${host}/acme/app:v1,${host}/acme/app:latest\n\n ${host}/acme/other:v1 `,
      },
    });
    expect(published).toMatchObject({ code: 0, stderr: "", errors: [] });
    expect(published.outputs).toMatchObject({
      digest,
      reference: `${host}/acme/app:v1@${digest}`,
      repository: `${host}/acme/app`,
    });
    expect(JSON.parse(published.outputs.references as string)).toEqual([
      `${host}/acme/app:v1@${digest}`,
      `${host}/acme/app:latest@${digest}`,
      `${host}/acme/other:v1@${digest}`,
    ]);
    expect(JSON.parse(published.outputs.platforms as string)).toEqual({ "linux/arm64": digest });
    // One line for each image, not for each of its tags.
    expect(published.artifacts).toBe(`oci://${host}/acme/app:v1@${digest}\noci://${host}/acme/other:v1@${digest}\n`);
    expect(published.log).toContain(`published ${host}/acme/app:v1 ${digest} (6 written; `);
    expect(published.log).toContain(`published ${host}/acme/app:latest ${digest} (the same copy)`);

    const client = new RegistryClient();
    try {
      const repository = client.repository(`${host}/acme/app`);
      expect(await list(repository)).toMatchObject([
        { tag: "latest", descriptor: { digest }, referrers: 1 },
        { tag: "v1", descriptor: { digest }, referrers: 1 },
      ]);
    } finally {
      await client.close();
    }
  });

  it("read an image from a registry, attach to it there, and take its base from there", async () => {
    const first = await job.step("build", { node, inputs: { files: "app:/app", target: `${host}/acme/base:v1` } });
    expect(first).toMatchObject({ code: 0, outputs: { layout: "" } });
    expect(first.outputs.reference).toBe(`${host}/acme/base:v1@${first.outputs.digest}`);
    expect(readdirSync(`${job.root}/temp`)).toEqual([]);
    const attached = await job.step("attach", {
      node,
      inputs: {
        subject: `${host}/acme/base:v1`,
        "artifact-type": "application/vnd.acme.note",
        annotations: "note=yes",
      },
    });
    expect(attached).toMatchObject({ code: 0 });
    expect(attached.outputs.reference).toBe(`${host}/acme/base@${attached.outputs.digest}`);
    const second = await job.step("build", {
      node,
      inputs: {
        base: `${host}/acme/base:v1`,
        files: "sbom.spdx.json:/",
        target: "oci:derived:v1\noci-archive:derived.tar:v1",
      },
    });
    expect(second).toMatchObject({ code: 0 });
    expect(existsSync(job.path("derived.tar"))).toBe(true);
    const layout = await Layout.open(job.path("derived"));
    const { manifest } = await readManifest(layout, await layout.resolve("v1"));
    expect(manifest.annotations).toMatchObject({ "org.opencontainers.image.base.digest": first.outputs.digest });
    const again = await job.step("publish", {
      node,
      inputs: { source: `${host}/acme/base:v1`, references: `${host}/acme/copy:v1` },
    });
    expect(again).toMatchObject({ code: 0, outputs: { digest: first.outputs.digest } });
  });

  it("leave referrers behind where they are asked to", async () => {
    await job.step("build", { node, inputs: { files: "app:/app", target: "oci:bare:v1" } });
    await job.step("attach", { node, inputs: { subject: "oci:bare:v1", files: "sbom.spdx.json" } });
    const published = await job.step("publish", {
      node,
      inputs: { source: "oci:bare:v1", references: `${host}/acme/bare:v1`, referrers: "none" },
    });
    expect(published).toMatchObject({ code: 0 });
    const client = new RegistryClient();
    try {
      expect(await list(client.repository(`${host}/acme/bare`))).toMatchObject([{ tag: "v1", referrers: 0 }]);
    } finally {
      await client.close();
    }
  });

  it("make the same digest as before from the same files", async () => {
    const inputs = { files: "app:/app", platform: "linux/amd64", entrypoint: "/app/server.js" };
    const one = await job.step("build", { node, inputs: { ...inputs, target: "oci:one:v1" } });
    const two = await job.step("build", { node, inputs: { ...inputs, target: "oci:two:v1" } });
    expect(two.outputs.digest).toBe(one.outputs.digest);
    const dated = await job.step("build", {
      node,
      inputs: { ...inputs, target: "oci:three:v1" },
      env: { SOURCE_DATE_EPOCH: "1700000000" },
    });
    expect(dated.outputs.digest).not.toBe(one.outputs.digest);
  });

  it("fail when one of the references fails, with outputs and artifacts for the others", async () => {
    await job.step("build", { node, inputs: { files: "app:/app", target: "oci:partly:v1" } });
    const wrong = `${host}/acme/partly@sha256:${"0".repeat(64)}`;
    const published = await job.step("publish", {
      node,
      inputs: { source: "oci:partly:v1", references: `${wrong}\n${host}/acme/partly:v1` },
    });
    expect(published.code).toBe(1);
    expect(published.errors).toHaveLength(1);
    expect(published.errors[0]?.data).toContain(`not published: ${wrong}`);
    const reference = `${host}/acme/partly:v1@${published.outputs.digest}`;
    expect(JSON.parse(published.outputs.references as string)).toEqual([reference]);
    expect(published.artifacts).toBe(`oci://${reference}\n`);
    expect(published.summary).toContain("failed");
  });

  it("write no summary when they are told not to, and none where there is no file for it", async () => {
    const silent = await job.step("build", {
      node,
      inputs: { files: "app", target: "oci:silent:v1", summary: "false" },
    });
    expect(silent).toMatchObject({ code: 0, summary: "" });
    const env = { GITHUB_STEP_SUMMARY: undefined, GITHUB_ARTIFACTS: undefined };
    const bare = await job.step("publish", {
      node,
      env,
      inputs: { source: "oci:silent:v1", references: `${host}/acme/silent:v1` },
    });
    expect(bare).toMatchObject({ code: 0, errors: [], artifacts: "" });
  });

  it("finish although the summary cannot be written, with a warning", async () => {
    const env = { GITHUB_STEP_SUMMARY: `${job.root}/missing` };
    const built = await job.step("build", { node, env, inputs: { files: "app", target: "oci:nosummary:v1" } });
    expect(built).toMatchObject({ code: 0, errors: [] });
    expect(built.commands.map(({ command }) => command)).toContain("warning");
  });

  it("publish each platform of an index, and name its digest", async () => {
    const digests: Record<string, string> = {};
    const layout = await Layout.create(job.path("index"));
    for (const platform of ["linux/amd64", "linux/arm64"]) {
      const built = await job.step("build", {
        node,
        inputs: { files: "app", target: `oci:${platform.slice(6)}:v1`, platform },
      });
      digests[platform] = built.outputs.digest as string;
      const source = await Layout.open(job.path(platform.slice(6)));
      await copy(source, layout, "v1");
    }
    const manifests = Object.entries(digests).map(async ([platform, digest]) => ({
      ...(await layout.resolve(digest)),
      platform: { os: "linux", architecture: platform.slice(6) },
    }));
    const index = JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests: await Promise.all(manifests),
    });
    const root = await layout.write([Buffer.from(index)], "application/vnd.oci.image.index.v1+json");
    await layout.tag("v1", root);
    const attached = await job.step("attach", {
      node,
      inputs: { subject: "oci:index:v1", platform: "arm64", files: "sbom.spdx.json" },
    });
    expect(attached.outputs["subject-digest"]).toBe(digests["linux/arm64"]);
    const published = await job.step("publish", {
      node,
      inputs: { source: "oci:index:v1", references: `${host}/acme/index:v1` },
    });
    expect(published).toMatchObject({ code: 0, outputs: { digest: root.digest } });
    expect(JSON.parse(published.outputs.platforms as string)).toEqual(digests);
  });
});
