import { type GcReport, gc, Layout } from "@stowage/layout";
import { type Context, defineCommand, UsageError } from "../command.js";
import { layoutArgument } from "../locations.js";
import { count, formatSize, note, printJson, printLines } from "../output.js";
import { countArgument, durationArgument, sizeArgument } from "../quantities.js";

export const gcCommand = defineCommand({
  command: "gc <layout>",
  describe: "Remove from a layout the tags a policy does not keep, and all content that nothing needs",
  examples: [
    [
      "$0 gc oci:cache --max-age 30d --max-size 10GB --keep-last 2",
      "Bound a cache, and keep the newest two tags anyway",
    ],
    ["$0 gc oci:dist --keep-last 5 --per '(.*)-[0-9]+' --dry-run", "See what would go if each branch kept five builds"],
  ],
  options: (yargs) =>
    yargs
      .positional("layout", { type: "string", demandOption: true, describe: "The layout: DIR or oci:DIR" })
      .option("keep-last", {
        type: "string",
        requiresArg: true,
        describe: "Never remove the newest N tags of a group; alone, remove all others",
      })
      .option("per", {
        type: "string",
        array: true,
        requiresArg: true,
        describe: "A group of tags: a glob, or a regular expression whose capture groups name it; other tags are kept",
      })
      .option("max-age", { type: "string", requiresArg: true, describe: "Remove tags of images older than this: 30d" })
      .option("max-size", {
        type: "string",
        requiresArg: true,
        describe: "Remove the oldest tags until the rest takes no more than this: 10GB",
      })
      .option("grace", {
        type: "string",
        requiresArg: true,
        default: "1h",
        describe: "Spare content stored less than this long ago; 0 where nothing else writes",
      })
      .option("drop-dangling", {
        type: "boolean",
        default: false,
        describe: "Remove referrers of images that are not in the layout as well",
      })
      .option("dry-run", {
        type: "boolean",
        default: false,
        describe: "Show what would be removed, and remove nothing",
      }),
  run: async (args, context) => {
    const path = layoutArgument(args.layout);
    if (args.per !== undefined && (args.keepLast ?? args.maxAge ?? args.maxSize) === undefined)
      throw new UsageError("--per needs --keep-last, --max-age or --max-size");
    const policy = {
      keepLast: countArgument("keep-last", args.keepLast),
      per: args.per,
      maxAge: durationArgument("max-age", args.maxAge),
      maxSize: sizeArgument("max-size", args.maxSize),
      grace: durationArgument("grace", args.grace),
      keepDangling: !args.dropDangling,
      dryRun: args.dryRun,
      signal: context.signal,
    };
    const report = await gc(await Layout.open(path), policy);
    if (args.json) printJson(context, report);
    else printReport(context, report, args.quiet);
    if (!report.fits) note(context, "what the policy keeps is larger than --max-size");
    return report.fits ? 0 : 3;
  },
});

function printReport(context: Context, report: GcReport, quiet: boolean): void {
  const verb = report.dryRun ? "would remove" : "removed";
  const { removed, spared, leftovers, ignored } = report;
  if (!quiet) {
    printLines(context, [
      ...report.tags.map(({ tag, digest, reason }) => `${verb} tag ${tag} (${digest}): ${reason}`),
      ...report.entries.map(({ digest, reason }) => `${verb} entry ${digest}: ${reason}`),
      ...report.lists.map(({ list, replacedBy, reason }) =>
        replacedBy === undefined ? `${verb} list ${list}: ${reason}` : `rewrote list ${list}: ${reason}`,
      ),
      ...removed.map(({ digest, size }) => `${verb} blob ${digest} (${formatSize(size)}): nothing needs it`),
      ...leftovers.removed.map(({ path, reason }) => `${verb} ${path}: ${reason}`),
      ...spared.map(({ digest, size }) => `spared blob ${digest} (${formatSize(size)}): younger than the grace time`),
      ...leftovers.spared.map(({ path, reason }) => `spared ${path}: ${reason}`),
      ...ignored.map((file) => `left ${file}: not a blob that is known here`),
    ]);
  }
  const seen = [`${count(report.tags.length, "tag")}, ${count(removed.length, "blob")}, ${formatSize(report.freed)}`];
  if (spared.length > 0) seen.push(`${count(spared.length, "blob")} spared`);
  printLines(context, [`${report.layout}: ${verb} ${seen.join("; ")}`]);
}
