import { isJsonObject, OciError, parseJson } from "@stowage/layout";
import type { Credentials } from "./credentials.js";

/** A helper may ask its user for a password; it may not wait forever. In ms. */
const TIME_OUT = 60_000;
const MAXIMUM_OUTPUT = 1024 * 1024;

/** How a helper is run. */
export interface HelperOptions {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** In ms. Default: 60,000. */
  readonly timeout?: number;
}

/**
 * Asks the program `docker-credential-NAME` for the credentials of `server`. Undefined where it has none. Fails with
 * `UNAUTHORIZED` where it is not installed, fails or is silent for too long, and with `INVALID` where the name or its answer
 * is unusable. The protocol is that of docker-credential-helpers.
 */
export async function askCredentialHelper(
  name: string,
  server: string,
  options: HelperOptions,
): Promise<Credentials | undefined> {
  const program = programOf(name);
  const { status, output } = await run(program, "get", server, server, options);
  const text = output.toString("utf8").trim();
  if (status !== 0) {
    if (NOTHING_THERE.test(text)) return undefined;
    throw helperFailed(program, status, server);
  }
  let value: unknown;
  try {
    value = parseJson(output, `the answer of ${program}`);
  } catch {
    // The cause would quote the answer, and the answer is a secret.
    throw new OciError("INVALID", `the answer of ${program} for ${server} is not JSON`);
  }
  if (!isJsonObject(value) || typeof value.Username !== "string" || typeof value.Secret !== "string") {
    throw new OciError("INVALID", `the answer of ${program} for ${server} has no Username and Secret`);
  }
  if (value.Secret === "") return undefined;
  return value.Username === "<token>"
    ? { identityToken: value.Secret }
    : { username: value.Username, password: value.Secret };
}

/**
 * Has the program `docker-credential-NAME` keep a name and a password for `server`. Fails with `UNAUTHORIZED` where it does not,
 * and with `INVALID` where the name is unusable.
 */
export async function storeWithHelper(
  name: string,
  server: string,
  account: { readonly username: string; readonly password: string },
  options: HelperOptions,
): Promise<void> {
  const program = programOf(name);
  const input = JSON.stringify({ ServerURL: server, Username: account.username, Secret: account.password });
  const { status } = await run(program, "store", server, input, options);
  if (status !== 0) throw helperFailed(program, status, server);
}

/** Has the program `docker-credential-NAME` forget what it keeps for `server`; that it has nothing is no failure. Fails as {@link storeWithHelper} does. */
export async function eraseWithHelper(name: string, server: string, options: HelperOptions): Promise<void> {
  const program = programOf(name);
  const { status, output } = await run(program, "erase", server, server, options);
  if (status !== 0 && !NOTHING_THERE.test(output.toString("utf8"))) throw helperFailed(program, status, server);
}

/** What helpers print where they have nothing. They say it in no other way. */
const NOTHING_THERE = /credentials not found|no credentials server URL|no credentials username/i;

function programOf(name: string): string {
  if (!/^[A-Za-z0-9_][A-Za-z0-9._-]*$/.test(name)) {
    throw new OciError("INVALID", `${JSON.stringify(name.slice(0, 100))} is no name of a credential helper`);
  }
  return `docker-credential-${name}`;
}

function helperFailed(program: string, status: number, server: string): OciError {
  return new OciError("UNAUTHORIZED", `${program} failed with status ${status} for ${server}`, {
    hint: "Run it by hand to see why, or remove it from Docker's configuration.",
  });
}

function run(
  program: string,
  verb: "get" | "store" | "erase",
  server: string,
  input: string,
  options: HelperOptions,
): Promise<{ status: number; output: Buffer }> {
  return new Promise((resolve, reject) => {
    const child = process.getBuiltinModule("node:child_process").spawn(program, [verb], {
      env: options.environment as NodeJS.ProcessEnv,
      stdio: ["pipe", "pipe", "ignore"],
      timeout: options.timeout ?? TIME_OUT,
      killSignal: "SIGKILL",
      windowsHide: true,
    });
    const chunks: Buffer[] = [];
    let size = 0;
    child.stdout.on("data", (chunk: Buffer) => {
      size += chunk.byteLength;
      if (size > MAXIMUM_OUTPUT) child.kill("SIGKILL");
      else chunks.push(chunk);
    });
    // A helper that exits without reading is judged by its status.
    child.stdin.on("error", () => {});
    child.stdin.end(input);
    child.on("error", (cause) => reject(cannotRun(program, cause)));
    child.on("close", (status) => {
      if (status === null)
        reject(new OciError("UNAUTHORIZED", `${program} gave no answer for ${server} and was stopped`));
      else resolve({ status, output: Buffer.concat(chunks) });
    });
  });
}

function cannotRun(program: string, cause: Error): OciError {
  return new OciError("UNAUTHORIZED", `cannot run ${program}, which Docker's configuration names for credentials`, {
    hint: "Install it, remove it from the configuration, or log in with: stowage login",
    cause,
  });
}
