import { formatLocation } from "@stowage/layout";
import { importInto, readCacheDirectory } from "@stowage/nix";
import { defineCommand } from "../../command.js";
import { locationArgument, openOptions, withRegistryOptions } from "../../locations.js";
import { startProgress } from "../../progress.js";
import { closureDestination, printClosure, withClosureOptions } from "./closure-options.js";
import { trustedKeys } from "./keys.js";

export const nixImportCommand = defineCommand({
  command: "import <cache> [roots..]",
  describe:
    "Take a binary cache, a directory, into a layout or a registry: a manifest for each store path, tagged by its hash",
  examples: [
    ["$0 nix import ./cache --to oci:store:all", "All of a cache that nix copy --to file://$PWD/cache made"],
    [
      "$0 nix import ./cache bqy3xcn2d64va92hx2zw78cbp7bpvdbi --to ghcr.io/acme/store:app --trusted-key cache.pub",
      "One path and all it refers to, if it was signed",
    ],
  ],
  options: (yargs) =>
    withClosureOptions(withRegistryOptions(yargs, "one"))
      .positional("cache", { type: "string", demandOption: true, describe: "The directory of the binary cache" })
      .positional("roots", {
        type: "string",
        array: true,
        describe: "Store paths, by path, base name or hash [default: all there are]",
      })
      .option("to", {
        type: "string",
        requiresArg: true,
        demandOption: true,
        describe: "The LOCATION; its tag is for the index of all paths",
      }),
  run: async (args, context) => {
    const { signal } = context;
    const open = openOptions(args, signal);
    const location = locationArgument(args.to);
    const destination = closureDestination(location, open);
    const keys = await trustedKeys(args["trusted-key"]);
    const progress = startProgress(context, "importing", args.quiet || args.json);
    try {
      const closure = await readCacheDirectory(args.cache.replace(/^(?:cache:|file:\/\/)/, ""), args.roots ?? [], {
        signal,
      });
      progress.expect(closure.objects.reduce((sum, { info }) => sum + info.narSize, 0));
      const result = await importInto(destination, closure, {
        signal,
        compression: args.compression,
        trustedKeys: keys,
        layout: open.layout,
        onEvent: (event) => {
          if (event.type === "bytes") progress.advance(event.bytes);
        },
      });
      progress.stop();
      printClosure(context, result, location, args, [`imported ${closure.name} into ${formatLocation(location)}`]);
    } finally {
      progress.stop();
    }
    return 0;
  },
});
