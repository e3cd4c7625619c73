import { copy, Layout } from "@stowage/layout";
import { memoryStore, type RunningServer, serve } from "@stowage/server";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ActionName, Job, metadataOf, runtimes, type StepResult } from "./runner.js";

const fragments = [
  "::set-output name=digest::evil",
  "##[set-output name=digest;]evil",
  "::add-mask::sha256",
  "::stop-commands::x",
  "\n",
  "\r",
  "\r\n::error::evil",
  "%0A::warning::evil",
  "ghadelimiter_00000000-0000-0000-0000-000000000000",
  "</td></table><script>evil()</script>",
  "<img src=x onerror=evil()>",
  "| evil |",
  "[evil](https://evil.example)",
  "`evil`",
  "=",
  "v1",
  "a b",
  "\u2028::debug::evil",
  "\u202e",
  "../..",
  "\u{1f680}",
];

/** The same sequence in every run. */
function sequence(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return state / 0x80000000;
  };
}

/** What holds whatever the inputs are: only this action's own commands and outputs, and errors if and only if the step failed. */
function expectHarmless(action: ActionName, result: StepResult): void {
  expect([0, 1]).toContain(result.code);
  expect(result.stderr).toBe("");
  const allowed = new Set(["error", "group", "endgroup"]);
  expect(result.commands.filter(({ command }) => !allowed.has(command))).toEqual([]);
  for (const { properties } of result.errors) expect(Object.keys(properties)).toEqual(["title"]);
  expect(result.errors.length > 0, result.stdout).toBe(result.code === 1);
  const declared = Object.keys(metadataOf(action).outputs);
  expect(Object.keys(result.outputs).filter((name) => !declared.includes(name))).toEqual([]);
  if (result.code === 0) expect(result.outputs.digest).toMatch(/^sha256:[0-9a-f]{64}$/);
  expect(result.summary).not.toMatch(/<(?!\/?(?:h3|table|tr|th|td|code|br)\b)/);
  expect(result.summary).not.toContain("](");
  expect(result.stdout + result.summary).not.toMatch(/[\u2028\u202e]/);
}

describe.each(runtimes)("under $title", ({ node }) => {
  let job: Job;
  let server: RunningServer;
  let host: string;
  beforeAll(async () => {
    job = await Job.start();
    server = await serve({ store: memoryStore() });
    host = `${server.host}:${server.port}`;
    await job.write("app/hello.txt", "hello\n");
    expect(await job.step("build", { node, inputs: { files: "app", target: "oci:out:v1" } })).toMatchObject({
      code: 0,
    });
  });
  afterAll(async () => {
    await server.close();
    await job.end();
  });

  it.each([1, 2, 3, 4, 5, 6])("inputs full of commands and markup are text and nothing else (%i)", async (seed) => {
    const random = sequence(seed * 7919);
    const text = (): string =>
      Array.from(
        { length: 1 + Math.floor(random() * 4) },
        () => fragments[Math.floor(random() * fragments.length)],
      ).join("");
    const built = await job.step("build", {
      node,
      inputs: {
        files: "app",
        target: `oci:fuzz${seed}:v1`,
        annotations: `key=${text().replaceAll(/[\r\n]/g, " ")}`,
        labels: `key=${text().replaceAll(/[\r\n]/g, " ")}`,
        entrypoint: JSON.stringify([text()]),
      },
    });
    expectHarmless("build", built);
    for (const inputs of [
      { tags: text() },
      { labels: text() },
      { platform: text() },
      { base: text() },
      { directory: text() },
    ]) {
      const result = await job.step("build", {
        node,
        inputs: { files: "app", target: "oci:fuzz:v1", ...inputs } as Record<string, string>,
      });
      expectHarmless("build", result);
    }
    const attach = { subject: "oci:out:v1", "artifact-type": "application/vnd.acme.note" };
    for (const inputs of [{ tag: text() }, { annotations: text() }, { subject: text() }, { files: text() }]) {
      expectHarmless(
        "attach",
        await job.step("attach", { node, inputs: { ...attach, ...inputs } as Record<string, string> }),
      );
    }
    expectHarmless(
      "publish",
      await job.step("publish", { node, inputs: { source: "oci:out:v1", references: `${host}/acme/app:${text()}` } }),
    );
  });

  it("a file name full of commands and markup is text and nothing else", async () => {
    const names = ["##[set-output name=digest;]evil", "::set-output name=digest::evil", "<img src=x onerror=evil()>"];
    for (const name of names) {
      await job.write(`odd/${name.replaceAll("/", "")}`, "odd");
      const result = await job.step("attach", {
        node,
        inputs: { subject: "oci:out:v1", files: `odd/${name}`, "artifact-type": "application/vnd.acme.note" },
      });
      expectHarmless("attach", result);
      expect(result.code).toBe(0);
      expect(JSON.parse(result.outputs.files as string)).toMatchObject([
        { annotations: { "org.opencontainers.image.title": name } },
      ]);
    }
  });

  it("an index whose platforms are full of commands and markup is published as it is, and shown as text", async () => {
    const layout = await Layout.create(job.path("hostile"));
    const mediaType = "application/vnd.oci.image.index.v1+json";
    const image = await (await Layout.open(job.path("out"))).resolve("v1");
    await copy(await Layout.open(job.path("out")), layout, image);
    const architecture = `x\n::set-output name=digest::evil\n##[set-output name=digest;]evil</td><script>`;
    const index = JSON.stringify({
      schemaVersion: 2,
      mediaType,
      manifests: [
        { mediaType: image.mediaType, digest: image.digest, size: image.size, platform: { os: "linux", architecture } },
      ],
    });
    const root = await layout.write([Buffer.from(index)], mediaType);
    await layout.tag("v1", root);
    const result = await job.step("publish", {
      node,
      inputs: { source: "oci:hostile:v1", references: `${host}/acme/hostile:v1` },
    });
    expectHarmless("publish", result);
    expect(result).toMatchObject({ code: 0, outputs: { digest: root.digest } });
    expect(JSON.parse(result.outputs.platforms as string)).toEqual({ [`linux/${architecture}`]: image.digest });
    expect(result.summary).toContain("set-output");
  });

  it("a layout in a directory with a line break in its name is found, and its name is one line in the log", async () => {
    const source = `oci:odd\n::set-output name=digest::evil`;
    const layout = await Layout.create(job.path("odd\n::set-output name=digest::evil"));
    await copy(await Layout.open(job.path("out")), layout, "v1", { tags: ["v1"] });
    const result = await job.step("attach", {
      node,
      inputs: { subject: `${source}:v1`, "artifact-type": "application/vnd.acme.note" },
    });
    expectHarmless("attach", result);
    expect(result.code).toBe(0);
  });
});
