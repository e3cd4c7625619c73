import {
  type AnnotateDisjointOptions,
  annotateDisjoint,
  collectStore,
  type DerivedImage,
  type DisjointReport,
  deriveImage,
  formatViolation,
  type StoreReport,
  verifyDisjoint,
} from "@stowage/image";
import { formatLocation, formatPlatform } from "@stowage/layout";
import { storePathProfile } from "@stowage/nix";
import { withTarget } from "@stowage/registry";
import { printChange } from "../change-report.js";
import { type Context, defineCommand, defineGroup } from "../command.js";
import {
  locationArgument,
  type OpenedRoot,
  openOptions,
  platformArgument,
  withRegistryOptions,
  withRoot,
} from "../locations.js";
import { mutationLines, mutationNotes } from "../mutation-report.js";
import { count, note, printJson, printLines, warnOfSize } from "../output.js";
import { followCopy, startProgress } from "../progress.js";
import { durationArgument } from "../quantities.js";
import { limitArguments, withLimitOptions } from "../unpack-options.js";
import { tagFor } from "./copy.js";

const annotateCommand = defineCommand({
  command: "annotate <location> [target]",
  describe: "Let the layers of an image declare the paths that each alone has, where that can be proved",
  examples: [
    ["$0 disjoint annotate oci:dist:v1", "In a layout; the tag moves to the new manifest"],
    [
      "$0 disjoint annotate ghcr.io/acme/app:v1 ghcr.io/acme/app:v1-disjoint --below /nix/store --readonly",
      "In a registry, under another tag; each store path is owned by itself",
    ],
    ["$0 disjoint annotate alpine:3.20 --dry-run", "See what each layer could declare, or why it cannot"],
  ],
  options: (yargs) =>
    withLimitOptions(withRegistryOptions(yargs))
      .positional("location", { type: "string", demandOption: true, describe: "The LOCATION of the image" })
      .positional("target", {
        type: "string",
        describe: "The LOCATION of the result; default: the same, where the tag moves",
      })
      .option("platform", {
        type: "string",
        requiresArg: true,
        describe: "Only the image for OS/ARCH[/VARIANT] of an index; default: all of them",
      })
      .option("below", {
        type: "string",
        array: true,
        requiresArg: true,
        describe: "Own what is in this directory one by one, never the directory as a whole: /nix/store",
      })
      .option("readonly", {
        type: "boolean",
        describe: "Say that nobody is to change what is there; a runtime may then mount it so",
      })
      .option("dry-run", {
        type: "boolean",
        default: false,
        describe: "Show what would be declared, and write nothing",
      }),
  run: (args, context) => {
    const open = openOptions(args, context.signal);
    const options = {
      ...limitArguments(args),
      signal: context.signal,
      platform: platformArgument(args.platform),
      below: args.below,
      readonly: args.readonly,
    };
    return withRoot(args.location, { open }, async (root) => {
      if (args.dryRun) return dryRun(context, root, options, args);
      const target = args.target === undefined ? root.location : locationArgument(args.target);
      const tag = tagFor(target, root);
      const progress = startProgress(context, "annotating", args.quiet || args.json);
      const report = await withTarget(target, open, (destination) =>
        annotateDisjoint(root.source, destination, root.descriptor, {
          ...options,
          tags: tag === undefined ? [] : [tag],
          onEvent: followCopy(progress),
        }),
      ).finally(() => progress.stop());
      for (const { descriptor } of report.images) warnOfSize(context, descriptor);
      const code = printChange(context, report, args, {
        target,
        notes: mutationNotes(report),
        lines: [
          `${formatLocation(root.location)} -> ${formatLocation(target)}`,
          ...report.derived.flatMap(derivedLines),
          ...mutationLines(report),
        ],
      });
      return report.derived.some(hasDeclared) ? code : 1;
    });
  },
});

const verifyCommand = defineCommand({
  command: "verify <location>",
  describe: "Prove that the layers of an image keep to what they declare, or list all they do not",
  examples: [
    ["$0 disjoint verify oci:dist:v1", "An image in a layout"],
    ["$0 disjoint verify ghcr.io/acme/app:v1 --platform linux/arm64 --json", "From a registry, for a program"],
  ],
  options: (yargs) =>
    withLimitOptions(withRegistryOptions(yargs, "one"))
      .positional("location", { type: "string", demandOption: true, describe: "The LOCATION of the image" })
      .option("platform", {
        type: "string",
        requiresArg: true,
        describe: "The image for this platform inside an index; default: Linux on this processor",
      }),
  run: async (args, context) => {
    const open = openOptions(args, context.signal);
    const progress = startProgress(context, "verifying", args.quiet || args.json);
    const options = {
      ...limitArguments(args),
      signal: context.signal,
      platform: platformArgument(args.platform),
      profiles: [storePathProfile()],
      onBytes: (bytes: number): void => {
        progress.expect(bytes);
        progress.advance(bytes);
      },
    };
    const report = await withRoot(args.location, { open }, ({ source, descriptor }) =>
      verifyDisjoint(source, descriptor, options),
    ).finally(() => progress.stop());
    if (args.json) printJson(context, report);
    else printLines(context, verifiedLines(report, args.quiet));
    if (report.disjoint === 0)
      note(context, "no layer declares what it owns; stowage disjoint annotate finds out what could be declared");
    return report.violations.length === 0 && report.disjoint > 0 ? 0 : 1;
  },
});

const gcCommand = defineCommand({
  command: "gc <store>",
  describe: "Remove from a store of `unpack --disjoint` the layers that no image used for a while",
  examples: [
    ["$0 disjoint gc /var/lib/layers --unused-for 7d", "Keep what was used within a week"],
    ["$0 disjoint gc /var/lib/layers --dry-run", "See what would go"],
  ],
  options: (yargs) =>
    yargs
      .positional("store", { type: "string", demandOption: true, describe: "The directory of the store" })
      .option("unused-for", {
        type: "string",
        requiresArg: true,
        default: "30d",
        describe: "Remove layers that were last used longer than this ago",
      })
      .option("dry-run", {
        type: "boolean",
        default: false,
        describe: "Show what would be removed, and remove nothing",
      }),
  run: async (args, context) => {
    const report = await collectStore(args.store, {
      unusedFor: durationArgument("unused-for", args.unusedFor),
      dryRun: args.dryRun,
      signal: context.signal,
    });
    if (args.json) printJson(context, report);
    else printLines(context, collectedLines(report, args.quiet));
    return 0;
  },
});

export const disjointCommand = defineGroup({
  command: "disjoint",
  describe: "Layers that own their paths: declare that, prove it, and keep what was extracted",
  commands: [annotateCommand, verifyCommand, gcCommand],
});

interface OutputArguments {
  readonly json: boolean;
  readonly quiet: boolean;
}

async function dryRun(
  context: Context,
  { source, descriptor }: OpenedRoot,
  options: AnnotateDisjointOptions,
  args: OutputArguments,
): Promise<0 | 1> {
  const derived = await deriveImage(source, descriptor, options);
  if (args.json) printJson(context, { derived: [derived], dryRun: true });
  else if (!args.quiet) printLines(context, derivedLines(derived));
  return hasDeclared(derived) ? 0 : 1;
}

function hasDeclared({ layers }: DerivedImage): boolean {
  return layers.some(({ paths }) => paths !== undefined);
}

function derivedLines({ platform, layers, conflicts, more }: DerivedImage): string[] {
  const owning = layers.filter(({ paths }) => paths !== undefined).length;
  return [
    `${formatPlatform(platform)}: ${owning} of ${count(layers.length, "layer")} can declare what they own`,
    ...layers.map(({ layer, paths, reason }) => {
      const said = paths === undefined ? `stays ordinary: ${reason}` : pathsLine(paths);
      return `  layer ${layer.number} ${layer.digest}: ${said}`;
    }),
    ...conflicts.map(
      ({ path, problem, layers: [one, other] }) => `  ${path} in layers ${one.number} and ${other.number}: ${problem}`,
    ),
    ...(more === 0 ? [] : [`  and ${count(more, "more conflict")}`]),
  ];
}

function pathsLine(paths: readonly string[]): string {
  if (paths.length === 0) return "owns nothing, and has nothing";
  return `owns ${paths.slice(0, 3).join(" ")}${paths.length > 3 ? ` and ${paths.length - 3} more` : ""}`;
}

function verifiedLines({ layers, disjoint, violations, more }: DisjointReport, quiet: boolean): string[] {
  const lines = violations.map(formatViolation);
  if (more > 0) lines.push(`and ${count(more, "more violation")}`);
  if (quiet) return lines;
  const verdict =
    violations.length > 0
      ? `${count(violations.length + more, "violation")}`
      : disjoint === 0
        ? "nothing is declared"
        : "ok: any order gives the same files";
  return [...lines, `${verdict} (${disjoint} of ${count(layers.length, "layer")} disjoint)`];
}

function collectedLines({ removed, kept, leftovers, dryRun }: StoreReport, quiet: boolean): string[] {
  if (quiet) return [...removed];
  const verb = dryRun ? "would remove" : "removed";
  return [
    ...removed.map((diffId) => `${verb} ${diffId}`),
    `${verb} ${count(removed.length, "layer")} and ${count(leftovers, "leftover")}; ${kept} stay`,
  ];
}
