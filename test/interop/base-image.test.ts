import { existsSync } from "node:fs";
import { appendFile, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { CopyReport } from "@stowage/layout";
import { describe, expect, it, type TestContext } from "vitest";
import { stowageJson } from "../cli/stowage.js";
import { fileTree } from "./file-tree.js";
import { attempt, needs, peersDirectory, run, scratch, skip } from "./peers.js";
import { startDockerRegistry } from "./registries.js";

/**
 * The bar for the peak memory of a process, whatever the size of the image, in bytes. Node 24 frees buffers later than
 * Node 20: the same build was measured at 225 MiB and 160 MiB.
 */
const maximumMemory = (Number(process.versions.node.split(".")[0]) >= 22 ? 256 : 200) * 2 ** 20;

/** A Debian as mmdebstrap makes it, kept with the peers' tools from then on: 170 MB, 8,700 files. */
async function debian(context: TestContext): Promise<string> {
  const kept = join(peersDirectory, "debian-bookworm-minbase.tar");
  if (existsSync(kept)) return kept;
  needs(context, "mmdebstrap");
  if (process.getuid?.() !== 0) skip(context, "mmdebstrap takes root here");
  await mkdir(peersDirectory, { recursive: true });
  const unfinished = join(peersDirectory, `.debian-${process.pid}.tar`);
  try {
    const made = await attempt("mmdebstrap", ["-q", "--variant=minbase", "bookworm", unfinished], {
      env: { SOURCE_DATE_EPOCH: "1700000000" },
      timeout: 200_000,
    });
    if (made.code !== 0) skip(context, `no Debian from mmdebstrap: ${made.stderr.trim().split("\n").at(-1)}`);
    await rename(unfinished, kept);
  } finally {
    await rm(unfinished, { force: true });
  }
  return kept;
}

/** Runs stowage in processes that note how much memory they had at their peak. */
async function measured(directory: string) {
  const notes = join(directory, "memory.txt");
  const hook = join(directory, "note-memory.mjs");
  await appendFile(notes, "");
  await writeFile(
    hook,
    `import { appendFileSync } from "node:fs";
import { isMainThread } from "node:worker_threads";
if (isMainThread) process.on("exit", () => {
  const line = { command: process.argv[2], kilobytes: process.resourceUsage().maxRSS };
  appendFileSync(${JSON.stringify(notes)}, JSON.stringify(line) + "\\n");
});
`,
  );
  const env = { NODE_OPTIONS: `--import=${pathToFileURL(hook).href}` };
  return {
    run: <T>(...arguments_: string[]): Promise<T> => stowageJson<T>(arguments_, { cwd: directory, env }),
    peaks: async (): Promise<{ command: string; bytes: number }[]> => {
      const lines = (await readFile(notes, "utf8")).trim().split("\n");
      return lines
        .map((line) => JSON.parse(line) as { command: string; kilobytes: number })
        .map(({ command, kilobytes }) => ({ command, bytes: kilobytes * 1024 }));
    },
  };
}

describe("a Debian as base image", () => {
  it("is built on, published, pulled, verified and unpacked by umoci, in processes of bounded memory", async (context) => {
    needs(context, "docker-registry", "umoci", "tar");
    if (process.getuid?.() !== 0) skip(context, "unpacking device files takes root");
    const tar = await debian(context);
    const directory = await scratch();
    const stowage = await measured(directory);

    type Built = { descriptor: { digest: string }; layers: { descriptor: { digest: string } }[] };
    const base = await stowage.run<Built>("build", "--layer", tar, "-t", "oci:base:bookworm");
    await writeFile(join(directory, "motd"), "built on Debian\n");
    const onBase = ["--base", "oci:base:bookworm", "--cmd", "/bin/cat", "--cmd", "/etc/motd"];
    const top = await stowage.run<Built>("build", "motd:/etc/motd", "-t", "oci:top:v1", ...onBase);
    expect(base.layers.length).toBe(1);

    const registry = await startDockerRegistry();
    const reference = `${registry.host}/debian/motd:v1`;
    await stowage.run("publish", "oci:top:v1", reference);
    const pulled = await stowage.run<CopyReport>("pull", reference, "oci:pulled:v1");
    expect(pulled.descriptor.digest).toBe(top.descriptor.digest);
    const verified = await stowage.run<{ findings: unknown[] }>("verify", "oci:pulled");
    expect(verified.findings).toEqual([]);

    await run("umoci", ["unpack", "--image", "pulled:v1", "bundle"], { cwd: directory });
    await mkdir(join(directory, "expected"));
    await run("tar", ["-xpf", tar, "--numeric-owner", "-C", join(directory, "expected")]);
    await writeFile(join(directory, "expected", "etc", "motd"), "built on Debian\n", { mode: 0o644 });
    const expected = await fileTree(join(directory, "expected"));
    const unpacked = await fileTree(join(directory, "bundle", "rootfs"));
    expect(Object.keys(expected).length).toBeGreaterThan(5_000);
    // Name by name: a difference of two trees of this size would fill the screen.
    const names = [...new Set([...Object.keys(expected), ...Object.keys(unpacked)])];
    const different = names.filter((name) => JSON.stringify(expected[name]) !== JSON.stringify(unpacked[name]));
    expect(different).toEqual([]);

    const peaks = await stowage.peaks();
    expect(peaks.map(({ command }) => command)).toEqual(["build", "build", "publish", "pull", "verify"]);
    console.log(
      `peak memory: ${peaks.map(({ command, bytes }) => `${command} ${Math.round(bytes / 2 ** 20)} MiB`).join(", ")}`,
    );
    expect(peaks.filter(({ bytes }) => bytes >= maximumMemory)).toEqual([]);
  }, 360_000);
});
