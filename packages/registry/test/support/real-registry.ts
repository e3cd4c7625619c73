import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { homedir, tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** A registry program that runs on 127.0.0.1. */
export interface RealRegistry {
  readonly host: string;
  close(): Promise<void>;
}

/** The path of a program, from PATH or from where the peers' tools are kept; undefined where it is not installed. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? "").split(delimiter), join(homedir(), ".cache", "stowage-peers")];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/** Says why tests are left out. */
export function missing(name: string): boolean {
  if (findProgram(name) !== undefined) return false;
  console.warn(`left out: ${name} is not installed`);
  return true;
}

/** Starts docker-registry (distribution 2.8), with one account where `account` is given. */
export async function startDockerRegistry(account?: { username: string; password: string }): Promise<RealRegistry> {
  return start(async (folder, port) => {
    const lines = [
      "version: 0.1",
      "log: {level: error}",
      `storage: {filesystem: {rootdirectory: ${folder}/data}, delete: {enabled: true}}`,
      `http: {addr: 127.0.0.1:${port}}`,
    ];
    if (account !== undefined) {
      const entry = execFileSync("htpasswd", ["-Bbn", account.username, account.password]);
      await writeFile(join(folder, "htpasswd"), entry);
      lines.push(`auth: {htpasswd: {realm: test, path: ${folder}/htpasswd}}`);
    }
    await writeFile(join(folder, "config.yml"), lines.join("\n"));
    return spawn(findProgram("docker-registry") as string, ["serve", join(folder, "config.yml")], { stdio: "ignore" });
  });
}

/** Starts olareg, which has the referrers API. */
export async function startOlareg(): Promise<RealRegistry> {
  return start(async (folder, port) => {
    await mkdir(join(folder, "data"));
    const options = [
      "serve",
      "--addr",
      "127.0.0.1",
      "--port",
      String(port),
      "--dir",
      join(folder, "data"),
      "--api-delete",
    ];
    return spawn(findProgram("olareg") as string, options, { stdio: "ignore" });
  });
}

async function start(run: (folder: string, port: number) => Promise<ChildProcess>): Promise<RealRegistry> {
  const folder = await mkdtemp(join(tmpdir(), "stowage-registry-"));
  const port = await freePort();
  const child = await run(folder, port);
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  for (let count = 0; !(await answers(port)); count++) {
    if (count > 200 || child.exitCode !== null) throw new Error(`the registry on port ${port} did not start`);
    await sleep(50);
  }
  return {
    host: `127.0.0.1:${port}`,
    close: async () => {
      child.kill();
      await exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function answers(port: number): Promise<boolean> {
  try {
    await (await fetch(`http://127.0.0.1:${port}/v2/`)).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

/** A port nobody had a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
