import { formatLocation, OciError } from "@stowage/layout";
import { withTarget } from "@stowage/registry";
import { defineCommand, UsageError } from "../command.js";
import { locationArgument, openOptions, resolveRoot, withRegistryOptions } from "../locations.js";
import { printJson, printLines } from "../output.js";

export const tagCommand = defineCommand({
  command: "tag <location> <tags..>",
  describe: "Give an image more tags where it is",
  examples: [
    ["$0 tag oci:dist:v1 latest stable", "Two more names in a layout"],
    [
      "$0 tag ghcr.io/acme/app@sha256:7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730 v1",
      "Tag a digest in a registry",
    ],
  ],
  options: (yargs) =>
    withRegistryOptions(yargs, "one")
      .positional("location", { type: "string", demandOption: true, describe: "The LOCATION of the image" })
      .positional("tags", { type: "string", array: true, demandOption: true, describe: "The tags" }),
  run: async (args, context) => {
    const open = openOptions(args, context.signal);
    const location = locationArgument(args.location);
    const descriptor = await withTarget(location, { ...open, mustExist: true }, async (target) => {
      const root = await resolveRoot(target, location, open);
      for (const tag of args.tags) await target.tag(tag, root.descriptor, open);
      return root.descriptor;
    });
    if (args.json) printJson(context, { descriptor, tags: args.tags });
    else if (args.quiet) printLines(context, [descriptor.digest]);
    else
      printLines(
        context,
        args.tags.map((tag) => `${tag} -> ${descriptor.digest}`),
      );
    return 0;
  },
});

export const untagCommand = defineCommand({
  command: "untag <location>",
  describe: "Remove a tag; the content stays",
  examples: [
    ["$0 untag oci:dist:old", "Remove a tag from a layout"],
    ["$0 untag localhost:5000/app:old", "Remove a tag from a registry that allows it"],
  ],
  options: (yargs) =>
    withRegistryOptions(yargs, "one").positional("location", {
      type: "string",
      demandOption: true,
      describe: "The LOCATION with the tag",
    }),
  run: async (args, context) => {
    const open = openOptions(args, context.signal);
    const location = locationArgument(args.location);
    const tag = location.kind === "registry" ? location.reference.tag : location.tag;
    if (tag === undefined) throw new UsageError(`${formatLocation(location)} names no tag`);
    await withTarget(location, { ...open, mustExist: true }, async (target) => {
      if (!("untag" in target)) throw new OciError("UNSUPPORTED", `${target.name} cannot remove a tag`);
      await (target.untag as (tag: string, options: typeof open) => Promise<void>)(tag, open);
    });
    if (args.json) printJson(context, { untagged: tag });
    else if (!args.quiet) printLines(context, [`${tag} removed from ${formatLocation(location)}`]);
    return 0;
  },
});
