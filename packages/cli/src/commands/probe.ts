import { formatLocation } from "@stowage/layout";
import { type CapabilityName, capabilityNames, type ProbeReport, RegistryClient } from "@stowage/registry";
import { defineCommand, UsageError } from "../command.js";
import { locationArgument, openOptions, withRegistryOptions } from "../locations.js";
import { formatSize, note, printJson, printLines, table } from "../output.js";

export const probeCommand = defineCommand({
  command: "probe <repository>",
  describe: "Find out what a repository on a registry supports",
  examples: [
    ["$0 probe ghcr.io/acme/app", "Ask without storing anything: referrers, listing, permission to push"],
    ["$0 probe registry.example/acme/app --write", "Store small things as well, and remove them again"],
  ],
  options: (yargs) =>
    withRegistryOptions(yargs, "one")
      .positional("repository", { type: "string", demandOption: true, describe: "HOST/REPO" })
      .option("write", {
        type: "boolean",
        default: false,
        describe: "Store small things to see what is accepted, and remove them again",
      })
      .option("refresh", {
        type: "boolean",
        default: false,
        describe: "Ask again also where the answer is known from less than a day ago",
      }),
  run: async (args, context) => {
    const location = locationArgument(args.repository);
    if (location.kind !== "registry")
      throw new UsageError(`cannot probe ${formatLocation(location)}: it is no repository on a registry`, {
        hint: "Write HOST/REPO.",
      });
    const { client = new RegistryClient() } = openOptions(args, context.signal);
    try {
      const report = await client
        .repository(location.reference)
        .probe({ write: args.write, refresh: args.refresh, signal: context.signal });
      for (const what of report.leftBehind) note(context, `left behind in ${report.repository}: ${what}`);
      if (args.write && !report.wrote) note(context, `nothing was stored: pushing to ${report.repository} is refused`);
      if (args.json) printJson(context, report);
      else printLines(context, reportLines(report));
      return args.write && !report.wrote ? 1 : 0;
    } finally {
      await client.close();
    }
  },
});

/** What each capability is called. */
const titles: Readonly<Record<CapabilityName, string>> = {
  push: "push",
  listTags: "list tags",
  referrers: "referrers API",
  subject: "manifest with subject",
  artifactType: "manifest with artifactType",
  emptyConfig: "empty config",
  sha512: "sha512",
  mount: "mount",
  anonymousMount: "mount from anywhere",
  chunks: "upload in chunks",
  cancel: "cancel an upload",
  manifestSize: "manifest of 4 MiB",
  deleteManifests: "delete manifests",
  deleteTags: "delete tags",
  deleteBlobs: "delete blobs",
  immutableTags: "immutable tags",
};

function reportLines(report: ProbeReport): string[] {
  const rows = capabilityNames.map((name) => {
    const { support, detail } = report.capabilities[name];
    const size = name === "manifestSize" ? manifestSize(report) : undefined;
    return [titles[name], support === "unknown" ? "?" : support, size ?? detail ?? ""];
  });
  const least = report.chunkMinimum === undefined ? [] : [`chunks of ${formatSize(report.chunkMinimum)} at least`];
  return [`${report.repository}, asked ${report.probed}`, ...table(rows), ...least];
}

function manifestSize({ manifestSize: accepted, manifestTooLarge: refused }: ProbeReport): string | undefined {
  if (refused === undefined) return undefined;
  return `${accepted === undefined ? "" : `takes ${formatSize(accepted)}, `}refuses ${formatSize(refused)}`;
}
