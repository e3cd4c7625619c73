import { type BaseCheck, checkBase, recordedBase } from "@stowage/image";
import { formatLocation } from "@stowage/layout";
import { withSource } from "@stowage/registry";
import { defineCommand, type ExitCode, UsageError } from "../command.js";
import {
  locationArgument,
  openOptions,
  platformArgument,
  resolveRoot,
  withRegistryOptions,
  withRoot,
} from "../locations.js";
import { printJson, printLines } from "../output.js";

export const checkBaseCommand = defineCommand({
  command: "check-base <location>",
  describe: "Say whether an image is built on the newest of its base; ends with 3 where it is not",
  examples: [
    ["$0 check-base oci:dist:v1", "The base is the one that the annotations of the image name"],
    ["$0 check-base oci:dist:v1 --base oci:bases:debian", "The base is looked up elsewhere"],
  ],
  options: (yargs) =>
    withRegistryOptions(yargs)
      .positional("location", { type: "string", demandOption: true, describe: "The LOCATION of the image" })
      .option("base", {
        type: "string",
        requiresArg: true,
        describe: "The LOCATION of the base; default: what org.opencontainers.image.base.name says",
      })
      .option("platform", {
        type: "string",
        requiresArg: true,
        describe: "The image for this platform inside an index; default: Linux on this processor",
      }),
  run: (args, context) => {
    const open = openOptions(args, context.signal);
    const platform = platformArgument(args.platform);
    return withRoot(args.location, { open }, async ({ source, descriptor }): Promise<ExitCode> => {
      const recorded = await recordedBase(source, descriptor, { platform, signal: context.signal });
      const name = args.base ?? recorded.name;
      if (name === undefined)
        throw new UsageError(`${args.location} does not name its base`, { hint: "Name it with --base LOCATION." });
      const location = locationArgument(name);
      const check = await withSource(location, open, async (from) => {
        const { descriptor: reference } = await resolveRoot(from, location, open);
        return checkBase(recorded, { source: from, reference, name: formatLocation(location) }, open);
      });
      if (args.json) printJson(context, check);
      else if (!args.quiet) printLines(context, checkLines(check));
      return check.isNewer || check.hasRecordedLayers === false ? 3 : 0;
    });
  },
});

function checkLines(check: BaseCheck): string[] {
  const { base, recorded, current, isNewer, hasCurrentLayers, hasRecordedLayers } = check;
  const lines = [isNewer ? `there is a newer ${base}` : `built on the newest ${base}`];
  if (recorded !== undefined) lines.push(`  built on ${recorded}`);
  lines.push(`  newest   ${current.digest}`);
  if (hasRecordedLayers === false) lines.push("  its layers are not those of the base it names");
  if (hasRecordedLayers === undefined && recorded !== undefined && isNewer)
    lines.push("  the base it names is not to be had any more");
  if (isNewer && hasCurrentLayers) lines.push("  the newest has the same layers");
  return lines;
}
