import type { Abortable, FileLocation, Finding, Location, Oddity, VerifyReport } from "@stowage/layout";
import {
  formatLocation,
  IndexedSource,
  isNamed,
  Layout,
  normalize,
  refName,
  type Source,
  type VerifyRoot,
  verify,
  verifyLayout,
} from "@stowage/layout";
import { withSource } from "@stowage/registry";
import { type Context, defineCommand, UsageError } from "../command.js";
import { locationArgument, openOptions, resolveRoot, withRegistryOptions } from "../locations.js";
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
    withRegistryOptions(yargs, "one")
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
      .option("strict", {
        type: "boolean",
        default: false,
        describe: "List what is odd in a layout and was tolerated, and fail on warnings too",
      })
      .option("fix", {
        type: "boolean",
        default: false,
        describe: "Write index.json anew first, in the form that --strict asks for; a LOCATION without a tag",
      })
      .option("sparse", { type: "boolean", default: false, describe: "Take missing content for intended" }),
  run: async (args, context) => {
    if (args.fast && args.full) throw new UsageError("--fast and --full exclude each other");
    const open = openOptions(args, context.signal);
    const location = locationArgument(args.location);
    const progress = startProgress(context, "verifying", args.quiet || args.json);
    const report = await withSource(location, open, async (source) => {
      if (args.fix) await fix(source, location, open);
      const { roots, whole } = await rootsOf(source, location, open);
      const onBytes = (bytes: number): void => {
        progress.expect(bytes);
        progress.advance(bytes);
      };
      const level = args.full ? "full" : args.fast ? "fast" : "digests";
      const graph = await verify(source, roots, { ...open, onBytes, level, sparse: args.sparse });
      if (!whole || !(source instanceof Layout)) return graph;
      const findings = [...graph.findings];
      if (args.strict) findings.push(...(await source.oddities()).map(oddFinding));
      if (args.full) findings.push(...(await verifyLayout(source, open)));
      return { ...graph, findings };
    }).finally(() => progress.stop());
    if (args.json) printJson(context, report);
    else printReport(context, report, location, args);
    return problemsIn(report, args.strict).length === 0 ? 0 : 1;
  },
});

/** Only an error means that something is wrong; who is strict takes a warning for one. */
function problemsIn({ findings }: VerifyReport, strict: boolean): readonly Finding[] {
  return findings.filter(({ severity }) => severity === "error" || (strict && severity === "warning"));
}

function oddFinding({ code, message }: Oddity): Finding {
  return { severity: "warning", state: "odd", path: [code], message };
}

async function fix(source: Source, location: Location, options: Abortable): Promise<void> {
  if (!(source instanceof Layout) || location.kind !== "layout" || (location.tag ?? location.digest) !== undefined)
    throw new UsageError("--fix needs a layout as a whole", { hint: "Write oci:DIR." });
  await normalize(source, options);
}

function printReport(
  context: Context,
  report: VerifyReport,
  location: Location,
  { quiet, strict }: { readonly quiet: boolean; readonly strict: boolean },
): void {
  const problems = problemsIn(report, strict);
  printLines(context, (quiet ? problems : report.findings).map(findingLine));
  if (quiet) return;
  const { manifests, blobs, referrers, bytes } = report;
  const seen = `${count(manifests, "manifest")}, ${count(blobs, "blob")}, ${count(referrers, "referrer")}, ${formatSize(bytes)}`;
  const verdict = problems.length === 0 ? "ok" : count(problems.length, "problem");
  printLines(context, [`${formatLocation(location)}: ${verdict} (${seen})`]);
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
    return {
      roots: entries.map((entry) => ({ name: refName(entry) ?? entry.digest, descriptor: entry })),
      whole: true,
    };
  }
  const root = await resolveRoot(source, location, options);
  return { roots: [{ name: tag ?? root.descriptor.digest, descriptor: root.descriptor }], whole: false };
}
