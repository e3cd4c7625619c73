import type { Abortable, FileLocation, Finding, Location, VerifyReport } from "@stowage/layout";
import {
  formatLocation,
  IndexedSource,
  isNamed,
  Layout,
  refName,
  type Source,
  type VerifyRoot,
  verify,
  verifyLayout,
} from "@stowage/layout";
import { type Context, defineCommand, UsageError } from "../command.js";
import { locationArgument, openOptions, resolveRoot, withRegistryOptions, withSource } from "../locations.js";
import { count, formatSize, printJson, printLines } from "../output.js";
import { startProgress } from "../progress.js";

export const verifyCommand = defineCommand({
  command: "verify <location>",
  describe: "Read everything below a location and check every size and digest",
  examples: [
    ["$0 verify oci:dist", "Check a whole layout, referrers included"],
    ["$0 verify ghcr.io/acme/app:v1", "Check one image in a registry"],
    ["$0 verify oci:cache --full --sparse", "Unpack the layers as well, and let content be missing"],
  ],
  options: (yargs) =>
    withRegistryOptions(yargs)
      .positional("location", {
        type: "string",
        demandOption: true,
        describe: "The LOCATION; without a tag all of a layout is checked",
      })
      .option("fast", {
        type: "boolean",
        default: false,
        describe: "Check the sizes of blobs and not their digests",
      })
      .option("full", {
        type: "boolean",
        default: false,
        describe: "Check layers against their diff_ids, the forms of referrers, and list what nothing leads to",
      })
      .option("sparse", { type: "boolean", default: false, describe: "Take missing content for intended" }),
  run: async (args, context) => {
    if (args.fast && args.full) throw new UsageError("--fast and --full exclude each other");
    const open = openOptions(args, context.signal);
    const location = locationArgument(args.location);
    const progress = startProgress(context, "verifying", args.quiet || args.json);
    const report = await withSource(location, open, async (source) => {
      const { roots, whole } = await rootsOf(source, location, open);
      const onBytes = (bytes: number): void => {
        progress.expect(bytes);
        progress.advance(bytes);
      };
      const level = args.full ? "full" : args.fast ? "fast" : "digests";
      const graph = await verify(source, roots, { ...open, onBytes, level, sparse: args.sparse });
      if (!whole || !args.full || !(source instanceof Layout)) return graph;
      return { ...graph, findings: [...graph.findings, ...(await verifyLayout(source, open))] };
    }).finally(() => progress.stop());
    if (args.json) printJson(context, report);
    else printReport(context, report, location, args.quiet);
    return problemsIn(report).length === 0 ? 0 : 1;
  },
});

/** Only an error means that something is wrong. */
function problemsIn({ findings }: VerifyReport): readonly Finding[] {
  return findings.filter(({ severity }) => severity === "error");
}

function printReport(context: Context, report: VerifyReport, location: Location, quiet: boolean): void {
  const shown = quiet ? problemsIn(report) : report.findings;
  printLines(context, shown.map(findingLine));
  if (quiet) return;
  const { manifests, blobs, referrers, bytes } = report;
  const seen = `${count(manifests, "manifest")}, ${count(blobs, "blob")}, ${count(referrers, "referrer")}, ${formatSize(bytes)}`;
  const problems = problemsIn(report).length;
  printLines(context, [`${formatLocation(location)}: ${problems === 0 ? "ok" : count(problems, "problem")} (${seen})`]);
}

/** The state says enough of an error; anything less is marked as such. */
function findingLine({ severity, state, path, message }: Finding): string {
  return `${severity === "error" ? state : `${severity}: ${state}`}  ${path.join(" > ")}: ${message}`;
}

/** What the location names; for a layout without a tag, every entry of its index. */
async function rootsOf(
  source: Source,
  location: Location,
  options: Abortable,
): Promise<{ roots: VerifyRoot[]; whole: boolean }> {
  const { tag, digest } = location.kind === "registry" ? location.reference : (location as FileLocation);
  if (tag === undefined && digest === undefined && source instanceof IndexedSource) {
    const { manifests } = await source.index(options);
    // Images first: what refers to them is then seen as such, and not as an entry of its own.
    const entries = [...manifests.filter(isNamed), ...manifests.filter((entry) => !isNamed(entry))];
    return { roots: entries.map((entry) => ({ name: refName(entry) ?? entry.digest, descriptor: entry })), whole: true };
  }
  const root = await resolveRoot(source, location, options);
  return { roots: [{ name: tag ?? root.descriptor.digest, descriptor: root.descriptor }], whole: false };
}
