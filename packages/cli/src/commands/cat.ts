import { once } from "node:events";
import { cat } from "@stowage/image";
import { defineCommand, type ExitCode } from "../command.js";
import { openOptions, withRegistryOptions, withRoot } from "../locations.js";
import { lookArguments, withLimitOptions } from "../unpack-options.js";

export const catCommand = defineCommand({
  command: "cat <location> <path>",
  describe: "Print the content of a file of an image",
  examples: [
    ["$0 cat oci:dist:v1 /etc/os-release", "A file of an image in a layout"],
    ["$0 cat alpine:3.20 /etc/passwd --platform linux/arm64", "Of the image for one platform"],
  ],
  options: (yargs) =>
    withLimitOptions(withRegistryOptions(yargs))
      .positional("location", { type: "string", demandOption: true, describe: "The LOCATION of the image" })
      .positional("path", {
        type: "string",
        demandOption: true,
        describe: "The file; links are followed inside of the image",
      })
      .option("platform", {
        type: "string",
        requiresArg: true,
        describe: "The image for this platform inside an index; default: Linux on this processor",
      }),
  run: (args, context) => {
    const open = openOptions(args, context.signal);
    const options = lookArguments(args, context.signal);
    return withRoot(args.location, { open }, async ({ source, descriptor }): Promise<ExitCode> => {
      for await (const chunk of cat(source, descriptor, args.path, options))
        if (!context.out.write(chunk)) await once(context.out, "drain", { signal: context.signal });
      return 0;
    });
  },
});
