import { isOciError } from "@stowage/layout";
import { lockPath, readLock, readSyncFile, type SyncFile, type SyncItemValue, sync, syncItem } from "@stowage/registry";
import type { ArgumentsCamelCase, Argv } from "yargs";
import { type CommonOptions, type Context, defineCommand, type ExitCode, UsageError } from "../command.js";
import { openOptions, type RegistryArguments, renameArgument, withRegistryOptions } from "../locations.js";
import { printJson, printLines } from "../output.js";
import { followCopy, startProgress } from "../progress.js";
import { printSync } from "../sync-report.js";
import { type UploadArguments, uploadOptions, withUploadOptions } from "../transfer-options.js";

/** The options that take the place of what a file says of an item. */
const ITEM_OPTIONS = [
  "tags",
  "semver",
  "newest",
  "repositories",
  "rename",
  "names",
  "platform",
  "index",
  "clobber",
  "referrers",
] as const;

export const syncCommand = defineCommand({
  command: "sync <source> [target]",
  describe: "Keep many images in step, as a file says, or one repository with another",
  examples: [
    ["$0 sync sync.yaml --dry-run", "Say what a sync file would copy, move and prune"],
    [
      "$0 sync docker.io/library/alpine oci:mirror --tags '3.*' --newest 2",
      "The two newest 3.x of a repository, without a file",
    ],
  ],
  options: (yargs) => withItemOptions(withRunOptions(withUploadOptions(withRegistryOptions(yargs)))),
  run: async (args, context) => {
    const file = await syncFile(args);
    const lock = args.lock ?? lockPath(file);
    if (args.lockDigest) return printLockDigest(lock, file, args, context);
    if (args.frozen && args.update)
      throw new UsageError("--frozen follows the lock and --update writes it; give one of them");
    if (args.target !== undefined && (args.frozen || args.update || args.lock !== undefined))
      throw new UsageError("a lock is for a sync file, and this run has none");
    const progress = startProgress(context, args.dryRun ? "planning" : "syncing", args.quiet || args.json);
    const report = await sync(file, {
      ...openOptions(args, context.signal, { upload: uploadOptions(args) }),
      dryRun: args.dryRun,
      prune: args.prune,
      ...(args.frozen ? { lock: "frozen" as const } : args.update ? { lock: "update" as const } : {}),
      lockPath: lock,
      offline: args.offline,
      allowedHosts: args.allowHost,
      salvage: args.salvage,
      concurrency: wholeNumber("concurrency", args.concurrency),
      onEvent: followCopy(progress),
    }).finally(() => progress.stop());
    return printSync(context, report, args);
  },
});

function withRunOptions<T>(yargs: Argv<T>) {
  return yargs
    .positional("source", {
      type: "string",
      demandOption: true,
      describe: "A sync file; with a target, the repository, registry, layout or archive to copy from",
    })
    .positional("target", { type: "string", describe: "Where to, for a sync without a file" })
    .option("dry-run", { type: "boolean", default: false, describe: "Say what would be done, and do nothing" })
    .option("prune", {
      type: "boolean",
      default: false,
      describe: "Remove the tags at the targets that are not selected; see them with --dry-run first",
    })
    .option("frozen", { type: "boolean", default: false, describe: "Bring exactly what the lock names" })
    .option("update", { type: "boolean", default: false, describe: "Write what was found into the lock" })
    .option("lock", { type: "string", requiresArg: true, describe: "The lock [default: stowage.lock beside the file]" })
    .option("lock-digest", {
      type: "boolean",
      default: false,
      describe: "Print the digest of the lock, as the key of a cache, and end",
    })
    .option("offline", {
      type: "boolean",
      default: false,
      describe: "Ask no registry: what is wanted has to be in the layout it goes to",
    })
    .option("allow-host", {
      type: "string",
      array: true,
      requiresArg: true,
      describe: "With --offline: this HOST[:PORT] may be asked even so",
    })
    .option("salvage", {
      type: "boolean",
      default: false,
      describe: "First take out what is damaged in the layouts at the targets, so that it is brought again",
    })
    .option("concurrency", {
      type: "string",
      requiresArg: true,
      describe: "How many images move at once [default: 8]",
    });
}

function withItemOptions<T>(yargs: Argv<T>) {
  const group = "Without a file:";
  const many = { type: "string", array: true, requiresArg: true, group } as const;
  return yargs
    .option("tags", { ...many, describe: "Only this tag, or the tags that this glob matches" })
    .option("semver", {
      type: "string",
      requiresArg: true,
      group,
      describe: 'Only tags that are versions in this range, as ">=1.2 <2"',
    })
    .option("newest", {
      type: "string",
      requiresArg: true,
      group,
      describe: "Of those only so many, the highest versions",
    })
    .option("repositories", {
      ...many,
      describe: 'Many repositories: this one below the source, or those that this glob matches, as "**"',
    })
    .option("rename", {
      ...many,
      describe: "FROM=TO: names that the expression FROM matches become TO, as 'docker.io/(.*)=mirror.local/$1'",
    })
    .option("names", {
      choices: ["full", "tag"] as const,
      group,
      describe: "What a layout calls the images [default: full]",
    })
    .option("platform", {
      type: "string",
      requiresArg: true,
      group,
      describe: "Only these platforms, as OS/ARCH[/VARIANT][,...]; of one the image without its index",
    })
    .option("index", {
      choices: ["keep", "filter"] as const,
      group,
      describe: "With --platform: keep the index, with holes in it, or make a new one [default: filter for several]",
    })
    .option("clobber", {
      type: "boolean",
      group,
      describe: "Move tags that stand for something else; --no-clobber fails instead [default: true]",
    })
    .option("referrers", {
      choices: ["all", "none"] as const,
      group,
      describe: "Whether referrers go along [default: all]",
    });
}

type Arguments = ArgumentsCamelCase<
  ReturnType<
    typeof withItemOptions<Read<ReturnType<typeof withRunOptions<RegistryArguments & UploadArguments & CommonOptions>>>>
  > extends Argv<infer T>
    ? T
    : never
>;
type Read<A> = A extends Argv<infer T> ? T : never;

/** The file that is named, or one with what the options say. What is wrong in either is wrong usage. */
async function syncFile(args: Arguments): Promise<SyncFile> {
  try {
    if (args.target !== undefined)
      return { path: "the command line", items: [await syncItem(itemOf(args))], concurrency: 8 };
    const given = ITEM_OPTIONS.filter((option) => args[option] !== undefined);
    if (given.length > 0)
      throw new UsageError(`--${given[0]} is for a sync from a source to a target, not for a file`, {
        hint: "Write it into the file, or name a target.",
      });
    return await readSyncFile(args.source);
  } catch (error) {
    if (!isOciError(error, "INVALID") && !isOciError(error, "NOT_FOUND")) throw error;
    const hint =
      error.code === "NOT_FOUND"
        ? "A repository or layout needs a target as well: stowage sync SOURCE TARGET"
        : error.hint;
    throw new UsageError(error.message, { hint, cause: error });
  }
}

function itemOf(args: Arguments): SyncItemValue {
  const { source, target, tags, semver, newest, repositories, names, platform, index, clobber, referrers } = args;
  const rule = {
    ...(semver === undefined ? {} : { semver }),
    ...(newest === undefined ? {} : { newest: wholeNumber("newest", newest) as number }),
  };
  const ruled = Object.keys(rule).length > 0;
  const rules = ruled
    ? (tags ?? [undefined]).map((glob) => ({ ...rule, ...(glob === undefined ? {} : { glob }) }))
    : tags;
  return {
    source,
    ...(target === undefined ? {} : { target }),
    ...(rules === undefined ? {} : { tags: rules }),
    ...(repositories === undefined ? {} : { repositories }),
    ...(args.rename === undefined
      ? {}
      : { rename: args.rename.map(renameArgument).map(([key, value]) => ({ key, value, at: 0 })) }),
    ...(names === undefined ? {} : { names }),
    ...(platform === undefined ? {} : { platforms: platform.split(",") }),
    ...(index === undefined ? {} : { index }),
    ...(clobber === undefined ? {} : { noClobber: !clobber }),
    ...(referrers === undefined ? {} : { referrers }),
  };
}

function wholeNumber(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9][0-9]{0,3}$/.test(text))
    throw new UsageError(`--${option} ${JSON.stringify(text)} is no number from 1 to 9999`);
  return Number(text);
}

async function printLockDigest(path: string, file: SyncFile, args: Arguments, context: Context): Promise<ExitCode> {
  const { digest } = await readLock(path, file);
  if (args.json) printJson(context, { path, digest });
  else printLines(context, [digest]);
  return 0;
}
