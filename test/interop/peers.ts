import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { mkdir, mkdtemp, realpath, rm } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, type TestContext } from "vitest";

/** Where `.ci/install-peers` puts the tools it builds. */
export const peersDirectory = process.env.STOWAGE_PEERS ?? join(homedir(), ".cache", "stowage-peers");

const searched = [peersDirectory, ...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"];
const directories: string[] = [];
const running = new Set<ChildProcess>();

afterAll(async () => {
  await Promise.all([...running].map(stop));
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true, force: true });
});
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** The path of a tool, undefined where it is not installed. */
export function findTool(name: string): string | undefined {
  return searched.map((directory) => join(directory, name)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Skips the test, and says so, where one of the tools is not installed. */
export function needs(context: TestContext, ...tools: readonly string[]): void {
  const missing = tools.filter((name) => findTool(name) === undefined);
  if (missing.length > 0) skip(context, `${missing.join(" and ")} not installed (.ci/install-peers does it)`);
}

/** Skips the test and prints why. */
export function skip(context: TestContext, reason: string): never {
  console.log(`skipped: ${context.task.name}: ${reason}`);
  return context.skip(reason);
}

/** An empty directory that goes away after the tests of this file. */
export async function scratch(): Promise<string> {
  const directory = await realpath(await mkdtemp(join(tmpdir(), "stowage-interop-")));
  directories.push(directory);
  return directory;
}

/** What a tool printed, and how it ended. */
export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The options of {@link attempt} and {@link run}. */
export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** In ms; a tool that takes longer is stopped, which counts as a failure. Default: 50 s. */
  readonly timeout?: number;
  readonly input?: string;
}

/** Runs a tool to its end, however it ends. It finds no credentials of whoever runs the tests. */
export async function attempt(tool: string, args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  const child = spawn(findTool(tool) ?? tool, args, {
    cwd: options.cwd,
    env: { ...(await peerEnvironment()), ...options.env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  running.add(child);
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  child.stdin.on("error", () => {}).end(options.input ?? "");
  const timer = setTimeout(() => {
    stderr += "stopped: it took too long\n";
    void stop(child);
  }, options.timeout ?? 50_000);
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once("error", reject).once("close", resolve);
    });
    return { code, stdout, stderr };
  } finally {
    clearTimeout(timer);
    running.delete(child);
  }
}

/** Runs a tool to its end and returns what it printed on stdout. Fails where it fails. */
export async function run(tool: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const ended = await attempt(tool, args, options);
  if (ended.code === 0) return ended.stdout;
  throw new Error(`${tool} ${args.join(" ")} ended with ${ended.code}: ${ended.stderr}${ended.stdout}`);
}

/** Runs a tool that prints JSON. */
export async function runJson<T>(tool: string, args: readonly string[], options: RunOptions = {}): Promise<T> {
  return JSON.parse(await run(tool, args, options)) as T;
}

/** Starts a tool that goes on until it is stopped: by {@link stop}, or after the tests of this file. Its output is for nobody. */
export async function launch(tool: string, args: readonly string[], cwd: string): Promise<ChildProcess> {
  const child = spawn(findTool(tool) ?? tool, args, { cwd, env: await peerEnvironment(), stdio: "ignore" });
  running.add(child);
  child.once("close", () => running.delete(child)).on("error", () => running.delete(child));
  return child;
}

/** Ends a process, hard if it does not listen, and waits for its end. */
export async function stop(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  const impatient = new AbortController();
  void sleep(5_000, undefined, { signal: impatient.signal }).then(
    () => child.kill("SIGKILL"),
    () => {},
  );
  await ended;
  impatient.abort();
}

let home: Promise<string> | undefined;

/** A home of its own: the peers keep credentials and settings there. */
async function peerEnvironment(): Promise<NodeJS.ProcessEnv> {
  home ??= scratch().then(async (path) => {
    await mkdir(join(path, ".docker"));
    return path;
  });
  const at = await home;
  return {
    ...process.env,
    HOME: at,
    XDG_CONFIG_HOME: at,
    XDG_RUNTIME_DIR: at,
    DOCKER_CONFIG: join(at, ".docker"),
    REGISTRY_AUTH_FILE: undefined,
    SOURCE_DATE_EPOCH: undefined,
    NODE_OPTIONS: undefined,
    PATH: searched.join(delimiter),
    LC_ALL: "C.UTF-8",
  };
}
