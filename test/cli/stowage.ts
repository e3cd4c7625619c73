import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const command = join(root, "packages", "cli", "bin", "stowage.js");

/** What a run of the command printed, and how it ended. */
export interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The options of {@link stowage}. */
export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** What it finds on standard input. Default: nothing. */
  readonly input?: string;
}

/** Runs the built command as a user would, in a process of its own, and waits for its end. */
export function stowage(args: readonly string[], options: RunOptions = {}): Promise<Run> {
  return new Promise((resolve, reject) => {
    const child = start(args, options);
    let [stdout, stderr] = ["", ""];
    child.stdout?.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    const timer = setTimeout(() => child.kill("SIGKILL"), 50_000);
    child.on("error", reject);
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr });
    });
  });
}

/** The JSON that a successful run printed. */
export async function stowageJson<T>(args: readonly string[], options: RunOptions = {}): Promise<T> {
  const run = await stowage([...args, "--json"], options);
  if (run.code !== 0) throw new Error(`stowage ${args.join(" ")} ended with ${run.code}: ${run.stderr}`);
  return JSON.parse(run.stdout) as T;
}

/** A registry started with `stowage serve`. */
export interface Served {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  readonly process: ChildProcess;
  /** Interrupts it and waits for its end; returns its exit code. */
  stop(): Promise<number | null>;
}

/** Starts `stowage serve` with these arguments and waits until it listens. */
export function startServe(args: readonly string[], options: RunOptions = {}): Promise<Served> {
  return startListening(["serve", ...args], options);
}

/** Starts a command that listens until it is interrupted, and waits until it does. */
export async function startListening(args: readonly string[], options: RunOptions = {}): Promise<Served> {
  const child = start([...args, "--json"], options);
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  const line = await new Promise<string>((resolve, reject) => {
    child.stdout?.setEncoding("utf8").once("data", resolve);
    void ended.then((code) => reject(new Error(`stowage ${args.join(" ")} ended with ${code}`)));
  });
  const { host, port } = JSON.parse(line) as { host: string; port: number };
  return {
    host: `${host}:${port}`,
    process: child,
    stop() {
      child.kill("SIGTERM");
      return ended;
    },
  };
}

function start(args: readonly string[], options: RunOptions): ChildProcess {
  // No credentials of whoever runs the tests, and no time from outside.
  const env = {
    ...process.env,
    DOCKER_CONFIG: join(tmpdir(), "no-docker-config"),
    SOURCE_DATE_EPOCH: undefined,
    ...options.env,
  };
  const child = spawn(process.execPath, [command, ...args], { cwd: options.cwd, env, stdio: ["pipe", "pipe", "pipe"] });
  // It need not read what it finds there.
  child.stdin.on("error", () => {}).end(options.input ?? "");
  return child;
}

/** A directory of its own for a test, and how to remove it. */
export async function temporaryDirectory(): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), "stowage-test-"));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}
