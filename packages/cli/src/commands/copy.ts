import { type CopyReport, copy, formatLocation, formatReference, type Location } from "@stowage/layout";
import { withTarget } from "@stowage/registry";
import { type Context, defineCommand, type ExitCode, UsageError } from "../command.js";
import {
  locationArgument,
  type OpenedRoot,
  openBoth,
  platformArgument,
  withRegistryOptions,
  withRoot,
} from "../locations.js";
import { besideArchive, count, formatSize, note, printJson, printLines } from "../output.js";
import { followCopy, startProgress } from "../progress.js";
import { referrersChoice, withReferrerOptions } from "../referrer-options.js";

export const copyCommand = defineCommand({
  command: ["copy <source> <target>", "cp", "push", "pull"],
  describe: "Copy an image with its referrers between registries, layouts and archives",
  examples: [
    ["$0 copy docker.io/library/alpine:3.20 oci:cache:alpine", "Pull an image, all platforms, into a layout"],
    ["$0 push oci:dist:v1 ghcr.io/acme/app:v1", "Push an image and what refers to it"],
  ],
  options: (yargs) =>
    withReferrerOptions(withRegistryOptions(yargs, "both"))
      .positional("source", { type: "string", demandOption: true, describe: "The LOCATION to copy from" })
      .positional("target", {
        type: "string",
        demandOption: true,
        describe: "The LOCATION to copy to; without a tag it gets the source's",
      })
      .option("platform", {
        type: "string",
        requiresArg: true,
        describe: "Copy the image for this platform only, as OS/ARCH[/VARIANT]",
      })
      .option("referrers", {
        choices: ["all", "none"] as const,
        describe: "Whether referrers go along [default: all; none for docker-archive]",
      })
      .option("concurrency", {
        type: "string",
        requiresArg: true,
        default: "4",
        describe: "How many blobs move at once",
      })
      .option("force-recursive", {
        type: "boolean",
        default: false,
        describe: "Check every blob also where the target has the manifest",
      }),
  run: (args, context) => {
    const open = openBoth(args, context.signal);
    const target = locationArgument(args.target);
    const concurrency = Number(args.concurrency);
    if (!Number.isInteger(concurrency) || concurrency < 1)
      throw new UsageError(`--concurrency ${args.concurrency} is no number of blobs`);
    const referrers = referrersChoice(args, defaultReferrers(target));
    return withRoot(args.source, { open: open.source, platform: platformArgument(args.platform) }, async (root) => {
      const progress = startProgress(context, "copying", args.quiet || args.json);
      const tag = tagFor(target, root);
      const report = await withTarget(target, open.target, (destination) =>
        copy(root.source, destination, root.descriptor, {
          signal: context.signal,
          tags: tag === undefined ? [] : [tag],
          referrers,
          concurrency,
          forceRecursive: args.forceRecursive,
          onEvent: followCopy(progress),
        }),
      ).finally(() => progress.stop());
      // Only now: an archive is complete when it is closed.
      return printReport(
        besideArchive(context, [target]),
        report,
        args,
        `${formatLocation(root.location)} -> ${formatLocation(withTag(target, tag))}`,
      );
    });
  },
});

/**
 * The tag the root gets: what the target names, or else what the source called it. A target named by digest gets none, and
 * so does one for Docker where the source has no full name: `v1` alone would become an image called v1.
 */
export function tagFor(target: Location, source: Pick<OpenedRoot, "location" | "tag"> | undefined): string | undefined {
  const { tag, digest } = target.kind === "registry" ? target.reference : target;
  if (tag !== undefined || digest !== undefined) return tag;
  if (target.kind !== "docker-archive" || source?.tag === undefined) return source?.tag;
  if (source.location.kind !== "registry") return /[:/]/.test(source.tag) ? source.tag : undefined;
  const { host, repository } = source.location.reference;
  return formatReference({ host, repository, tag: source.tag });
}

function withTag(location: Location, tag: string | undefined): Location {
  if (tag === undefined) return location;
  return location.kind === "registry"
    ? { ...location, reference: { ...location.reference, tag } }
    : { ...location, tag };
}

/** `docker load` has no place for them. */
function defaultReferrers(target: Location): "all" | "none" {
  return target.kind === "docker-archive" ? "none" : "all";
}

/** Prints what a copy did. The exit code is 3 where a referrer was lost on the way. */
export function printReport(
  context: Context,
  report: CopyReport,
  args: { json: boolean; quiet: boolean },
  title: string,
): ExitCode {
  for (const { path, error } of report.failures)
    note(context, `not copied: ${path.join(" > ")}: ${(error as Error).message}`);
  if (args.json) printJson(context, report);
  else if (args.quiet) printLines(context, [report.descriptor.digest]);
  else printLines(context, [title, ...reportLines(report)]);
  return report.failures.length > 0 ? 3 : 0;
}

/** The digest, and what moved. */
export function reportLines(report: CopyReport): string[] {
  const moved = [`${report.written} written`, `${report.present} present`];
  if (report.mounted > 0) moved.push(`${report.mounted} mounted`);
  if (report.linked > 0) moved.push(`${report.linked} linked`);
  const { found, copied } = report.referrers;
  const referrers = found === copied ? count(found, "referrer") : `${copied} of ${count(found, "referrer")}`;
  return [
    `  digest    ${report.descriptor.digest}`,
    `  content   ${moved.join(", ")}; ${formatSize(report.bytes)} moved`,
    `  referrers ${referrers}`,
  ];
}
