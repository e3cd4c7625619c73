import { type ConvertReport, convertAttestations, formatLocation } from "@stowage/layout";
import { withTarget } from "@stowage/registry";
import { newDigestLines, printChange } from "../change-report.js";
import { defineCommand } from "../command.js";
import { locationArgument, openOptions, withRegistryOptions, withRoot } from "../locations.js";
import { count } from "../output.js";
import { followCopy, startProgress } from "../progress.js";
import { referrerFilter, withReferrerOptions } from "../referrer-options.js";
import { reportLines, tagFor } from "./copy.js";

export const convertCommand = defineCommand({
  command: "convert <location>",
  describe: "Copy an image and turn its BuildKit attestations into referrers",
  examples: [
    ["$0 convert oci:dist:v1 -t oci:dist:v1-referrers --attestations referrers", "In a layout, under another tag"],
    [
      "$0 convert docker.io/moby/buildkit:latest -t oci:cache:buildkit --attestations referrers",
      "On the way from a registry into a layout",
    ],
  ],
  options: (yargs) =>
    withReferrerOptions(withRegistryOptions(yargs, "one"))
      .positional("location", { type: "string", demandOption: true, describe: "The LOCATION of the image" })
      .option("target", {
        alias: "t",
        type: "string",
        requiresArg: true,
        demandOption: true,
        describe: "The LOCATION of the result; without a tag it gets the source's",
      })
      .option("attestations", {
        choices: ["referrers"] as const,
        demandOption: true,
        describe: "What the attestations become. The digests of images stay, that of the index changes",
      }),
  run: (args, context) => {
    const open = openOptions(args, context.signal);
    const target = locationArgument(args.target);
    const referrers = referrerFilter(args) ?? "all";
    return withRoot(args.location, { open, referrersFrom: args.referrersFrom }, async (root) => {
      const progress = startProgress(context, "converting", args.quiet || args.json);
      const tag = tagFor(target, root);
      const report = await withTarget(target, open, (destination) =>
        convertAttestations(root.source, destination, root.descriptor, {
          signal: context.signal,
          referrers,
          tags: tag === undefined ? [] : [tag],
          onEvent: followCopy(progress),
        }),
      ).finally(() => progress.stop());
      const left = report.left.length;
      return printChange(context, report, args, {
        target,
        notes: [
          ...(left === 0
            ? []
            : [`${count(left, "referrer")} of ${report.before.digest} refer to that and not to the result`]),
          ...report.kept.map(({ digest }) => `${digest} stays in the index: what it attests is not beside it`),
        ],
        lines: [`${formatLocation(root.location)} -> ${formatLocation(target)}`, ...convertLines(report)],
      });
    });
  },
});

function convertLines(report: ConvertReport): string[] {
  const { before, descriptor, converted } = report;
  const digests = newDigestLines(" of the index", before, descriptor);
  return [
    ...(digests.length === 0 ? ["  nothing to convert; the digest stays"] : digests),
    ...converted.map(({ subject, descriptor: referrer }) => `  ${referrer.digest} now refers to ${subject.digest}`),
    ...reportLines(report.copy),
  ];
}
