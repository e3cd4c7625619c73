import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { actionNames, actionsFolder, Job, runtimes } from "./runner.js";

const committed = join(actionsFolder, "dist");
const scratch = mkdtempSync(join(tmpdir(), "stowage-dist-"));
const rebuilt = join(scratch, "dist");

beforeAll(() => {
  execFileSync(process.execPath, [join(actionsFolder, "bundle.mjs"), rebuilt], { timeout: 60_000 });
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe("actions/dist", () => {
  it("is what the sources make", () => {
    const advice = "actions/dist differs from the sources: run pnpm bundle and commit actions/dist";
    expect(readdirSync(committed).sort(), advice).toEqual(readdirSync(rebuilt).sort());
    for (const name of readdirSync(rebuilt)) {
      const same = readFileSync(join(committed, name)).equals(readFileSync(join(rebuilt, name)));
      expect(same, `${name}: ${advice}`).toBe(true);
    }
  });

  it("is the same from another working directory", () => {
    const again = join(scratch, "again");
    execFileSync(process.execPath, [join(actionsFolder, "bundle.mjs"), again], { cwd: scratch, timeout: 60_000 });
    expect(readdirSync(again).sort()).toEqual(readdirSync(rebuilt).sort());
    for (const name of readdirSync(again))
      expect(readFileSync(join(again, name)).equals(readFileSync(join(rebuilt, name))), name).toBe(true);
  });

  it("holds no path of the machine it was made on", () => {
    const root = dirname(dirname(committed));
    for (const name of readdirSync(committed)) {
      const text = readFileSync(join(committed, name), "utf8");
      for (const path of [root, homedir(), "node_modules/"]) {
        // A home directory of one letter or none says nothing.
        if (path.length > 4) expect(text.includes(path), `${name} holds ${path}`).toBe(false);
      }
    }
  });

  it("comes with the licence of each package that is in it", () => {
    const licences = readFileSync(join(committed, "licenses.txt"), "utf8");
    for (const name of ["@actions/core", "fast-glob", "fflate", "tar-stream", "undici"]) {
      expect(licences).toMatch(new RegExp(`^${name} \\d+\\.\\d+\\.\\d+ \\(.+\\)$`, "m"));
    }
    expect(licences).not.toContain("undefined");
  });
});

describe.each(runtimes)("a bundle under $title", ({ node }) => {
  let job: Job;
  beforeAll(async () => {
    job = await Job.start();
    // Larger than four blocks of the compressor, and not the same everywhere.
    const large = Buffer.alloc(5 * 1024 * 1024);
    for (let at = 0; at < large.length; at += 4) large.writeUInt32LE((at * 2_654_435_761) >>> 0, at);
    await job.write("app/large.bin", large);
  });
  afterAll(() => job.end());

  it("compresses a large layer in worker threads, to the bytes it makes without them", async () => {
    const watch = 'process.on("worker", () => process.stderr.write("a worker started\\n"))';
    const nodeArguments = ["--import", `data:text/javascript,${encodeURIComponent(watch)}`];
    const withThreads = await job.step("build", {
      node,
      nodeArguments,
      inputs: { files: "app", target: "oci:threads" },
    });
    expect(withThreads).toMatchObject({ code: 0, stderr: expect.stringContaining("a worker started") });

    const folder = join(scratch, "no-worker");
    cpSync(committed, folder, { recursive: true, filter: (path) => !path.endsWith("gzip-worker.mjs") });
    const without = await job.step("build", {
      node,
      nodeArguments,
      main: join(folder, "build.mjs"),
      inputs: { files: "app", target: "oci:none" },
    });
    expect(without).toMatchObject({ code: 0, stderr: "" });
    expect(without.outputs.digest).toBe(withThreads.outputs.digest);
  });

  it.each(actionNames)("of %s needs nothing but its own folder", async (action) => {
    const folder = join(scratch, "alone");
    cpSync(committed, folder, { recursive: true });
    const result = await job.step(action, { node, main: join(folder, `${action}.mjs`) });
    // Without any input it installs what is beside it.
    if (action === "setup") return expect(result).toMatchObject({ code: 0, stderr: "", errors: [] });
    expect(result).toMatchObject({ code: 1, stderr: "" });
    expect(result.errors).toHaveLength(1);
    expect(result.errors[0]?.properties.title).toBe(`stowage ${action}: Wrong input`);
  });
});
