import { execFile, spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type BuildOptions, build } from "esbuild";
import { afterAll } from "vitest";

const directories: string[] = [];

/** An empty directory that goes away after the tests of this file. */
export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "stowage-image-"));
  directories.push(directory);
  return directory;
}

afterAll(async () => {
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true, force: true });
});

/** Writes files with the given texts, in the given order. */
export async function writeFiles(root: string, files: Readonly<Record<string, string | Uint8Array>>): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), content);
  }
}

const source = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));

/** Bundles a program for child processes, as the actions are bundled: ESM, chunks and worker in one folder. */
export async function bundle(outdir: string, program: string, options: { worker: boolean }): Promise<string> {
  const entry = join(outdir, "program.ts");
  await mkdir(outdir, { recursive: true });
  await writeFile(entry, program);
  const settings: BuildOptions = {
    entryPoints: [entry, ...(options.worker ? [source("src/gzip-worker.ts")] : [])],
    alias: { "@stowage/image": source("src/index.ts"), "@stowage/layout": source("../layout/src/index.ts") },
    bundle: true,
    splitting: true,
    platform: "node",
    format: "esm",
    target: "node20",
    outdir,
    entryNames: "[name]",
    outExtension: { ".js": ".mjs" },
    nodePaths: [source("node_modules")],
    banner: {
      js: 'import { createRequire as makeRequire } from "node:module"; const require = makeRequire(import.meta.url);',
    },
    logLevel: "error",
  };
  await build(settings);
  return join(outdir, "program.mjs");
}

/** Runs a program to its end and returns what it printed. Fails where it fails. */
export async function run(
  command: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<string> {
  const { stdout } = await promisify(execFile)(command, args, {
    env: { ...process.env, ...environment },
    maxBuffer: 2 ** 26,
    timeout: 60_000,
  });
  return stdout;
}

/** Gives `input` to a program and returns what it printed. */
export function feed(command: string, args: readonly string[], input: Uint8Array): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve(output) : reject(new Error(`${command} ended with ${code}`))));
    child.stdin.end(input);
  });
}

/** All bytes of a stream. */
export async function all(bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Text-like bytes that are the same every time. */
export function sampleBytes(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed;
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[at] =
      (state >>> 24) % 3 === 0 ? 32 + ((state >>> 16) & 63) : ("the quick brown fox "[at % 20]?.charCodeAt(0) ?? 0);
  }
  return bytes;
}
