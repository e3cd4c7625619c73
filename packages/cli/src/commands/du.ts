import { du, Layout, type LayoutUsage } from "@stowage/layout";
import { defineCommand, UsageError } from "../command.js";
import { locationArgument } from "../locations.js";
import { formatSize, printJson, printLines, table } from "../output.js";

export const duCommand = defineCommand({
  command: "du <layouts..>",
  describe: "Show what the blobs of layouts take, and how much of it they share",
  examples: [
    ["$0 du oci:dist", "The blobs of one layout"],
    ["$0 du oci:app oci:base", "Two layouts, and what removing each of them would free"],
  ],
  options: (yargs) =>
    yargs.positional("layouts", {
      type: "string",
      array: true,
      demandOption: true,
      describe: "The layouts, each as oci:DIR",
    }),
  run: async (args, context) => {
    const layouts: Layout[] = [];
    for (const text of new Set(args.layouts)) {
      const location = locationArgument(text);
      if (location.kind !== "layout") throw new UsageError(`${text} is no layout directory`);
      if (location.tag !== undefined || location.digest !== undefined)
        throw new UsageError(`${text} names an image; du counts whole layouts`);
      layouts.push(await Layout.open(location.path));
    }
    const usage = await du(layouts, { signal: context.signal });
    if (args.json) printJson(context, usage);
    else if (args.quiet) printLines(context, [String(usage.files)]);
    else {
      const row = ({ path, blobs, bytes, shared, own }: LayoutUsage): string[] => [
        formatSize(bytes),
        formatSize(shared),
        formatSize(own),
        String(blobs),
        path,
      ];
      const lines = table([["BYTES", "SHARED", "OWN", "BLOBS", "LAYOUT"], ...usage.layouts.map(row)]);
      printLines(context, [...lines, `${formatSize(usage.bytes)} in ${formatSize(usage.files)} of files`]);
    }
    return 0;
  },
});
