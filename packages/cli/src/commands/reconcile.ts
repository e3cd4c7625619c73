import {
  formatLocation,
  type IndexedTarget,
  type ReconcileChange,
  type ReconcileReport,
  type ReferrerForms,
  type RegistryLocation,
  reconcile,
  referrerForms,
} from "@stowage/layout";
import { RegistryClient, type RepositoryReconcileReport, withTarget } from "@stowage/registry";
import { type CommonOptions, type Context, defineCommand, type ExitCode, UsageError } from "../command.js";
import { locationArgument, openOptions, type RegistryArguments, withRegistryOptions } from "../locations.js";
import { count, note, printJson, printLines } from "../output.js";

export const reconcileCommand = defineCommand({
  command: "reconcile <location>",
  describe: "Make all forms in which a layout or a repository keeps referrers agree",
  examples: [
    ["$0 reconcile oci:dist", "Let oras, regclient and Stowage each see every referrer"],
    ["$0 reconcile oci:dist --to regclient", "Keep them as regclient does, and only so"],
    [
      "$0 reconcile ghcr.io/acme/app --prune --dry-run",
      "What moves to the referrers API of a registry that has got one, and which tags go",
    ],
  ],
  options: (yargs) =>
    withRegistryOptions(yargs, "one")
      .positional("location", { type: "string", demandOption: true, describe: "The layout, as oci:DIR, or HOST/REPO" })
      .option("to", {
        choices: referrerForms,
        group: "Layouts:",
        describe: "The tool whose form is written; the forms of the others are dropped, but for all [default: all]",
      })
      .option("prune", {
        type: "boolean",
        default: false,
        group: "Registries:",
        describe: "Delete the tag of a list when the referrers API lists all that is on it",
      })
      .option("dry-run", {
        type: "boolean",
        default: false,
        group: "Registries:",
        describe: "Change nothing; show what would be done",
      })
      .option("drop-unread", {
        type: "boolean",
        default: false,
        group: "Layouts:",
        describe: "Drop from lists what is not there to be read, instead of keeping it",
      }),
  run: async (args, context) => {
    const location = locationArgument(args.location);
    if (location.kind === "registry") return reconcileInRegistry(location, args, context);
    if (location.kind !== "layout")
      throw new UsageError(`cannot reconcile ${formatLocation(location)}: it is no layout directory`, {
        hint: "Write oci:DIR.",
      });
    if (args.prune || args.dryRun) throw new UsageError("--prune and --dry-run are for a repository on a registry");
    if (location.tag !== undefined || location.digest !== undefined)
      throw new UsageError(`cannot reconcile only ${formatLocation(location)}`, {
        hint: `A layout is reconciled as a whole: oci:${location.path}.`,
      });
    const open = { ...openOptions(args, context.signal), mustExist: true };
    const report = await withTarget(location, open, (target) =>
      reconcile(target as IndexedTarget, { to: args.to ?? "all", dropUnread: args.dropUnread, signal: context.signal }),
    );
    for (const { list, descriptor } of report.unread)
      note(context, `${descriptor.digest} in the list ${list} is not there to be read`);
    if (args.json) printJson(context, report);
    else if (!args.quiet) printLines(context, reportLines(report));
    return 0;
  },
});

interface RegistryReconcileArguments extends RegistryArguments, CommonOptions {
  readonly quiet: boolean;
  readonly to: ReferrerForms | undefined;
  readonly dropUnread: boolean;
  readonly prune: boolean;
  readonly dryRun: boolean;
}

async function reconcileInRegistry(
  { reference }: RegistryLocation,
  args: RegistryReconcileArguments,
  context: Context,
): Promise<ExitCode> {
  if (args.to !== undefined || args.dropUnread)
    throw new UsageError("--to and --drop-unread are for a layout; a registry keeps referrers in its own way");
  const { client = new RegistryClient() } = openOptions(args, context.signal);
  try {
    const { prune, dryRun } = args;
    const report = await client.repository(reference).reconcile({ prune, dryRun, signal: context.signal });
    for (const { tag, failures, error } of report.lists) {
      for (const { digest, error: why } of failures) note(context, `not moved: ${tag}: ${digest}: ${messageOf(why)}`);
      if (error !== undefined) note(context, `not pruned: ${tag}: ${messageOf(error)}`);
    }
    if (args.json) printJson(context, report);
    else if (!args.quiet) printLines(context, listLines(report));
    return report.lists.some(({ failures, error }) => failures.length > 0 || error !== undefined) ? 3 : 0;
  } finally {
    await client.close();
  }
}

function listLines({ repository, dryRun, lists }: RepositoryReconcileReport): string[] {
  const would = dryRun ? "would be " : "";
  const lines = lists.flatMap(({ tag, moved, stale, pruned }) => [
    ...moved.map((digest) => `${would}moved   ${digest} from ${tag}`),
    ...stale.map((digest) => `left out ${digest} of ${tag}: not there, or no referrer of its subject`),
    ...(pruned ? [`${would}deleted ${tag}`] : []),
  ]);
  const moved = lists.reduce((sum, list) => sum + list.moved.length, 0);
  return [...lines, `${repository}: ${count(lists.length, "list")}, ${count(moved, "referrer")} ${would}moved`];
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function reportLines(report: ReconcileReport): string[] {
  const what = `${count(report.referrers, "referrer")} of ${count(report.subjects, "subject")}`;
  if (report.changes.length === 0) return [`${report.target}: all forms agree (${what})`];
  return [
    ...report.changes.map(changeLine),
    ...report.stale.map(
      ({ list, descriptor }) => `dropped   ${descriptor.digest} from the list ${list}: no referrer of its subject`,
    ),
    `${report.target}: ${count(report.changes.length, "change")} (${what})`,
  ];
}

function changeLine({ action, form, of, descriptor }: ReconcileChange): string {
  return [action.padEnd(9), form, of, descriptor?.digest].filter((part) => part !== undefined).join(" ");
}
