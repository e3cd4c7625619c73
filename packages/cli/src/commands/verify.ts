import type { Abortable, FileLocation, Location } from "@stowage/layout";
import { formatLocation, IndexedSource, isNamed, refName, type Source, type VerifyRoot, verify } from "@stowage/layout";
import { defineCommand } from "../command.js";
import { locationArgument, openOptions, resolveRoot, withRegistryOptions, withSource } from "../locations.js";
import { count, formatSize, printJson, printLines } from "../output.js";
import { startProgress } from "../progress.js";

export const verifyCommand = defineCommand({
  command: "verify <location>",
  describe: "Read everything below a location and check every size and digest",
  examples: [
    ["$0 verify oci:dist", "Check a whole layout, referrers included"],
    ["$0 verify ghcr.io/acme/app:v1", "Check one image in a registry"],
  ],
  options: (yargs) =>
    withRegistryOptions(yargs).positional("location", {
      type: "string",
      demandOption: true,
      describe: "The LOCATION; without a tag all of a layout is checked",
    }),
  run: async (args, context) => {
    const open = openOptions(args, context.signal);
    const location = locationArgument(args.location);
    const progress = startProgress(context, "verifying", args.quiet || args.json);
    const report = await withSource(location, open, async (source) => {
      const roots = await rootsOf(source, location, open);
      const onBytes = (bytes: number): void => {
        progress.expect(bytes);
        progress.advance(bytes);
      };
      return verify(source, roots, { ...open, onBytes });
    }).finally(() => progress.stop());
    if (args.json) printJson(context, report);
    else {
      printLines(
        context,
        report.findings.map(({ state, path, message }) => `${state}  ${path.join(" > ")}: ${message}`),
      );
      const { manifests, blobs, referrers, bytes, findings } = report;
      if (!args.quiet) {
        const seen = `${count(manifests, "manifest")}, ${count(blobs, "blob")}, ${count(referrers, "referrer")}, ${formatSize(bytes)}`;
        printLines(context, [
          `${formatLocation(location)}: ${findings.length === 0 ? "ok" : count(findings.length, "problem")} (${seen})`,
        ]);
      }
    }
    return report.findings.length === 0 ? 0 : 1;
  },
});

/** What the location names; for a layout without a tag, every entry of its index. */
async function rootsOf(source: Source, location: Location, options: Abortable): Promise<VerifyRoot[]> {
  const { tag, digest } = location.kind === "registry" ? location.reference : (location as FileLocation);
  if (tag === undefined && digest === undefined && source instanceof IndexedSource) {
    const { manifests } = await source.index(options);
    // Images first: what refers to them is then seen as such, and not as an entry of its own.
    const entries = [...manifests.filter(isNamed), ...manifests.filter((entry) => !isNamed(entry))];
    return entries.map((entry) => ({ name: refName(entry) ?? entry.digest, descriptor: entry }));
  }
  const root = await resolveRoot(source, location, options);
  return [{ name: tag ?? root.descriptor.digest, descriptor: root.descriptor }];
}
