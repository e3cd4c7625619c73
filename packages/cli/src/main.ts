import { setMaxListeners } from "node:events";
import { isOciError } from "@stowage/layout";
import yargs from "yargs";
import { closeClients } from "./clients.js";
import { type AnyCommand, type Context, type ExitCode, UsageError } from "./command.js";
import { commands } from "./commands.js";
import { visible } from "./output.js";

/**
 * Runs the command line and returns the exit code: 0 done, 1 failed, 2 wrong usage, 3 partly done. The result goes to
 * `out`, everything else to `err`.
 */
export async function main(
  args: readonly string[],
  out: Context["out"] = process.stdout,
  err: Context["err"] = process.stderr,
): Promise<number> {
  const interrupted = new AbortController();
  // As many as there is to do at once wait for it.
  setMaxListeners(0, interrupted.signal);
  const interrupt = (): void => interrupted.abort(new Error("interrupted"));
  process.once("SIGINT", interrupt).once("SIGTERM", interrupt);
  let code: Promise<ExitCode> = Promise.resolve(0);
  try {
    const context: Context = { out, err, signal: interrupted.signal };
    const parser = parserFor(await commandsFor(args), context, (ended) => {
      code = ended;
      // It is waited for below; until then nobody is to miss a handler.
      ended.catch(() => {});
    });
    await parser.parseAsync(args.map(fromDash), {}, (_error, _argv, output) => {
      if (output !== "") out.write(`${output}\n`);
    });
    return await code;
  } catch (error) {
    if (interrupted.signal.aborted) return 130;
    return report(error, err);
  } finally {
    await closeClients(err);
    process.off("SIGINT", interrupt).off("SIGTERM", interrupt);
  }
}

/** Among positionals yargs loses a lone `-`; until they have their names it goes by this. */
const DASH = "\0-";

function fromDash(argument: string): string {
  return argument === "-" ? DASH : argument;
}

function toDash(values: Record<string, unknown>): void {
  for (const [key, value] of Object.entries(values)) {
    if (value === DASH) values[key] = "-";
    else if (Array.isArray(value)) values[key] = value.map((one) => (one === DASH ? "-" : one));
  }
}

/** The command that the first argument names; all of them where it names none, for help and completion. */
function commandsFor([name]: readonly string[]): Promise<AnyCommand[]> {
  const named = commands.filter(({ names }) => name !== undefined && names.includes(name));
  return Promise.all((named.length > 0 ? named : commands).map((command) => command.load()));
}

/** The yargs parser of the commands. */
function parserFor(table: readonly AnyCommand[], context: Context, ended: (code: Promise<ExitCode>) => void) {
  let parser = yargs()
    .scriptName("stowage")
    .usage(
      "$0 <command>\n\nOCI image layouts for build pipelines.\n\nA LOCATION is HOST/REPO[:TAG][@DIGEST], oci:DIR[:TAG][@DIGEST], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME].",
    )
    .option("json", { type: "boolean", default: false, describe: "Print the result as JSON", global: true })
    .option("quiet", {
      alias: "q",
      type: "boolean",
      default: false,
      describe: "No progress and no hints",
      global: true,
    });
  for (const command of table) parser = parser.command(command.module(context, ended) as never);
  return (
    parser
      .middleware(toDash)
      .demandCommand(1, "Name a command.")
      .recommendCommands()
      .strict()
      .parserConfiguration({
        "greedy-arrays": false,
        "parse-numbers": false,
        "parse-positional-numbers": false,
        "camel-case-expansion": true,
      })
      .help()
      .alias("help", "h")
      // Handled before: as an option of every command it would swallow `--cmd --version`.
      .version(false)
      .wrap(110)
      .exitProcess(false)
      .showHelpOnFail(false)
      .fail((message, error) => {
        // Without an error of its own it is yargs that complains: about the command line.
        throw error ?? new UsageError(message, { hint: "See stowage --help." });
      })
  );
}

function report(error: unknown, err: Context["err"]): ExitCode {
  if (error instanceof UsageError || (error instanceof Error && error.name === "YError")) {
    err.write(`stowage: ${error.message}\n`);
    if (isOciError(error) && error.hint !== undefined) err.write(`  ${error.hint}\n`);
    return 2;
  }
  if (isOciError(error)) {
    err.write(`stowage: ${visible(error.message)}\n`);
    if (error.hint !== undefined) err.write(`  ${visible(error.hint)}\n`);
    return 1;
  }
  // Not an error that was foreseen: whoever has to mend it needs to see where it came from.
  err.write(`stowage: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return 1;
}
