import { existsSync } from "node:fs";
import { truncate } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ActionName, Job, runtimes } from "./runner.js";

/** What is wrong though every input can be read, and what the annotation has to say about it. */
const wrong: readonly [string, ActionName, Record<string, string>, string, RegExp][] = [
  ["an image of nothing", "build", { target: "oci:o" }, "Not valid", /without a layer/],
  ["files that are not there", "build", { files: "missing:/x", target: "oci:o" }, "Not found", /"missing"/],
  ["a directory that is no layout", "build", { files: "app", target: "oci:app:v1" }, "Conflict", /hello\.txt/],
  ["a subject that is not there", "attach", { subject: "oci:none:v1" }, "Not found", /none/],
  ["a tag that is not there", "attach", { subject: "oci:out:v2" }, "Not found", /v2/],
  [
    "a file of unknown type",
    "attach",
    { subject: "oci:out:v1", files: "app/hello.txt" },
    "Not valid",
    /for example artifact-type application/,
  ],
  [
    "a registry that is not there",
    "publish",
    { source: "oci:out:v1", references: "127.0.0.1:1/a/b:v1" },
    "Failed",
    /127\.0\.0\.1:1/,
  ],
];

describe.each(runtimes)("a failure under $title", ({ node }) => {
  let job: Job;
  beforeAll(async () => {
    job = await Job.start();
    await job.write("app/hello.txt", "hello\n");
    expect(await job.step("build", { node, inputs: { files: "app", target: "oci:out:v1" } })).toMatchObject({
      code: 0,
    });
  });
  afterAll(() => job.end());

  it.each(wrong)(
    "by %s is one annotation that says so, and exit code 1",
    async (_what, action, inputs, title, message) => {
      const result = await job.step(action, { node, inputs });
      expect(result).toMatchObject({ code: 1, stderr: "" });
      expect(result.errors).toHaveLength(1);
      expect(result.errors[0]?.properties.title).toBe(`stowage ${action}: ${title}`);
      expect(result.errors[0]?.data).toMatch(message);
      // No stack, and none of the command line's words.
      expect(result.stdout).not.toMatch(/^\s+at |(?:stowage|docker) login|--[a-z]/m);
    },
  );

  it.each(["true", "True", "TRUE", "false", "False", "FALSE"])("does not come from the boolean %s", async (summary) => {
    const result = await job.step("build", { node, inputs: { files: "app", target: "oci:bool:v1", summary } });
    expect(result.code).toBe(0);
    expect(result.summary !== "").toBe(summary.toLowerCase() === "true");
  });

  it("by a cancelled job ends the step, without an annotation", async () => {
    // Large enough that the step is still at work when its layout is there. It takes no space.
    await job.write("big/zero.bin", "");
    await truncate(job.path("big/zero.bin"), 8 * 1024 ** 3);
    const result = await job.step("build", {
      node,
      inputs: { files: "big", target: "oci:cancelled:v1" },
      onStart: (child) => {
        // Once: a process that is about to end no longer handles a signal.
        const timer = setInterval(() => {
          if (!existsSync(job.path("cancelled/oci-layout"))) return;
          clearInterval(timer);
          child.kill("SIGINT");
        }, 20);
      },
    });
    expect(result).toMatchObject({ code: 1, errors: [], outputs: {} });
    expect(result.log).toContain("the job was cancelled");
  });
});
