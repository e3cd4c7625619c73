import {
  type CopyReport,
  formatLocation,
  isOciError,
  type Location,
  type RegistryLocation,
  type TagChange,
} from "@stowage/layout";
import {
  type PublishedReference,
  type PublishOptions,
  publish,
  withPlannedTarget,
  withTarget,
} from "@stowage/registry";
import { defineCommand, UsageError } from "../command.js";
import {
  checkTargetCredentials,
  elsewhereArgument,
  locationArgument,
  openBoth,
  withRegistryOptions,
  withRoot,
} from "../locations.js";
import { note, printJson, printLines } from "../output.js";
import { followCopy, startProgress } from "../progress.js";
import { referrersChoice, withReferrerOptions, withReferrersTarget } from "../referrer-options.js";
import { transferOptions, uploadOptions, withTransferOptions } from "../transfer-options.js";
import { reportLines } from "./copy.js";

export const publishCommand = defineCommand({
  command: "publish <source> <references..>",
  describe: "Publish an image with its referrers to one or more references",
  examples: [
    ["$0 publish oci:dist:v1 ghcr.io/acme/app:v1 ghcr.io/acme/app:latest", "Two tags in one repository"],
    [
      "$0 publish oci:dist:v1 ghcr.io/acme/app:v1 docker.io/acme/app:v1",
      "Two registries; one that fails does not stop the other",
    ],
  ],
  options: (yargs) =>
    withReferrersTarget(withReferrerOptions(withTransferOptions(withRegistryOptions(yargs, "both"))))
      .positional("source", {
        type: "string",
        demandOption: true,
        describe: "The LOCATION of the image, usually oci:DIR:TAG",
      })
      .positional("references", {
        type: "string",
        array: true,
        demandOption: true,
        describe: "HOST/REPO[:TAG] to publish to",
      })
      .option("referrers", {
        choices: ["all", "none"] as const,
        default: "all" as const,
        describe: "Whether referrers go along",
      }),
  run: (args, context) => {
    const open = openBoth(args, context.signal, { upload: uploadOptions(args) });
    const targets = args.references.map(locationArgument);
    const references = targets.map(registryArgument);
    checkTargetCredentials(args, targets);
    const referrers = referrersChoice(args, "all");
    const elsewhere = args.referrersTo === undefined ? undefined : elsewhereArgument("referrers-to", args.referrersTo);
    if (elsewhere !== undefined) checkTargetCredentials(args, [...targets, elsewhere]);
    return withRoot(
      args.source,
      { open: open.source, referrersFrom: args.referrersFrom },
      async ({ source, descriptor }) => {
        const progress = startProgress(context, "publishing", args.quiet || args.json);
        const options: PublishOptions = {
          ...open.target,
          ...transferOptions(args, source, open.source.client),
          referrers,
          dryRun: args.dryRun,
          onEvent: followCopy(progress),
        };
        const opened = args.dryRun ? withPlannedTarget : withTarget;
        const report = await (elsewhere === undefined
          ? publish(source, descriptor, references, options)
          : opened(elsewhere, open.target, (referrersTarget) =>
              publish(source, descriptor, references, { ...options, referrersTarget }),
            )
        ).finally(() => progress.stop());
        for (const { reference, error, report: copied } of report.targets) {
          if (error !== undefined) {
            note(context, `not published: ${reference}: ${(error as Error).message}`);
            if (isOciError(error) && error.hint !== undefined) context.err.write(`  ${error.hint}\n`);
          }
          for (const failure of copied?.failures ?? [])
            note(
              context,
              `not published: ${reference}: ${failure.path.join(" > ")}: ${(failure.error as Error).message}`,
            );
        }
        const done = report.targets.filter(({ error }) => error === undefined);
        if (args.json) printJson(context, report);
        else if (args.quiet) printLines(context, done.length > 0 ? [descriptor.digest] : []);
        else printLines(context, publishedLines(done, args.dryRun));
        if (done.length === 0) return 1;
        return done.length < references.length || done.some(({ report: copied }) => (copied?.failures.length ?? 0) > 0)
          ? 3
          : 0;
      },
    );
  },
});

/** The references of one repository together, with what was copied to it once. */
function publishedLines(published: readonly PublishedReference[], dryRun: boolean): string[] {
  const copies = new Map<string, { references: string[]; report: CopyReport; tagged: TagChange[] }>();
  for (const { reference, report } of published) {
    if (report === undefined) continue;
    const copied = copies.get(report.target) ?? { references: [], report, tagged: [] };
    copied.references.push(`${dryRun ? "would publish" : "published"} ${reference}`);
    copied.tagged.push(...report.tagged.filter(({ tag }) => report.tags.includes(tag)));
    copies.set(report.target, copied);
  }
  return [...copies.values()].flatMap(({ references, report, tagged }) => [
    ...references,
    ...reportLines({ ...report, tagged }, dryRun),
  ]);
}

function registryArgument(location: Location): RegistryLocation["reference"] {
  if (location.kind === "registry") return location.reference;
  throw new UsageError(`cannot publish to ${formatLocation(location)}: it is no registry`, {
    hint: "Use stowage copy for layouts and archives.",
  });
}
