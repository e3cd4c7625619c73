import { type ConvertReport, convertAttestations, formatLocation } from "@stowage/layout";
import { withTarget } from "@stowage/registry";
import { defineCommand } from "../command.js";
import { locationArgument, openOptions, withRegistryOptions, withRoot } from "../locations.js";
import { besideArchive, count, note, printJson, printLines } from "../output.js";
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
      for (const { path, error } of report.copy.failures)
        note(context, `not copied: ${path.join(" > ")}: ${(error as Error).message}`);
      if (report.left.length > 0)
        note(
          context,
          `${count(report.left.length, "referrer")} of ${report.before.digest} refer to that and not to the result`,
        );
      for (const { digest } of report.kept)
        note(context, `${digest} stays in the index: what it attests is not beside it`);
      const beside = besideArchive(context, [target]);
      if (args.json) printJson(beside, report);
      else if (args.quiet) printLines(beside, [report.descriptor.digest]);
      else
        printLines(beside, [`${formatLocation(root.location)} -> ${formatLocation(target)}`, ...convertLines(report)]);
      return report.copy.failures.length > 0 ? 3 : 0;
    });
  },
});

function convertLines(report: ConvertReport): string[] {
  const { before, descriptor, converted } = report;
  const digests =
    before.digest === descriptor.digest
      ? ["  nothing to convert; the digest stays"]
      : ["  NEW DIGEST of the index:", `    was ${before.digest}`, `    is  ${descriptor.digest}`];
  return [
    ...digests,
    ...converted.map(({ subject, descriptor: referrer }) => `  ${referrer.digest} now refers to ${subject.digest}`),
    ...reportLines(report.copy),
  ];
}
