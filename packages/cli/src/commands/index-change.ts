import { addToIndex, type IndexPart, type IndexReport, removeFromIndex, whileOthersChange } from "@stowage/image";
import { type CopyOptions, type Digest, isDigest, type Platform, type Target } from "@stowage/layout";
import { type OpenOptions, withSource } from "@stowage/registry";
import { type Context, defineCommand, type ExitCode, UsageError } from "../command.js";
import { descriptorAnnotationOption, type IndexArguments, withIndexOptions, withParts } from "../index-options.js";
import { printIndex, storeIndex } from "../index-report.js";
import { locationArgument, openOptions, pairsArgument, platformArgument, resolveRoot } from "../locations.js";
import { tagFor } from "./copy.js";

export const addCommand = defineCommand({
  command: "add <location> <parts..>",
  describe: "Add images to an index; its tag moves to the new index",
  examples: [
    ["$0 index add oci:dist:v1 oci:riscv64:v1", "One more platform"],
    ["$0 index add oci:dist:v1 oci:fix:v1 --replace -t oci:dist:v1.1", "Another image for a platform, under a new tag"],
  ],
  options: (yargs) =>
    withIndexOptions(yargs)
      .positional("location", { type: "string", demandOption: true, describe: "The LOCATION of the index" })
      .positional("parts", {
        type: "string",
        array: true,
        demandOption: true,
        describe: "The LOCATIONs of what to add",
      })
      .option("platform", {
        type: "string",
        requiresArg: true,
        describe: "The platform of the one image that is added, whatever its config says",
      })
      .option("descriptor-annotation", descriptorAnnotationOption)
      .option("replace", {
        type: "boolean",
        default: false,
        describe: "Take the place of what the index has for the same platform",
      }),
  run: (args, context) => {
    const open = openOptions(args, context.signal);
    const platform = platformArgument(args.platform);
    if (platform !== undefined && args.parts.length > 1)
      throw new UsageError("--platform says what one image is for, and several are added");
    return withParts(args.parts, open, platform, (parts) =>
      change({ ...args, repeatable: true }, open, context, (target, index, options) =>
        addToIndex(target, index, parts, {
          ...options,
          annotations: pairsArgument("annotation", args.annotation),
          descriptorAnnotations: pairsArgument("descriptor-annotation", args.descriptorAnnotation),
          replace: args.replace,
        }),
      ),
    );
  },
});

export const removeCommand = defineCommand({
  command: "remove <location> <entries..>",
  describe: "Remove images from an index; its tag moves to the new index",
  examples: [
    ["$0 index remove oci:dist:v1 linux/386", "The image for a platform, with its attestations"],
    ["$0 index remove oci:dist:v1 linux/386 -t oci:dist:v1-small", "Under a new tag, and the old one stays"],
  ],
  options: (yargs) =>
    withIndexOptions(yargs)
      .positional("location", { type: "string", demandOption: true, describe: "The LOCATION of the index" })
      .positional("entries", {
        type: "string",
        array: true,
        demandOption: true,
        describe: "Platforms or digests of what to remove",
      }),
  run: (args, context) => {
    const selectors = args.entries.map((text): Digest | Platform =>
      isDigest(text) ? text : (platformArgument(text) as Platform),
    );
    return change(args, openOptions(args, context.signal), context, (target, index, options) =>
      removeFromIndex(target, index, selectors, {
        ...options,
        annotations: pairsArgument("annotation", args.annotation),
      }),
    );
  },
});

/** Changes the index at `args.location`: in place, or at the target. In place nothing is lost that others change meanwhile. */
async function change(
  args: IndexArguments & { readonly location: string; readonly repeatable?: boolean },
  open: OpenOptions,
  context: Context,
  verb: (target: Target, index: IndexPart, options: CopyOptions) => Promise<IndexReport>,
): Promise<ExitCode> {
  const location = locationArgument(args.location);
  return withSource(location, open, async (source) => {
    const resolve = () => resolveRoot(source, location, open);
    const root = await resolve();
    const target = args.target === undefined ? location : locationArgument(args.target);
    const tag = tagFor(target, { location, tag: root.tag });
    if (args.target === undefined && tag === undefined)
      throw new UsageError(`${args.location} names no tag that could move to the new index`, {
        hint: "Name the tag, or where the new index goes: --target.",
      });
    const work = (
      descriptor: IndexPart["descriptor"],
      condition: Pick<CopyOptions, "expected">,
    ): Promise<IndexReport> =>
      storeIndex(target, tag, open, context, args, (destination, options) =>
        verb(destination, { source, descriptor, name: args.location }, { ...options, ...condition }),
      );
    const recheck = location.kind === "registry" && args.repeatable === true;
    const report =
      args.target === undefined
        ? await whileOthersChange(
            async () => (await resolve()).descriptor,
            (descriptor) => work(descriptor, { expected: descriptor.digest }),
            recheck,
          )
        : await work(root.descriptor, {});
    return printIndex(context, report, args, target, tag);
  });
}
