import { OciError, type OciErrorOptions } from "@stowage/layout";
import type { ArgumentsCamelCase, Argv, CommandModule } from "yargs";

/** What a command ends with: 0 done, 1 failed, 2 wrong usage, 3 partly done. */
export type ExitCode = 0 | 1 | 2 | 3;

/** Where a command writes, and what ends it early. */
export interface Context {
  /** The result, and nothing else. */
  readonly out: NodeJS.WritableStream;
  /** Progress, warnings and hints. */
  readonly err: NodeJS.WritableStream & { readonly isTTY?: boolean };
  /** Aborted when the user interrupts. */
  readonly signal: AbortSignal;
}

/** The options that every command has. */
export interface CommonOptions {
  readonly json: boolean;
  readonly quiet: boolean;
}

/** A command: its options, two examples for its help, and the verb it calls. */
export interface Command<T> {
  /** `name <required> [optional]`, with aliases behind it. */
  readonly command: string | readonly string[];
  readonly describe: string;
  readonly examples: readonly (readonly [string, string])[];
  readonly options: (yargs: Argv<CommonOptions>) => Argv<T>;
  readonly run: (args: ArgumentsCamelCase<T>, context: Context) => Promise<ExitCode>;
}

/** A command in the form in which a table of commands can hold it. */
export interface AnyCommand {
  readonly command: string | readonly string[];
  readonly describe: string;
  readonly examples: Command<unknown>["examples"];
  /** `ended` is given what the command ends with, once yargs has started it. */
  module(context: Context, ended: (code: Promise<ExitCode>) => void): CommandModule<CommonOptions, unknown>;
}

/** Turns a {@link Command} into one that yargs can run. */
export function defineCommand<T>(command: Command<T>): AnyCommand {
  return {
    command: command.command,
    describe: command.describe,
    examples: command.examples,
    module: (context, ended) => ({
      command: command.command,
      describe: command.describe,
      builder: (yargs) =>
        command
          .options(yargs)
          .example(command.examples.map(([line, text]): [string, string] => [line, text])) as Argv<unknown>,
      // Where a handler returns a promise, yargs writes the help, in case that fails.
      handler: (args) => ended(command.run(args as ArgumentsCamelCase<T>, context)),
    }),
  };
}

/** A group of commands under one name: `stowage index create`, `stowage index merge`. */
export interface CommandGroup {
  readonly command: string;
  readonly describe: string;
  readonly commands: readonly AnyCommand[];
}

/** Turns a {@link CommandGroup} into a command of the table. */
export function defineGroup({ command, describe, commands }: CommandGroup): AnyCommand {
  const examples = commands.flatMap((one) => one.examples.slice(0, 1));
  return {
    command,
    describe,
    examples,
    module: (context, ended) => ({
      command,
      describe,
      builder: (yargs) => {
        let group: Argv<unknown> = yargs;
        for (const one of commands) group = group.command(one.module(context, ended) as never);
        return group
          .example(examples.map(([line, text]): [string, string] => [line, text]))
          .demandCommand(1, `Name one of ${commands.map(nameOf).join(", ")}.`)
          .strict();
      },
      handler: () => {},
    }),
  };
}

function nameOf({ command }: AnyCommand): string {
  const [first] = [command].flat();
  return String(first).split(" ", 1)[0] as string;
}

/** The command line itself is wrong. Ends with exit code 2. */
export class UsageError extends OciError {
  constructor(message: string, options?: OciErrorOptions) {
    super("INVALID", message, options);
  }
}

/** Calls `parse`; what it finds wrong with its text is the fault of the command line. */
export function parsed<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof OciError) throw new UsageError(error.message, { hint: error.hint, cause: error });
    throw error;
  }
}
