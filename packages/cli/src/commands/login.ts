import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import { type LoginResult, login, parseRegistryPlace } from "@stowage/registry";
import { connectionOptions, withClientOptions } from "../client-options.js";
import { type Context, defineCommand, parsed, UsageError } from "../command.js";
import { passwordFor, readPassword } from "../credentials.js";
import { note, printJson, printLines } from "../output.js";

export const loginCommand = defineCommand({
  command: "login <registry>",
  describe: "Check an account with a registry and keep it where Docker keeps its accounts",
  examples: [
    ['echo "$TOKEN" | $0 login ghcr.io -u octocat --password-stdin', "Log in with an access token"],
    ["$0 login ghcr.io/acme -u bot --password-stdin < token", "An account for the repositories below a path"],
    ["$0 login localhost:5000 -u alice", "Take the password from STOWAGE_PASSWORD, or ask for it"],
  ],
  options: (yargs) =>
    withClientOptions(yargs, "none")
      .positional("registry", {
        type: "string",
        demandOption: true,
        describe: "HOST[:PORT], or HOST[:PORT]/PATH for the repositories below it",
      })
      .option("username", { alias: "u", type: "string", requiresArg: true, describe: "The name of the account" })
      .option("password", {
        alias: "p",
        type: "string",
        requiresArg: true,
        describe: "The password; it shows to others on this machine, better use --password-stdin",
      })
      .option("password-stdin", {
        type: "boolean",
        default: false,
        describe: "Read the password from standard input",
      }),
  run: async (args, context) => {
    const place = parsed(() => parseRegistryPlace(args.registry));
    if (args.password !== undefined && args.passwordStdin)
      throw new UsageError("--password and --password-stdin exclude each other");
    if (args.username === undefined && (args.passwordStdin || process.stdin.isTTY !== true))
      throw new UsageError("name the account with --username");
    if (args.password !== undefined)
      note(context, "--password shows it to everybody on this machine; use --password-stdin");
    const username = args.username ?? (await ask(context, "Username: ", true));
    const password = await passwordOf(args, username, context);
    const result = await login(place, { username, password }, { ...connectionOptions(args), signal: context.signal });
    if (!args.quiet) tellWhere(context, result);
    if (args.json) printJson(context, result);
    else if (!args.quiet) printLines(context, [`logged in to ${result.registry} as ${result.username}`]);
    return 0;
  },
});

async function passwordOf(
  args: { password: string | undefined; passwordStdin: boolean },
  username: string,
  context: Context,
): Promise<string> {
  if (args.password !== undefined) return args.password;
  if (args.passwordStdin) return readPassword("login");
  if (!process.env.STOWAGE_PASSWORD && process.stdin.isTTY === true) return ask(context, "Password: ", false);
  return passwordFor(`login as ${username}`, "STOWAGE_PASSWORD");
}

function tellWhere(context: Context, { registry, checked, file, helper }: LoginResult): void {
  if (!checked) note(context, `${registry} asks nobody for credentials; these were kept without a check`);
  if (file !== undefined) note(context, `kept unencrypted in ${file}; a credential helper would encrypt it`);
  else note(context, `kept by docker-credential-${helper}`);
}

/** Asks at the terminal; what is secret is not shown. */
async function ask(context: Context, question: string, shown: boolean): Promise<string> {
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({ input: process.stdin, output: shown ? context.err : silent, terminal: true });
  const interrupt = (): void => terminal.close();
  context.signal.addEventListener("abort", interrupt, { once: true });
  try {
    if (!shown) context.err.write(question);
    const answer = await new Promise<string>((resolve) => {
      terminal.once("close", () => resolve("")).once("SIGINT", () => process.kill(process.pid, "SIGINT"));
      terminal.question(shown ? question : "", resolve);
    });
    context.signal.throwIfAborted();
    if (!shown) context.err.write("\n");
    if (answer === "") throw new UsageError("an account has a name and a password");
    return answer;
  } finally {
    context.signal.removeEventListener("abort", interrupt);
    terminal.close();
  }
}
