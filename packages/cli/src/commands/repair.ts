import {
  formatUnrepaired,
  isOciError,
  Layout,
  OciError,
  type RepairReport,
  repair,
  type Source,
} from "@stowage/layout";
import { openSource } from "@stowage/registry";
import { type Context, defineCommand, type ExitCode } from "../command.js";
import { layoutArgument, locationArgument, openOptions, withRegistryOptions } from "../locations.js";
import { count, printJson, printLines } from "../output.js";
import { startProgress } from "../progress.js";

export const repairCommand = defineCommand({
  command: "repair <layout>",
  describe: "Fetch again what is missing or damaged in a layout",
  examples: [
    ["$0 repair oci:cache --from ghcr.io/acme/app", "From the registry it came from"],
    ["$0 repair oci:dist --from oci:mirror --from oci-archive:backup.tar", "From the first of several that has it"],
  ],
  options: (yargs) =>
    withRegistryOptions(yargs, "one")
      .positional("layout", { type: "string", demandOption: true, describe: "The layout: DIR or oci:DIR" })
      .option("from", {
        type: "string",
        array: true,
        requiresArg: true,
        demandOption: true,
        describe: "A LOCATION to fetch from; several are asked in turn",
      }),
  run: async (args, context) => {
    const open = openOptions(args, context.signal);
    const locations = args.from.map(locationArgument);
    const layout = await openDamaged(layoutArgument(args.layout));
    const progress = startProgress(context, "checking", args.quiet || args.json);
    const closing: (() => Promise<void>)[] = [];
    try {
      const sources: Source[] = [];
      for (const location of locations) {
        const opened = await openSource(location, open);
        closing.push(() => opened.close());
        sources.push(opened.source);
      }
      const onBytes = (bytes: number): void => {
        progress.expect(bytes);
        progress.advance(bytes);
      };
      const report = await repair(layout, sources, { signal: context.signal, onBytes });
      progress.stop();
      if (args.json) printJson(context, report);
      else printReport(context, report, args.quiet);
      return exitCode(report);
    } finally {
      progress.stop();
      for (const close of closing) await close();
    }
  },
});

/** Opens the layout. Where what is damaged is what says what it holds, nobody else can tell that for sure. */
async function openDamaged(path: string): Promise<Layout> {
  try {
    return await Layout.open(path);
  } catch (error) {
    if (!isOciError(error, "INVALID")) throw error;
    throw new OciError("INVALID", error.message, {
      cause: error,
      hint: `Only content is repaired. Put back oci-layout and index.json from a backup and run this again, or copy from another LOCATION with: stowage copy LOCATION oci:${path}-new:TAG`,
    });
  }
}

function printReport(context: Context, report: RepairReport, quiet: boolean): void {
  const { layout, checked, repaired, unrepaired } = report;
  printLines(
    context,
    unrepaired.map((one) => `${one.path.join(" > ")}: ${formatUnrepaired(one)}`),
  );
  if (quiet) return;
  printLines(context, [
    ...repaired.map(
      ({ was, descriptor, from, path }) => `${path.join(" > ")}: ${was} ${descriptor.digest} from ${from}`,
    ),
    `${layout}: ${repaired.length} repaired, ${unrepaired.length} not (${count(checked, "blob")} checked)`,
  ]);
}

function exitCode({ repaired, unrepaired }: RepairReport): ExitCode {
  if (unrepaired.length === 0) return 0;
  return repaired.length > 0 ? 3 : 1;
}
