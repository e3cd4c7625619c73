import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { actionsFolder, Job, runtimes } from "./runner.js";

const { version } = JSON.parse(readFileSync(new URL("../../packages/cli/package.json", import.meta.url), "utf8")) as {
  version: string;
};

describe.each(runtimes)("setup under $title", ({ node }) => {
  let job: Job;
  let release: Server;
  let url: string;
  let requests: string[];
  const files = new Map<string, Buffer>();
  beforeAll(async () => {
    job = await Job.start();
    execFileSync(process.execPath, [join(actionsFolder, "package.mjs"), join(job.root, "release")]);
    for (const name of readdirSync(join(job.root, "release")))
      files.set(`/${name}`, readFileSync(join(job.root, "release", name)));
    requests = [];
    release = createServer(({ url: path = "" }, response) => {
      requests.push(path);
      const file = files.get(path);
      response.writeHead(file === undefined ? 404 : 200).end(file);
    });
    await new Promise<void>((resolve) => release.listen(0, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${(release.address() as AddressInfo).port}/stowage-${version}.tgz`;
  });
  afterAll(async () => {
    release.closeAllConnections();
    release.close();
    await job.end();
  });

  /** Runs the command as a later step finds it. */
  const run = (path: string, environment: Record<string, string | undefined>, ...args: string[]) =>
    promisify(execFile)("stowage", args, {
      env: { ...environment, PATH: `${path}:/usr/bin:/bin` },
      cwd: job.workspace,
    });

  it("puts the command line that the action brings on the PATH, without a network, and finds it again", async () => {
    const first = await job.step("setup", { node });
    expect(first).toMatchObject({ code: 0, stderr: "", errors: [] });
    expect(first.outputs).toEqual({ version, path: first.path[0], "cache-hit": "false" });
    expect(first.summary).toContain("this action");
    const shown = await run(first.outputs.path as string, first.environment, "--version");
    expect(shown).toEqual({ stdout: `${version}\n`, stderr: "" });
    await job.write("app/large.bin", Buffer.alloc(3 << 20, 7));
    const built = await run(first.outputs.path as string, first.environment, "build", "app", "-t", "oci:out:v1", "-q");
    expect(built.stdout).toMatch(/^sha256:[0-9a-f]{64}\n$/);
    const second = await job.step("setup", { node, inputs: { version: `v${version}`, url, summary: "false" } });
    expect(second).toMatchObject({ code: 0, summary: "", outputs: { ...first.outputs, "cache-hit": "true" } });
    expect(requests).toEqual([]);
    expect(readdirSync(`${job.root}/temp`)).toEqual([]);
  });

  it("installs anew, with a warning, where the tool cache is damaged", async () => {
    const { outputs } = await job.step("setup", { node });
    for (const damage of ["../bundle/main.js", "stowage.js", "../files.json", "../package.json"]) {
      writeFileSync(join(outputs.path as string, damage), "{}");
      const again = await job.step("setup", { node });
      expect(again, damage).toMatchObject({ code: 0, errors: [], outputs: { "cache-hit": "false" } });
      expect(again.commands.find(({ command }) => command === "warning")?.data).toContain("damaged");
      expect((await job.step("setup", { node })).outputs["cache-hit"]).toBe("true");
    }
  });

  it("downloads a release, and takes it only where its checksum is right", async () => {
    const archive = files.get(`/stowage-${version}.tgz`) as Buffer;
    const checksum = createHash("sha256").update(archive).digest("hex");
    const fresh = () => rm(join(job.root, "tools"), { recursive: true, force: true });
    for (const given of [`sha256:${checksum}`, checksum.toUpperCase(), ""]) {
      await fresh();
      const done = await job.step("setup", { node, inputs: { url, checksum: given } });
      expect(done).toMatchObject({ code: 0, errors: [], outputs: { version, "cache-hit": "false" } });
      expect(done.log).toContain(checksum);
      expect((await run(done.outputs.path as string, done.environment, "--version")).stdout).toBe(`${version}\n`);
    }
    await fresh();
    const wrong = await job.step("setup", { node, inputs: { url, checksum: "0".repeat(64) } });
    expect(wrong).toMatchObject({ code: 1, outputs: {}, path: [] });
    expect(wrong.errors[0]?.data).toContain(`has the SHA-256 ${checksum}, not ${"0".repeat(64)}`);
    files.set(`/stowage-${version}.tgz`, Buffer.concat([archive, Buffer.from("x")]));
    expect((await job.step("setup", { node, inputs: { url } })).errors[0]?.data).toContain("has the SHA-256");
    files.set(`/stowage-${version}.tgz`, archive);
    const other = await job.step("setup", { node, inputs: { url, version: "9.9.9" } });
    expect(other.errors[0]?.data).toContain(`not stowage 9.9.9: it is version ${version}`);
    const gone = await job.step("setup", { node, inputs: { url: url.replace(".tgz", ".zip") } });
    expect(gone).toMatchObject({ code: 1, stderr: "" });
    expect(gone.errors[0]?.data).toContain("SHA256SUMS");
    expect(readdirSync(`${job.root}/temp`)).toEqual([]);
  });
});
