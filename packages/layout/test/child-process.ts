import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";
import ts from "typescript";
import { onTestFinished } from "vitest";

const packageDirectory = fileURLToPath(new URL("..", import.meta.url));
const source = join(packageDirectory, "src");

/**
 * The URL of this package's sources as JavaScript, for child processes, which on Node 20 cannot run TypeScript. They stand
 * under a digest of the sources, beside the packages they import, so that they are never stale and never half there.
 */
export async function builtPackage(): Promise<string> {
  const names = (await readdir(source, { recursive: true })).filter((name) => name.endsWith(".ts")).sort();
  const texts = await Promise.all(names.map((name) => readFile(join(source, name), "utf8")));
  const hash = createHash("sha256")
    .update(JSON.stringify([names, texts]))
    .digest("hex");
  const cache = join(packageDirectory, "node_modules", ".stowage-test");
  const target = join(cache, hash);
  const url = pathToFileURL(join(target, "index.js")).href;
  if (await stat(target).catch(() => undefined)) return url;
  await mkdir(cache, { recursive: true });
  for (const name of await readdir(cache)) {
    const old = await stat(join(cache, name)).catch(() => undefined);
    if (old !== undefined && Date.now() - old.mtimeMs > 86_400_000)
      await rm(join(cache, name), { recursive: true, force: true });
  }
  const temporary = await mkdtemp(join(cache, "making-"));
  await writeFile(join(temporary, "package.json"), '{"type":"module"}');
  const compilerOptions: ts.CompilerOptions = {
    module: ts.ModuleKind.ESNext,
    target: ts.ScriptTarget.ES2023,
    verbatimModuleSyntax: true,
  };
  for (const [at, name] of names.entries()) {
    const path = join(temporary, name.replace(/\.ts$/, ".js"));
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, ts.transpileModule(texts[at] as string, { compilerOptions }).outputText);
  }
  // Another test file may have been quicker.
  await rename(temporary, target).catch(() => rm(temporary, { recursive: true, force: true }));
  return url;
}

/** A child process that runs a script of `children/`. It is killed when the test ends. */
export class Child {
  readonly process: ChildProcess;
  /** The lines it has printed whole so far. */
  readonly lines: string[] = [];
  readonly #ended: Promise<void>;
  #onLine: () => void = () => {};
  #errors = "";

  private constructor(command: string, parameters: readonly string[]) {
    this.process = spawn(command, parameters, { stdio: ["pipe", "pipe", "pipe"] });
    const { stdout, stderr } = this.process;
    if (stdout === null || stderr === null) throw new TypeError("the child has no pipes");
    createInterface({ input: stdout }).on("line", (line) => {
      this.lines.push(line);
      this.#onLine();
    });
    stderr.on("data", (data: Buffer) => {
      this.#errors += data.toString();
    });
    this.#ended = once(this.process, "close").then(() => this.#onLine());
  }

  static async start(script: string, ...parameters: string[]): Promise<Child> {
    return Child.#of(new Child(process.execPath, await commandOf(script, parameters)));
  }

  /** Starts it as the child of a process that never asks how it ended. */
  static async startUnwatched(script: string, ...parameters: string[]): Promise<Child> {
    const text = '"$@" & exec sleep 600';
    return Child.#of(new Child("sh", ["-c", text, "sh", process.execPath, ...(await commandOf(script, parameters))]));
  }

  static #of(child: Child): Child {
    onTestFinished(() => {
      child.process.kill("SIGKILL");
    });
    return child;
  }

  /** The first line that starts with `start`, once it is printed. */
  async line(start: string): Promise<string> {
    for (;;) {
      const line = this.lines.find((text) => text.startsWith(start));
      if (line !== undefined) return line;
      if (this.process.exitCode !== null || this.process.signalCode !== null) {
        await this.#ended;
        if (!this.lines.some((text) => text.startsWith(start))) throw new Error(`the child ended: ${this.#errors}`);
        continue;
      }
      await new Promise<void>((resolve) => {
        this.#onLine = resolve;
      });
    }
  }

  /** Sends a line to its standard input. */
  send(line: string): void {
    this.process.stdin?.write(`${line}\n`);
  }

  signal(signal: NodeJS.Signals): void {
    this.process.kill(signal);
  }

  /** Waits until it has ended and all it printed is in `lines`; fails unless it ended well or by the signal given. */
  async end(signal?: NodeJS.Signals): Promise<void> {
    await this.#ended;
    const { exitCode, signalCode } = this.process;
    if (exitCode !== 0 && (signal === undefined || signalCode !== signal))
      throw new Error(`the child ended with ${exitCode ?? signalCode}: ${this.#errors}`);
  }
}

async function commandOf(script: string, parameters: readonly string[]): Promise<string[]> {
  const url = await builtPackage();
  return [fileURLToPath(new URL(`children/${script}.mjs`, import.meta.url)), url, ...parameters];
}
