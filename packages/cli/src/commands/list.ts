import { formatLocation, list } from "@stowage/layout";
import { defineCommand } from "../command.js";
import { locationArgument, openOptions, withRegistryOptions, withSource } from "../locations.js";
import { printJson, printLines, table } from "../output.js";

export const listCommand = defineCommand({
  command: ["list <location>", "ls"],
  describe: "List the tags of a layout, an archive or a repository",
  examples: [
    ["$0 list oci:dist", "The tags of a layout with digests, platforms and referrers"],
    ["$0 list ghcr.io/acme/app --details", "The same for a repository, at a few requests for each tag"],
  ],
  options: (yargs) =>
    withRegistryOptions(yargs)
      .positional("location", { type: "string", demandOption: true, describe: "The LOCATION" })
      .option("details", {
        type: "boolean",
        describe: "Show what each tag stands for [default: yes, but for a registry]",
      }),
  run: async (args, context) => {
    const location = locationArgument(args.location);
    const details = args.details ?? location.kind !== "registry";
    const tags = await withSource(location, openOptions(args, context.signal), (source) =>
      list(source, { namesOnly: !details, signal: context.signal }),
    );
    if (args.json) printJson(context, tags);
    else if (args.quiet || !details)
      printLines(
        context,
        tags.map(({ tag }) => tag),
      );
    else if (tags.length === 0) context.err.write(`${formatLocation(location)} holds no tag\n`);
    else {
      const rows = tags.map(({ tag, descriptor, platforms, referrers }) => [
        tag,
        descriptor?.digest ?? "",
        platforms?.join(",") || "-",
        String(referrers ?? 0),
      ]);
      printLines(context, table([["TAG", "DIGEST", "PLATFORMS", "REFERRERS"], ...rows]));
    }
    return 0;
  },
});
