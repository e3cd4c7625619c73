import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stowage, temporaryDirectory } from "./stowage.js";

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let env: Record<string, string>;

beforeAll(async () => {
  directory = await temporaryDirectory();
  const told = join(directory.path, "tell.mjs");
  writeFileSync(told, `process.on("exit", () => process.stderr.write(process.moduleLoadList.join("\\n")));`);
  env = { NODE_OPTIONS: `--import ${pathToFileURL(told)}` };
});

afterAll(() => directory.remove());

/** What a command loaded of Node's own modules. */
async function loadedBy(...args: string[]): Promise<string[]> {
  const { code, stderr } = await stowage(args, { cwd: directory.path, env });
  expect(code, stderr).toBe(0);
  return stderr.split("\n").map((name) => name.replace("NativeModule ", ""));
}

describe("the start of the command", () => {
  it("loads nothing for registries, archives or threads where none is used", async () => {
    const built = await stowage(["build", "tell.mjs:/app", "-t", "oci:out:v1"], { cwd: directory.path });
    expect(built.code, built.stderr).toBe(0);
    const loaded = await loadedBy("list", "oci:out");
    expect(loaded).toContain("crypto");
    const heavy = [
      "tls",
      "http",
      "http2",
      "dns",
      "dns/promises",
      "child_process",
      "worker_threads",
      "zlib",
      "readline",
    ];
    expect(heavy.filter((name) => loaded.includes(name))).toEqual([]);
  });
});
