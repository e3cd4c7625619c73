import { createIndex, type IndexPart, type IndexReport, mergeIndexes } from "@stowage/image";
import type { Location, Target } from "@stowage/layout";
import { type Context, defineCommand, type ExitCode, UsageError } from "../command.js";
import { type ComposeArguments, withComposeOptions, withParts } from "../index-options.js";
import { printIndex, storeIndex, withTag } from "../index-report.js";
import { locationArgument, openOptions, pairsArgument } from "../locations.js";
import { tagFor } from "./copy.js";

export const createCommand = defineCommand({
  command: "create <parts..>",
  describe: "Make an index that lists images, artifacts or other indexes as they are",
  examples: [
    ["$0 index create oci:amd64:v1 oci:arm64:v1 -t oci:dist:v1", "One image for two platforms, in a third layout"],
    [
      "$0 index create ghcr.io/acme/app:v1-amd64 ghcr.io/acme/app:v1-arm64 -t ghcr.io/acme/app:v1",
      "In a registry, with nothing but the index sent",
    ],
  ],
  options: (yargs) => withComposeOptions(yargs),
  run: (args, context) => compose(args, context, createIndex),
});

export const mergeCommand = defineCommand({
  command: "merge <parts..>",
  describe: "Make one index of the images of several, whose attestations and referrers come along",
  examples: [
    ["$0 index merge oci:amd64 oci:arm64 oci:riscv64 -t oci:dist:v1", "The layouts of three jobs become one image"],
    ["$0 index merge oci:amd64:v1 oci:arm64:v1 --ref v1-all", "In the first layout, under another tag"],
  ],
  options: (yargs) => withComposeOptions(yargs),
  run: (args, context) => compose(args, context, mergeIndexes),
});

function compose(
  args: ComposeArguments,
  context: Context,
  verb: (
    target: Target,
    parts: readonly IndexPart[],
    options: Parameters<typeof createIndex>[2],
  ) => Promise<IndexReport>,
): Promise<ExitCode> {
  const texts = args.parts ?? [];
  const target = composeTarget(args, texts);
  const open = openOptions(args, context.signal);
  const tag = tagFor(target, undefined);
  return withParts(texts, open, undefined, async (parts) => {
    const report = await storeIndex(target, tag, open, context, args, (destination, options) =>
      verb(destination, parts, {
        ...options,
        annotations: pairsArgument("annotation", args.annotation),
        descriptorAnnotations: pairsArgument("descriptor-annotation", args.descriptorAnnotation),
        artifactType: args.artifactType,
      }),
    );
    return printIndex(context, report, args, target, tag);
  });
}

function composeTarget(args: ComposeArguments, [first]: readonly string[]): Location {
  if (args.target !== undefined) return locationArgument(args.target);
  if (args.ref === undefined || first === undefined)
    throw new UsageError("Say where the index goes: --target or --ref.");
  return withTag(locationArgument(first), args.ref);
}
