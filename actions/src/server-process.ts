import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type ErrorCode, OciError } from "@stowage/layout";
import { visible } from "./log.js";

/** What a server process is to do. */
export interface ServerOptions {
  /** Undefined: memory. */
  readonly directory?: string;
  readonly host: string;
  readonly port: number;
  readonly readonly: boolean;
  /** `HOST[/PREFIX]` to fetch from what is not there. */
  readonly proxy: string | undefined;
  readonly plainHttp: readonly string[];
  readonly caFile: string | undefined;
  readonly insecure: readonly string[];
  readonly trustedRealms: readonly string[];
}

/** A server process that goes on when the step has ended. */
export interface Serving {
  readonly url: string;
  readonly pid: number;
  /** A directory with what the process writes: its log, and the file `running` until it ends. */
  readonly folder: string;
}

/** What a server process has done. */
export interface Served {
  readonly requests: number;
  /** Bytes. */
  readonly sent: number;
  readonly received: number;
  /** What went wrong on this side. */
  readonly log: readonly string[];
}

/** What the process tells when it listens, or cannot. */
export type Message =
  | { readonly url: string }
  | { readonly code: ErrorCode | undefined; readonly message: string; readonly hint: string | undefined };

/** How long a server may take until it listens, in ms. */
const START_TIMEOUT = 30_000;
/** How long it may take to finish the requests that are running when it is stopped, in ms. */
const STOP_TIMEOUT = 10_000;

/** Starts a server process, and waits until it listens. Fails as the server does. */
export async function startServer(options: ServerOptions, signal: AbortSignal): Promise<Serving> {
  const folder = await mkdtemp(join(process.env.RUNNER_TEMP || tmpdir(), "stowage-serve-"));
  const log = openSync(join(folder, "log"), "a", 0o600);
  const program = fileURLToPath(new URL("serve-process.mjs", import.meta.url));
  const child = spawn(process.execPath, [program, folder, JSON.stringify(options)], {
    detached: true,
    stdio: ["ignore", log, log, "ipc"],
    env: withoutSecrets(process.env),
  });
  closeSync(log);
  const patience = AbortSignal.any([signal, AbortSignal.timeout(START_TIMEOUT)]);
  try {
    const message = await new Promise<Message>((resolve, reject) => {
      child.once("message", (value) => resolve(value as Message));
      child.once("error", reject);
      child.once("exit", (code) => reject(new Error(`the server ended with ${code} before it listened`)));
      patience.addEventListener("abort", () => reject(patience.reason), { once: true });
    });
    if (!("url" in message)) throw failure(message);
    child.disconnect();
    child.unref();
    return { url: message.url, pid: child.pid as number, folder };
  } catch (error) {
    child.kill("SIGKILL");
    const said = (await readFile(join(folder, "log"), "utf8")).trim();
    await rm(folder, { recursive: true, force: true });
    if (said === "" || error instanceof OciError) throw error;
    throw new Error(`${(error as Error).message}: ${said.slice(0, 1000)}`, { cause: error });
  }
}

/** Stops a server process that {@link startServer} has started, and removes what it wrote. */
export async function stopServer({ pid, folder }: Serving): Promise<Served> {
  const end = Date.now() + STOP_TIMEOUT;
  // While the file is there the process is, and the id is no other's.
  const isRunning = async (): Promise<boolean> =>
    (await readFile(join(folder, "running")).catch(() => undefined)) !== undefined && isAlive(pid);
  if (await isRunning()) process.kill(pid, "SIGTERM");
  while ((await isRunning()) && Date.now() < end) await sleep(50);
  if (await isRunning()) process.kill(pid, "SIGKILL");
  const served = readLog(await readFile(join(folder, "log"), "utf8").catch(() => ""));
  await rm(folder, { recursive: true, force: true });
  return served;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Each line is JSON: a request, or what went wrong. */
function readLog(text: string): Served {
  let [requests, sent, received] = [0, 0, 0];
  const log: string[] = [];
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const record = parseLine(line);
    if (record === undefined) {
      log.push(visible(line));
      continue;
    }
    requests++;
    sent += record.sent;
    received += record.received;
  }
  return { requests, sent, received, log: log.slice(0, 10) };
}

function parseLine(line: string): { sent: number; received: number } | undefined {
  try {
    const { sent, received } = JSON.parse(line) as Record<string, unknown>;
    return typeof sent === "number" && typeof received === "number" ? { sent, received } : undefined;
  } catch {
    return undefined;
  }
}

function failure({ code, message, hint }: Exclude<Message, { url: string }>): Error {
  return code === undefined ? new Error(message) : new OciError(code, message, { hint });
}

/** The process outlives the step; what the runner gave the step for itself alone stays behind. */
function withoutSecrets(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(environment).filter(([name]) => !/^(?:INPUT_|ACTIONS_|STATE_|GITHUB_TOKEN$)/.test(name)),
  );
}
