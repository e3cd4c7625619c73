import { existsSync, readdirSync, readFileSync } from "node:fs";
import { rm, stat, utimes, writeFile } from "node:fs/promises";
import { memoryStore, type RunningServer, serve } from "@stowage/server";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Job, runtimes } from "./runner.js";

describe.each(runtimes)("sync under $title", ({ node }) => {
  let job: Job;
  let server: RunningServer | undefined;
  let host: string;
  beforeAll(async () => {
    job = await Job.start();
    server = await serve({ store: memoryStore() });
    host = `${server.host}:${server.port}`;
    for (const name of ["one", "two"]) {
      await job.write("app/name.txt", name);
      await job.step("build", { node, inputs: { files: "app", target: `${host}/acme/${name}:v1` } });
    }
    await job.write(
      "sync.yaml",
      `version: 1\nsync:\n  - { source: ${host}/acme, repositories: "**", target: "oci:cache" }\n`,
    );
  });
  afterAll(async () => {
    await server?.close();
    await job.end();
  });

  const keys = () => job.step("sync", { node, inputs: { source: "sync.yaml", "lock-digest": "true" } });
  const fill = (more: Record<string, string> = {}) =>
    job.step("sync", { node, inputs: { source: "sync.yaml", frozen: "true", ...more } });

  it("gives the keys of a cache from the lock, misses, hits, and takes what is damaged for a miss", async () => {
    const locked = await job.step("sync", { node, inputs: { source: "sync.yaml", update: "true" } });
    expect(locked).toMatchObject({ code: 0, errors: [], outputs: { complete: "true", layout: "cache" } });
    await rm(job.path("cache"), { recursive: true });

    const { outputs } = await keys();
    expect(outputs.key).toBe(`stowage-sync.yaml-${outputs["lock-digest"]?.slice(7)}`);
    expect(outputs["restore-key"]).toBe("stowage-sync.yaml-");
    expect(existsSync(job.path("cache"))).toBe(false);

    const miss = await fill();
    expect(miss).toMatchObject({ code: 0, errors: [], outputs: { "cache-hit": "false", complete: "true" } });
    expect(miss.outputs.key).toBe(outputs.key);
    expect(JSON.parse(miss.outputs.images as string)).toMatchObject([
      { source: `${host}/acme/one:v1`, target: `oci:cache:${host}/acme/one:v1` },
      { source: `${host}/acme/two:v1` },
    ]);
    expect(miss.summary).toContain(`${host}/acme/one:v1`);

    const hit = await fill({ offline: "true" });
    expect(hit).toMatchObject({ code: 0, outputs: { "cache-hit": "true", copied: "0", complete: "true" } });

    const [name] = readdirSync(job.path("cache/blobs/sha256"));
    const blob = job.path(`cache/blobs/sha256/${name}`);
    const bytes = readFileSync(blob);
    for (const damage of [Buffer.alloc(bytes.length), Buffer.alloc(0)]) {
      await writeFile(blob, damage);
      const damaged = await fill();
      expect(damaged).toMatchObject({ code: 0, errors: [], outputs: { "cache-hit": "false", complete: "true" } });
      expect(damaged.commands.filter(({ command }) => command === "warning")).toMatchObject([
        { properties: { title: "stowage sync: Damaged cache" }, data: expect.stringContaining("1 blob") },
      ]);
      expect(readFileSync(blob)).toEqual(bytes);
    }
    await writeFile(job.path("cache/index.json"), "\0\0\0");
    expect((await fill()).outputs).toMatchObject({ "cache-hit": "false", complete: "true" });
    expect((await fill()).outputs).toMatchObject({ "cache-hit": "true" });
  });

  it("removes what an older cache had, where it is told to", async () => {
    const stale = job.path(`cache/blobs/sha256/2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae`);
    await writeFile(stale, "foo");
    await utimes(stale, 1, 1);
    expect(await fill({ gc: "true" })).toMatchObject({ code: 0, outputs: { complete: "true" } });
    await expect(stat(stale)).rejects.toThrow();
    expect((await fill()).outputs["cache-hit"]).toBe("true");
  });

  it("is a warning where the registry is gone and the cache does not have all, and a failure where it is required", async () => {
    await server?.close();
    server = undefined;
    expect((await fill()).outputs).toMatchObject({ "cache-hit": "true" });
    await rm(job.path("cache"), { recursive: true });
    for (const damage of [undefined, "a file"]) {
      if (damage !== undefined) {
        await rm(job.path("cache"), { recursive: true, force: true });
        await writeFile(job.path("cache"), damage);
      }
      const missed = await fill();
      expect(missed).toMatchObject({ code: 0, errors: [], outputs: { "cache-hit": "false", complete: "false" } });
      expect(missed.commands.some(({ command }) => command === "warning")).toBe(true);
      const required = await fill({ required: "true" });
      expect(required.code).toBe(1);
      expect(required.errors[0]?.data).toMatch(/^not synced: sync\.yaml/);
    }
  });

  it("fails where a registry is the target and nothing can be brought, unless that is no matter", async () => {
    const inputs = { source: `${host}/acme/one`, target: "127.0.0.1:1/acme/one" };
    expect(await job.step("sync", { node, inputs })).toMatchObject({ code: 1, outputs: { complete: "false" } });
    expect(await job.step("sync", { node, inputs: { ...inputs, required: "false" } })).toMatchObject({ code: 0 });
  });

  it("does without a file what the inputs say, in the names of the command line", async () => {
    await job.write("app/name.txt", "local");
    const tags = "1.0.0,1.1.0,2.0.0,other";
    await job.step("build", { node, inputs: { files: "app", target: "oci:versions", tags } });
    const result = await job.step("sync", {
      node,
      inputs: { source: "oci:versions", target: "oci:newest", semver: "<2", newest: "1", names: "tag" },
    });
    expect(result).toMatchObject({ code: 0, outputs: { key: "", "restore-key": "", "lock-digest": "" } });
    expect(JSON.parse(result.outputs.images as string)).toMatchObject([{ target: "oci:newest:1.1.0" }]);
    const planned = await job.step("sync", {
      node,
      inputs: { source: "oci:versions", target: "oci:planned", tags: "other\n2.*", "dry-run": "true" },
    });
    expect(JSON.parse(planned.outputs.images as string)).toHaveLength(2);
    expect(existsSync(job.path("planned"))).toBe(false);
  });
});
