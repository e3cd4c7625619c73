import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Served, startServe, stowage, temporaryDirectory } from "./stowage.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const readme = readFileSync(join(root, "README.md"), "utf8");

/** The code blocks of a language, in order. */
function blocks(language: string): string[] {
  return [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\``, "gm"))].map(
    (match) => match[1] as string,
  );
}

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let served: Served;

beforeAll(async () => {
  directory = await temporaryDirectory();
  mkdirSync(join(directory.path, "dist"));
  writeFileSync(join(directory.path, "dist", "server"), "#!/bin/sh\necho hello\n", { mode: 0o755 });
  writeFileSync(join(directory.path, "sbom.spdx.json"), '{"spdxVersion":"SPDX-2.3"}');
  // The README's port may be taken on this machine; everything else is run as it stands there.
  served = await startServe(["registry", "--listen", "127.0.0.1:0"], { cwd: directory.path });
});

afterAll(async () => {
  await served?.stop();
  await directory?.remove();
});

describe("the README", () => {
  it("names the two commands that package.json has", () => {
    const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    expect(blocks("sh")[0]).toBe("npm start\nnpm test\n");
    expect(scripts.start).toBe("node scripts/workspace.mjs tour");
    expect(scripts.test).toBe("node scripts/workspace.mjs test");
  });

  it("has six everyday commands, which work in this order", async () => {
    const lines = (blocks("sh")[1] as string).trim().split("\n");
    expect(lines).toHaveLength(6);
    for (const line of lines) {
      const [name, ...args] = line.replaceAll("localhost:5000", served.host).split(" ");
      expect(name).toBe("stowage");
      const run = await stowage(args, { cwd: directory.path });
      expect(`${line}: ${run.stderr}`).toBe(`${line}: `);
      expect(run.code).toBe(0);
    }
    const tree = await stowage(["tree", "oci:cache:app"], { cwd: directory.path });
    expect(tree.stdout).toContain("<- application/spdx+json");
  });

  it("has a sync file, and commands for it that work in this order", async () => {
    writeFileSync(
      join(directory.path, "sync.yaml"),
      (blocks("yaml")[0] as string).replaceAll("localhost:5000", served.host),
    );
    const outputs: string[] = [];
    for (const line of (blocks("sh")[2] as string).trim().split("\n")) {
      const [name, ...args] = line.replaceAll("localhost:5000", served.host).split(" ");
      expect(name).toBe("stowage");
      const run = await stowage(args, { cwd: directory.path });
      expect(`${line}: ${run.stderr}`).toBe(`${line}: `);
      expect(run.code).toBe(0);
      outputs.push(run.stdout);
    }
    expect(outputs[1]).toContain(`created  oci:mirror:${served.host}/acme/app:v1 -> ${served.host}/backup/acme/app:v1`);
    expect(outputs[2]).toContain("2 images: 2 unchanged");
    expect(outputs[3]).toMatch(/^sha256:[0-9a-f]{64}\n$/);
  });

  it("has commands for disjoint layers, which work in this order", async () => {
    for (const line of (blocks("sh")[3] as string).trim().split("\n")) {
      const [name, ...args] = line.split(" ");
      expect(name).toBe("stowage");
      const run = await stowage(args, { cwd: directory.path });
      // That a referrer stays with the old digest is told on stderr.
      expect(run).toMatchObject({ code: 0 });
    }
  });

  it("has a library example that runs", () => {
    const code = (blocks("ts")[0] as string)
      .replaceAll("localhost:5000", served.host)
      .replace('"cache"', JSON.stringify(join(directory.path, "by-library")));
    // Beside the test package, so that the packages are found as an installed user finds them.
    const file = join(root, "test", "cli", `readme-example-${process.pid}.mjs`);
    writeFileSync(file, code);
    try {
      const run = spawnSync(process.execPath, [file], { encoding: "utf8", timeout: 30_000 });
      expect(run.stderr).toBe("");
      expect(run.stdout).toMatch(/^sha256:[0-9a-f]{64} 1\n$/);
    } finally {
      rmSync(file);
    }
  });

  it("names every kind of exit code that the command has", () => {
    expect(readme).toContain("0 done, 1 failed, 2\nwrong usage, 3 partly done");
  });
});
