import { type ConfigChanges, parseHealthcheck } from "@stowage/image";
import { parseJson } from "@stowage/layout";
import type { Argv } from "yargs";
import { parsed, UsageError } from "./command.js";
import { pairsArgument } from "./locations.js";

/** The options of every command that makes the config of an image. */
export interface ConfigArguments {
  readonly entrypoint: string[] | undefined;
  readonly cmd: string[] | undefined;
  readonly env: string[] | undefined;
  readonly workdir: string | undefined;
  readonly user: string | undefined;
  readonly label: string[] | undefined;
  readonly expose: string[] | undefined;
  readonly volume: string[] | undefined;
  readonly "stop-signal": string | undefined;
  readonly author: string | undefined;
  readonly healthcheck: string[] | undefined;
  readonly "health-interval": string | undefined;
  readonly "health-timeout": string | undefined;
  readonly "health-start-period": string | undefined;
  readonly "health-retries": string | undefined;
}

/** Adds the options that say how a container runs. */
export function withConfigOptions<T>(yargs: Argv<T>) {
  return yargs
    .option("entrypoint", {
      type: "string",
      array: true,
      requiresArg: true,
      describe: "The program; repeat it for each argument, or give a JSON array",
    })
    .option("cmd", {
      type: "string",
      array: true,
      requiresArg: true,
      describe: "The default arguments; repeat it for each, or give a JSON array",
    })
    .option("env", {
      alias: "e",
      type: "string",
      array: true,
      requiresArg: true,
      describe: "NAME=VALUE in the environment",
    })
    .option("workdir", {
      alias: "w",
      type: "string",
      requiresArg: true,
      describe: "The directory the program starts in",
    })
    .option("user", { alias: "u", type: "string", requiresArg: true, describe: "USER[:GROUP] the program runs as" })
    .option("label", {
      alias: "l",
      type: "string",
      array: true,
      requiresArg: true,
      describe: "KEY=VALUE in the config",
    })
    .option("expose", {
      type: "string",
      array: true,
      requiresArg: true,
      describe: "PORT[/tcp|udp] the program listens on",
    })
    .option("volume", {
      type: "string",
      array: true,
      requiresArg: true,
      describe: "A path for data that outlives the container",
    })
    .option("stop-signal", { type: "string", requiresArg: true, describe: "The signal that stops the program" })
    .option("author", { type: "string", requiresArg: true, describe: "Who made the image" })
    .option("healthcheck", {
      type: "string",
      array: true,
      requiresArg: true,
      describe: "The program that tells whether the container is well, as --cmd has it; a line for a shell; or none",
    })
    .option("health-interval", { type: "string", requiresArg: true, describe: "Time between two checks: 30s, 5m" })
    .option("health-timeout", { type: "string", requiresArg: true, describe: "Time a check may take" })
    .option("health-start-period", {
      type: "string",
      requiresArg: true,
      describe: "Time in which failed checks do not count",
    })
    .option("health-retries", {
      type: "string",
      requiresArg: true,
      describe: "Failed checks after which the container is not well",
    });
}

/** Reads the options of {@link ConfigArguments}. */
export function configArguments(args: ConfigArguments): Omit<ConfigChanges, "created" | "platform"> {
  const healthcheck = parsed(() =>
    parseHealthcheck({
      test: args.healthcheck,
      interval: args["health-interval"],
      timeout: args["health-timeout"],
      startPeriod: args["health-start-period"],
      retries: args["health-retries"],
    }),
  );
  return {
    user: args.user,
    env: args.env,
    entrypoint: args.entrypoint === undefined ? undefined : argv("entrypoint", args.entrypoint),
    cmd: args.cmd === undefined ? undefined : argv("cmd", args.cmd),
    workdir: args.workdir,
    labels: args.label === undefined ? undefined : pairsArgument("label", args.label),
    exposedPorts: args.expose,
    volumes: args.volume,
    stopSignal: args["stop-signal"],
    author: args.author,
    ...(healthcheck === undefined ? {} : { healthcheck }),
  };
}

/** `--cmd node --cmd x.js`, or `--cmd '["node","x.js"]'`. */
export function argv(option: string, texts: readonly string[]): readonly string[] {
  const [first] = texts;
  if (texts.length !== 1 || first?.startsWith("[") !== true) return texts;
  const value = parsed(() => parseJson(Buffer.from(first), `--${option}`));
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
  throw new UsageError(`--${option} ${first} is not a JSON array of strings`);
}
