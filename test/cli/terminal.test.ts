import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { temporaryDirectory } from "./stowage.js";

const command = fileURLToPath(new URL("../../packages/cli/bin/stowage.js", import.meta.url));

// Gives a command a terminal. That of util-linux; others take other arguments.
const hasScript = spawnSync("script", ["--version"], { encoding: "utf8" }).stdout?.includes("util-linux") === true;
if (!hasScript) process.stderr.write("skipped: without `script` of util-linux nothing is run on a terminal\n");

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;

beforeAll(async () => {
  directory = await temporaryDirectory();
  mkdirSync(join(directory.path, "app"));
  writeFileSync(join(directory.path, "app", "main.js"), "console.log('hi')\n");
});

afterAll(() => directory.remove());

function onTerminal(...args: string[]): { code: number | null; output: string } {
  const words = [process.execPath, command, ...args].map((word) => `'${word.replaceAll("'", "'\\''")}'`);
  const { status, stdout } = spawnSync("script", ["-qec", words.join(" "), "/dev/null"], {
    cwd: directory.path,
    encoding: "utf8",
    timeout: 50_000,
  });
  return { code: status, output: stdout };
}

describe.skipIf(!hasScript)("on a terminal", () => {
  it("a transfer shows a bar, and removes it before the result", () => {
    expect(onTerminal("build", "app:/app", "-t", "oci:out:v1").code).toBe(0);
    const { code, output } = onTerminal("copy", "oci:out:v1", "oci:copy:v1");
    expect(output).toContain("oci:out:v1 -> oci:copy:v1\r\n");
    expect(code).toBe(0);
    const [bar, result] = [output.indexOf("copying ="), output.indexOf("oci:out:v1 ->")];
    expect(bar).toBeGreaterThan(0);
    expect(bar).toBeLessThan(result);
    expect(output.slice(bar, result)).toContain("\u001b[2K");
  });

  it("a transfer shows no bar where it is to be quiet", () => {
    expect(onTerminal("copy", "-q", "oci:out:v1", "oci:quiet:v1").output).not.toContain("copying");
  });
});
