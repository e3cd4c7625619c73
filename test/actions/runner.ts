import { execFile } from "node:child_process";
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { mkdir, mkdtemp, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";

/** The folder of the actions, as it is committed. */
export const actionsFolder = fileURLToPath(new URL("../../actions/", import.meta.url));

/** What an action.yml says. */
export interface ActionMetadata {
  readonly name: string;
  readonly description: string;
  readonly branding: { readonly icon: string; readonly color: string };
  readonly inputs: Readonly<Record<string, { description: string; required?: boolean; default?: string }>>;
  readonly outputs: Readonly<Record<string, { description: string }>>;
  readonly runs: { readonly using: string; readonly main: string; readonly post?: string };
}

export const actionNames = [
  "build",
  "attach",
  "publish",
  "merge",
  "sync",
  "serve",
  "load",
  "setup",
  "nix-export",
] as const;
export type ActionName = (typeof actionNames)[number];

export function metadataOf(action: ActionName): ActionMetadata {
  return parse(readFileSync(join(actionsFolder, action, "action.yml"), "utf8")) as ActionMetadata;
}

const other = process.env.STOWAGE_NODE24 || process.execPath;

/** The Node versions that the bundles are run with: this one, and where it is given and another one the one that runners have. */
export const runtimes: readonly { readonly title: string; readonly node: string }[] = [
  { title: `Node ${process.versions.node}`, node: process.execPath },
  ...(realpathSync(other) === realpathSync(process.execPath) ? [] : [{ title: "STOWAGE_NODE24", node: other }]),
];

/** A line that the runner obeys instead of showing it. */
export interface WorkflowCommand {
  readonly command: string;
  readonly properties: Readonly<Record<string, string>>;
  readonly data: string;
  /** Its line in the log, counted from 0. */
  readonly line: number;
}

/** What is left when a step has ended. */
export interface StepResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** The lines as the runner shows them: without commands, and with `***` for what was masked before. */
  readonly log: string;
  readonly commands: readonly WorkflowCommand[];
  readonly errors: readonly WorkflowCommand[];
  readonly outputs: Readonly<Record<string, string>>;
  readonly summary: string;
  readonly artifacts: string;
  /** What the step saved for its `post`. */
  readonly state: Readonly<Record<string, string>>;
  /** What it set in the environment of later steps. */
  readonly environment: Readonly<Record<string, string>>;
  /** What it put in front of the PATH of later steps. */
  readonly path: readonly string[];
}

export interface StepOptions {
  readonly inputs?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly node?: string;
  /** More arguments for Node, before the script. */
  readonly nodeArguments?: readonly string[];
  /** Instead of the `main` of the action. */
  readonly main?: string;
  /** Runs the `post` of the action, with what its `main` had saved. */
  readonly state?: Readonly<Record<string, string>>;
  /** Called with the process when it has started. */
  readonly onStart?: (child: { pid?: number | undefined; kill(signal: NodeJS.Signals): boolean }) => void;
}

/** A job on a runner: a workspace, and the steps that run in it, one after the other. */
export class Job {
  readonly root: string;
  readonly workspace: string;
  #steps = 0;

  private constructor(root: string) {
    this.root = root;
    this.workspace = join(root, "workspace");
  }

  static async start(): Promise<Job> {
    const job = new Job(await realpath(await mkdtemp(join(tmpdir(), "stowage-job-"))));
    for (const name of ["workspace", "home", "temp", "tools"]) await mkdir(join(job.root, name));
    await writeFile(join(job.root, "event.json"), "{}");
    return job;
  }

  end(): Promise<void> {
    return rm(this.root, { recursive: true, force: true });
  }

  async write(path: string, content: string | Uint8Array): Promise<void> {
    const file = join(this.workspace, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, content);
  }

  path(path: string): string {
    return join(this.workspace, path);
  }

  /** Runs a step as the runner does: the script of the action, with every declared input in the environment, in the workspace. */
  async step(action: ActionName, options: StepOptions = {}): Promise<StepResult> {
    const { inputs, runs } = metadataOf(action);
    const unknown = Object.keys(options.inputs ?? {}).filter((name) => !(name in inputs));
    if (unknown.length > 0) throw new Error(`${action} declares no input ${unknown.join(", ")}`);
    const folder = join(this.root, `step-${this.#steps++}`);
    await mkdir(folder);
    const files: Record<string, string> = {};
    for (const name of ["OUTPUT", "STATE", "ENV", "PATH", "STEP_SUMMARY", "ARTIFACTS"]) {
      files[`GITHUB_${name}`] = join(folder, name);
      await writeFile(join(folder, name), "");
    }
    const env: Record<string, string | undefined> = {
      PATH: process.env.PATH,
      HOME: join(this.root, "home"),
      CI: "true",
      GITHUB_ACTIONS: "true",
      GITHUB_WORKSPACE: this.workspace,
      GITHUB_REPOSITORY: "acme/app",
      GITHUB_SHA: "0123456789abcdef0123456789abcdef01234567",
      GITHUB_REF: "refs/heads/main",
      GITHUB_RUN_ID: "1",
      GITHUB_EVENT_PATH: join(this.root, "event.json"),
      RUNNER_TEMP: join(this.root, "temp"),
      RUNNER_TOOL_CACHE: join(this.root, "tools"),
      RUNNER_OS: "Linux",
      RUNNER_ARCH: "X64",
      ...files,
      ...options.env,
    };
    for (const [name, { default: value }] of Object.entries(inputs)) {
      env[`INPUT_${name.replaceAll(" ", "_").toUpperCase()}`] = options.inputs?.[name] ?? value ?? "";
    }
    for (const [name, value] of Object.entries(options.state ?? {})) env[`STATE_${name}`] = value;
    const started = options.state === undefined ? runs.main : runs.post;
    const script = options.main ?? resolve(actionsFolder, action, started ?? `${action} has no post`);
    if (!existsSync(script)) throw new Error(`${script} is not there: run pnpm bundle`);
    const run = await spawnNode(
      options.node ?? process.execPath,
      [...(options.nodeArguments ?? []), script],
      { cwd: this.workspace, env },
      options.onStart,
    );
    const { commands, log } = readLog(run.stdout);
    const read = (name: string): Promise<string> => readFile(files[`GITHUB_${name}`] as string, "utf8");
    return {
      ...run,
      commands,
      log,
      errors: commands.filter(({ command }) => command === "error"),
      outputs: readOutputs(await read("OUTPUT")),
      state: readOutputs(await read("STATE")),
      environment: readOutputs(await read("ENV")),
      path: (await read("PATH")).split("\n").filter((line) => line !== ""),
      summary: await read("STEP_SUMMARY"),
      artifacts: await read("ARTIFACTS"),
    };
  }
}

interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A process that hangs is killed, and then has no exit code. */
function spawnNode(
  node: string,
  args: readonly string[],
  options: { cwd: string; env: NodeJS.ProcessEnv },
  onStart: StepOptions["onStart"],
): Promise<Run> {
  return new Promise((settle) => {
    const child = execFile(
      node,
      args,
      { ...options, timeout: 50_000, killSignal: "SIGKILL", maxBuffer: 1 << 26 },
      (_error, stdout, stderr) => settle({ code: child.exitCode, stdout, stderr }),
    );
    onStart?.(child);
  });
}

/** The commands that a runner knows. It also looks for the older form `##[name ...]`, anywhere in a line. */
const KNOWN = new Set(
  "add-mask add-matcher add-path debug echo endgroup error group notice remove-matcher save-state set-env set-output stop-commands warning".split(
    " ",
  ),
);

function readLog(stdout: string): { commands: WorkflowCommand[]; log: string } {
  const commands: WorkflowCommand[] = [];
  const shown: string[] = [];
  const masks: string[] = [];
  for (const [line, text] of stdout.split(/\r\n|\r|\n/).entries()) {
    const command = readCommand(text, line);
    if (command === undefined) shown.push(masked(text, masks));
    else {
      commands.push({ ...command, data: command.command === "add-mask" ? command.data : masked(command.data, masks) });
      if (command.command === "add-mask") masks.push(command.data);
    }
  }
  return { commands, log: shown.join("\n") };
}

function masked(text: string, masks: readonly string[]): string {
  return masks.reduce((rest, mask) => (mask === "" ? rest : rest.replaceAll(mask, "***")), text);
}

function readCommand(text: string, line: number): WorkflowCommand | undefined {
  const current = /^\s*::([^ :]+)(?: (.*?))?::(.*)$/s.exec(text);
  if (current !== null && KNOWN.has(current[1] as string)) {
    return {
      command: current[1] as string,
      properties: properties(current[2] ?? "", ",", unescapeProperty),
      data: unescapeData(current[3] ?? ""),
      line,
    };
  }
  const older = /##\[([^\] ]+)(?: ([^\]]*))?\](.*)$/s.exec(text);
  if (older === null || !KNOWN.has(older[1] as string)) return undefined;
  return {
    command: older[1] as string,
    properties: properties(older[2] ?? "", ";", (value) => value),
    data: older[3] ?? "",
    line,
  };
}

function properties(text: string, separator: string, decode: (value: string) => string): Record<string, string> {
  const entries = text.split(separator).filter((part) => part.includes("="));
  return Object.fromEntries(
    entries.map((part) => [part.slice(0, part.indexOf("=")), decode(part.slice(part.indexOf("=") + 1))]),
  );
}

function unescapeData(text: string): string {
  return text.replaceAll("%0D", "\r").replaceAll("%0A", "\n").replaceAll("%25", "%");
}

function unescapeProperty(text: string): string {
  return unescapeData(text.replaceAll("%3A", ":").replaceAll("%2C", ","));
}

/** The file commands grammar: `NAME<<DELIMITER`, the lines of the value, `DELIMITER`. */
function readOutputs(text: string): Record<string, string> {
  const lines = text.split("\n");
  const outputs: Record<string, string> = {};
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] as string;
    if (line === "") continue;
    const [, name, delimiter] = /^([^=<]+)<<(ghadelimiter_[0-9a-f-]{36})$/.exec(line) ?? [];
    const end = delimiter === undefined ? -1 : lines.indexOf(delimiter, at + 1);
    if (name === undefined || end < 0) throw new Error(`not an output: ${JSON.stringify(line)}`);
    outputs[name] = lines.slice(at + 1, end).join("\n");
    at = end;
  }
  return outputs;
}
