import {
  formatLocation,
  type IndexedTarget,
  type ReconcileChange,
  type ReconcileReport,
  reconcile,
  referrerForms,
} from "@stowage/layout";
import { withTarget } from "@stowage/registry";
import { defineCommand, UsageError } from "../command.js";
import { locationArgument, openOptions, withRegistryOptions } from "../locations.js";
import { count, note, printJson, printLines } from "../output.js";

export const reconcileCommand = defineCommand({
  command: "reconcile <location>",
  describe: "Make all forms in which a layout keeps referrers agree",
  examples: [
    ["$0 reconcile oci:dist", "Let oras, regclient and Stowage each see every referrer"],
    ["$0 reconcile oci:dist --to regclient", "Keep them as regclient does, and only so"],
  ],
  options: (yargs) =>
    withRegistryOptions(yargs, "one")
      .positional("location", { type: "string", demandOption: true, describe: "The layout, as oci:DIR" })
      .option("to", {
        choices: referrerForms,
        default: "all" as const,
        describe: "The tool whose form is written; the forms of the others are dropped, but for all",
      })
      .option("drop-unread", {
        type: "boolean",
        default: false,
        describe: "Drop from lists what is not there to be read, instead of keeping it",
      }),
  run: async (args, context) => {
    const location = locationArgument(args.location);
    if (location.kind !== "layout")
      throw new UsageError(`cannot reconcile ${formatLocation(location)}: it is no layout directory`, {
        hint: "Write oci:DIR.",
      });
    if (location.tag !== undefined || location.digest !== undefined)
      throw new UsageError(`cannot reconcile only ${formatLocation(location)}`, {
        hint: `A layout is reconciled as a whole: oci:${location.path}.`,
      });
    const open = { ...openOptions(args, context.signal), mustExist: true };
    const report = await withTarget(location, open, (target) =>
      reconcile(target as IndexedTarget, { to: args.to, dropUnread: args.dropUnread, signal: context.signal }),
    );
    for (const { list, descriptor } of report.unread)
      note(context, `${descriptor.digest} in the list ${list} is not there to be read`);
    if (args.json) printJson(context, report);
    else if (!args.quiet) printLines(context, reportLines(report));
    return 0;
  },
});

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
