import { existsSync, statSync } from "node:fs";
import { ArchiveSource, type CopyOptions, IndexedSource, type Location } from "@stowage/layout";
import {
  type ImportReport,
  importImages,
  type OpenOptions,
  parseImportPlace,
  type RenameRule,
  renameRules,
  type SyncPlace,
  withSource,
} from "@stowage/registry";
import { withBaseArguments, withHaveOption } from "../base-options.js";
import { type Context, defineCommand, type ExitCode, parsed, UsageError } from "../command.js";
import { locationArgument, openOptions, platformsArgument, renameArgument, withRegistryOptions } from "../locations.js";
import { besideArchive, note, printJson, printLines } from "../output.js";
import { followCopy, startProgress } from "../progress.js";
import { referrersChoice, withReferrerFilter } from "../referrer-options.js";
import { transferOptions, uploadOptions, withTransferOptions } from "../transfer-options.js";
import { reportLines } from "./copy.js";

export const importCommand = defineCommand({
  command: "import <places..>",
  describe: "Bring all images of an archive into a layout or registries, under their names",
  examples: [
    ["$0 import images.tar oci:store", "All images of an archive into a layout"],
    ["docker save acme/app | $0 import - ghcr.io/acme/app", "From Docker into one repository"],
    ["$0 import bundle.tar reg.local/hub/ --dry-run", "Say what would go where, below a place in a registry"],
    ["$0 import bundle.tar --rename 'docker.io/(.*)=reg.local/$1'", "Each repository where a rule says"],
  ],
  options: (yargs) =>
    withHaveOption(withReferrerFilter(withTransferOptions(withRegistryOptions(yargs, "one"))))
      .positional("places", {
        type: "string",
        array: true,
        demandOption: true,
        describe:
          "The archive, - for stdin; of one in parts any part, their directory, or all of them. Then the LOCATION to copy to: a layout, a repository, or HOST/[PATH/] for all repositories below it",
      })
      .option("rename", {
        type: "string",
        array: true,
        requiresArg: true,
        describe: "FROM=TO: names that the expression FROM matches become TO, as 'docker.io/(.*)=reg.local/$1'",
      })
      .option("platform", {
        type: "string",
        requiresArg: true,
        describe: "Import these platforms only, as OS/ARCH[/VARIANT][,...]; of one the image without its index",
      })
      .option("index", {
        choices: ["keep", "filter"] as const,
        describe:
          "With --platform: keep the index, with its digest and holes in it, or make a new one [default: filter for several]",
      })
      .option("referrers", {
        choices: ["all", "none"] as const,
        describe: "Whether referrers go along [default: all]",
      })
      .option("offline", {
        type: "boolean",
        default: false,
        describe: "Speak to no host but those that images go to",
      })
      .option("allow-host", {
        type: "string",
        array: true,
        requiresArg: true,
        describe: "With --offline: this HOST[:PORT] may be asked even so, a token server for example",
      }),
  run: async (args, context) => {
    const { sources, last } = split(args.places);
    const target = last === undefined ? undefined : placeArgument(last);
    const rename = await rulesArgument(args.rename, target);
    const platforms = platformsArgument(args.platform);
    if (args.index !== undefined && platforms.length === 0)
      throw new UsageError("--index says what becomes of the index when --platform chooses from it; there is none");
    if (args.allowHost !== undefined && !args.offline)
      throw new UsageError("--allow-host says who may be asked with --offline; that is not given");
    const open = openOptions(args, context.signal, {
      upload: uploadOptions(args),
      onlyHosts: args.offline ? [...hostsOf(target, rename), ...(args.allowHost ?? [])] : undefined,
    });
    const { client } = open;
    if (client === undefined) throw new TypeError("there is no client");
    const run = async (source: IndexedSource, { have }: Pick<CopyOptions, "have">): Promise<ExitCode> => {
      const quiet = args.quiet || args.json;
      let progress = startProgress(context, "checking", quiet);
      let follow = followCopy(progress);
      let current = "check";
      const report = await importImages(source, target, {
        ...transferOptions(args, source, client),
        signal: context.signal,
        have,
        client,
        layout: open.layout,
        rename,
        dryRun: args.dryRun,
        platforms,
        index: args.index,
        referrers: referrersChoice(args, "all"),
        onEvent: (event, phase) => {
          if (phase !== current) {
            progress.stop();
            progress = startProgress(context, "importing", quiet);
            follow = followCopy(progress);
            current = phase;
          }
          follow(event);
        },
      }).finally(() => progress.stop());
      return printImport(
        besideArchive(context, target === undefined || target.kind === "registry-prefix" ? [] : [target]),
        report,
        args,
      );
    };
    return withBaseArguments({ have: args.have }, open, (bases) =>
      withArchive(sources, open, (source) => run(source, bases)),
    );
  },
});

/** The archive, which may be several files, and the target where there is one: what is behind the archive and is no file. */
function split(places: readonly string[]): { readonly sources: readonly string[]; readonly last: string | undefined } {
  const last = places.length > 1 ? places.at(-1) : undefined;
  if (last === undefined || isFile(last)) return { sources: places, last: undefined };
  return { sources: places.slice(0, -1), last };
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

/** Opens the archive, and closes it whatever happens. */
async function withArchive<T>(
  sources: readonly string[],
  open: OpenOptions,
  use: (source: IndexedSource) => Promise<T>,
): Promise<T> {
  if (sources.length > 1) {
    const source = await ArchiveSource.open(sources);
    return use(source).finally(() => source.close());
  }
  return withSource(archiveArgument(sources[0] as string), open, (source) => {
    if (!(source instanceof IndexedSource)) throw new TypeError(`${source.name} is no archive`);
    return use(source);
  });
}

/** `FILE`, `-`, or a location of an archive or a layout. */
function archiveArgument(text: string): Location {
  if (text === "-" || existsSync(text) || !/^(?:oci|ocidir|oci-archive|docker-archive):/.test(text))
    return { kind: "oci-archive", path: text };
  const location = locationArgument(text);
  if (location.kind === "registry") throw new UsageError(`${JSON.stringify(text)} is no archive`);
  if (location.tag !== undefined || location.digest !== undefined)
    throw new UsageError(`${JSON.stringify(text)} names an image; import brings all of them`, {
      hint: "stowage copy brings one.",
    });
  return location;
}

function placeArgument(text: string): SyncPlace {
  return parsed(() => parseImportPlace(text, { exists: existsSync }));
}

async function rulesArgument(
  texts: readonly string[] | undefined,
  target: SyncPlace | undefined,
): Promise<readonly RenameRule[]> {
  if (texts === undefined && target === undefined)
    throw new UsageError("import needs a target, or --rename rules that say where each repository goes");
  if (texts !== undefined && (target?.kind === "registry" || target?.kind === "registry-prefix"))
    throw new UsageError("--rename makes whole references, and the target is a registry", {
      hint: "Leave the target out, or the rules.",
    });
  try {
    return await renameRules((texts ?? []).map(renameArgument));
  } catch (error) {
    return parsed(() => {
      throw error;
    });
  }
}

/** The registries that images can go to. */
function hostsOf(target: SyncPlace | undefined, rename: readonly RenameRule[]): readonly string[] {
  if (target?.kind === "registry-prefix") return [target.host];
  if (target?.kind === "registry") return [target.reference.host];
  if (target !== undefined) return [];
  // What the host is called where a rule takes it from the name, only --allow-host can say.
  return rename.map(({ host }) => host).filter((host) => !host.includes("$"));
}

function printImport(
  context: Context,
  report: ImportReport,
  args: { readonly json: boolean; readonly quiet: boolean; readonly dryRun: boolean },
): ExitCode {
  const failures = report.images.flatMap(({ report: { failures } }) => failures);
  for (const { path, error } of failures)
    note(context, `not imported: ${path.join(" > ")}: ${(error as Error).message}`);
  if (args.json) printJson(context, report);
  else
    for (const { name, target, report: copied } of report.images) {
      const title = `${args.dryRun ? "dry run: " : ""}${name ?? copied.descriptor.digest} -> ${target}`;
      printLines(context, args.quiet ? [copied.descriptor.digest] : [title, ...reportLines(copied, args.dryRun)]);
    }
  return failures.length > 0 ? 3 : 0;
}
