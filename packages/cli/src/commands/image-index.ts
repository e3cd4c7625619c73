import { plainDescriptor, readManifest } from "@stowage/layout";
import { defineCommand, defineGroup, type ExitCode, UsageError } from "../command.js";
import { entryTable } from "../index-report.js";
import { openOptions, withRegistryOptions, withRoot } from "../locations.js";
import { printJson, printLines } from "../output.js";
import { addCommand, removeCommand } from "./index-change.js";
import { createCommand, mergeCommand } from "./index-compose.js";

const listCommand = defineCommand({
  command: "list <location>",
  describe: "List what an index lists",
  examples: [
    ["$0 index list oci:dist:v1", "Platforms, sizes and digests"],
    ["$0 index list docker.io/library/alpine:3.20 --json", "The same of a registry, as JSON"],
  ],
  options: (yargs) =>
    withRegistryOptions(yargs).positional("location", {
      type: "string",
      demandOption: true,
      describe: "The LOCATION of the index",
    }),
  run: (args, context) =>
    withRoot(
      args.location,
      { open: openOptions(args, context.signal) },
      async ({ source, descriptor }): Promise<ExitCode> => {
        const { manifest } = await readManifest(source, descriptor, { signal: context.signal });
        if (manifest.kind !== "index")
          throw new UsageError(`${args.location} is no index but ${descriptor.mediaType}`, {
            hint: "See stowage inspect.",
          });
        if (args.json) printJson(context, { descriptor: plainDescriptor(descriptor), manifests: manifest.manifests });
        else if (args.quiet)
          printLines(
            context,
            manifest.manifests.map(({ digest }) => digest),
          );
        else printLines(context, entryTable(manifest.manifests));
        return 0;
      },
    ),
});

export const indexCommand = defineGroup({
  command: "index",
  describe: "Make and change indexes: one image for many platforms",
  commands: [createCommand, mergeCommand, addCommand, removeCommand, listCommand],
});
