import {
  type CopyOptions,
  type CopyReport,
  copy,
  copyReferrersTo,
  type Descriptor,
  formatLocation,
  formatPlatform,
  formatReference,
  isAttestation,
  type LeftOut,
  type Location,
  plan,
  type TagChange,
  totalSize,
} from "@stowage/layout";
import { withPlannedTarget, withTarget } from "@stowage/registry";
import { withBaseArguments, withBaseOptions } from "../base-options.js";
import { type Context, defineCommand, type ExitCode, UsageError } from "../command.js";
import {
  checkTargetCredentials,
  elsewhereArgument,
  locationArgument,
  type OpenedRoot,
  openBoth,
  platformsArgument,
  withRegistryOptions,
  withRoot,
} from "../locations.js";
import { besideArchive, count, formatSize, note, printJson, printLines, warnOfSize } from "../output.js";
import { followCopy, startProgress } from "../progress.js";
import { referrersChoice, withReferrerOptions, withReferrersTarget } from "../referrer-options.js";
import { transferOptions, uploadOptions, withTransferOptions } from "../transfer-options.js";

export const copyCommand = defineCommand({
  command: ["copy <source> <target>", "cp", "push", "pull"],
  describe: "Copy an image with its referrers between registries, layouts and archives",
  examples: [
    ["$0 copy docker.io/library/alpine:3.20 oci:cache:alpine", "Pull an image, all platforms, into a layout"],
    ["$0 push oci:dist:v1 ghcr.io/acme/app:v1", "Push an image and what refers to it"],
    [
      "$0 copy --platform linux/amd64,linux/arm64 alpine oci:cache:alpine",
      "Pull two platforms, with an index of these two",
    ],
  ],
  options: (yargs) =>
    withBaseOptions(withReferrersTarget(withReferrerOptions(withTransferOptions(withRegistryOptions(yargs, "both")))))
      .positional("source", { type: "string", demandOption: true, describe: "The LOCATION to copy from" })
      .positional("target", {
        type: "string",
        demandOption: true,
        describe: "The LOCATION to copy to; without a tag it gets the source's",
      })
      .option("platform", {
        type: "string",
        requiresArg: true,
        describe: "Copy these platforms only, as OS/ARCH[/VARIANT][,...]; of one the image without its index",
      })
      .option("index", {
        choices: ["keep", "filter"] as const,
        describe:
          "With --platform: keep the index, with its digest and holes in it, or make a new one [default: filter for several]",
      })
      .option("referrers", {
        choices: ["all", "none"] as const,
        describe: "Whether referrers go along [default: all; none for docker-archive]",
      }),
  run: (args, context) => {
    const open = openBoth(args, context.signal, { upload: uploadOptions(args) });
    const target = locationArgument(args.target);
    const platforms = platformsArgument(args.platform);
    if (args.index !== undefined && platforms.length === 0)
      throw new UsageError("--index says what becomes of the index when --platform chooses from it; there is none");
    const elsewhere = args.referrersTo === undefined ? undefined : elsewhereArgument("referrers-to", args.referrersTo);
    if (args.since !== undefined && target.kind === "docker-archive")
      throw new UsageError("--since leaves holes, with which docker load takes nothing; write an oci-archive:");
    checkTargetCredentials(args, elsewhere === undefined ? [target] : [target, elsewhere]);
    const referrers = referrersChoice(args, elsewhere === undefined ? defaultReferrers(target) : "all");
    const opening = { open: open.source, referrersFrom: args.referrersFrom };
    const run = async (root: OpenedRoot, bases: Pick<CopyOptions, "since" | "have">): Promise<ExitCode> => {
      const options: CopyOptions = {
        ...bases,
        ...transferOptions(args, root.source, open.source.client),
        signal: context.signal,
        platforms,
        index: args.index,
        referrers,
      };
      const tag = tagFor(target, root);
      const tags = tag === undefined ? [] : [tag];
      const title = `${formatLocation(root.location)} -> ${formatLocation(withTag(target, tag))}`;
      if (args.dryRun) {
        const planned = await withPlannedTarget(target, open.target, (destination) =>
          elsewhere === undefined
            ? plan(root.source, destination, root.descriptor, { ...options, tags })
            : withPlannedTarget(elsewhere, open.target, (other) =>
                copyReferrersTo(root.source, destination, other, root.descriptor, { ...options, tags, dryRun: true }),
              ),
        );
        return printReport(context, planned, args, `dry run: ${title}`);
      }
      if (target.kind === "registry") warnOfSize(context, root.descriptor);
      const progress = startProgress(context, "copying", args.quiet || args.json);
      const rest = { ...options, tags, onEvent: followCopy(progress) };
      const report = await withTarget(target, open.target, (destination) =>
        elsewhere === undefined
          ? copy(root.source, destination, root.descriptor, rest)
          : withTarget(elsewhere, open.target, (other) =>
              copyReferrersTo(root.source, destination, other, root.descriptor, rest),
            ),
      ).finally(() => progress.stop());
      // Only now: an archive is complete when it is closed.
      return printReport(besideArchive(context, [target]), report, args, title);
    };
    return withBaseArguments(args, open.source, (bases) => withRoot(args.source, opening, (root) => run(root, bases)));
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

/** Prints what a copy did or, where nothing was done, would do. The exit code is 3 where a referrer was lost on the way. */
export function printReport(
  context: Context,
  report: CopyReport,
  args: { json: boolean; quiet: boolean; dryRun?: boolean },
  title: string,
): ExitCode {
  for (const { path, error } of report.failures)
    note(context, `not copied: ${path.join(" > ")}: ${(error as Error).message}`);
  if (args.json) printJson(context, report);
  else if (args.quiet) printLines(context, [report.descriptor.digest]);
  else printLines(context, [title, ...reportLines(report, args.dryRun)]);
  return report.failures.length > 0 ? 3 : 0;
}

/** The digest, and what moved or, where nothing was done, would move. */
export function reportLines(report: CopyReport, dryRun = false): string[] {
  const [written, mounted, linked] = dryRun ? ["to write", "to mount", "to link"] : ["written", "mounted", "linked"];
  const moved = [`${report.written} ${written}`, `${report.present} present`];
  if (report.mounted > 0) moved.push(`${report.mounted} ${mounted}`);
  if (report.linked > 0) moved.push(`${report.linked} ${linked}`);
  const { found, copied } = report.referrers;
  const referrers = found === copied ? count(found, "referrer") : `${copied} of ${count(found, "referrer")}`;
  return [
    `  digest    ${report.descriptor.digest}`,
    `  content   ${moved.join(", ")}; ${formatSize(report.bytes)} ${dryRun ? "to move" : "moved"}`,
    `  referrers ${referrers}`,
    ...baseLines(report),
    ...report.tagged.filter(({ change }) => dryRun || change === "moved").map((tag) => `  tag       ${tagLine(tag)}`),
    ...leftOutLines(report.leftOut),
  ];
}

/** What was left to a base, or taken from what was at hand. */
function baseLines({ leftOut: { since }, taken }: CopyReport): string[] {
  const lines: string[] = [];
  if (since !== undefined)
    lines.push(`  base      ${count(since.length, "blob")} left to it, ${formatSize(totalSize(since))}`);
  if (taken !== undefined) lines.push(`  at hand   ${count(taken.count, "blob")} of it, ${formatSize(taken.bytes)}`);
  return lines;
}

function tagLine({ tag, change, before }: TagChange): string {
  return `${tag} ${change}${change === "moved" ? ` from ${before}` : ""}`;
}

function leftOutLines({ platforms, external, referrers, absent }: LeftOut): string[] {
  const lines: string[] = [];
  if (platforms.some(isImage)) lines.push(`  left out  ${platformNames(platforms)}`);
  if (absent.some(isImage))
    lines.push(`  absent    ${platformNames(absent)}: the source names them and does not have them`);
  if (referrers.length > 0) lines.push(`  left out  ${count(referrers.length, "referrer")} of the index as it was`);
  for (const { digest, urls } of external) lines.push(`  left out  ${digest}, which lies at ${urls?.[0]}`);
  return lines;
}

function platformNames(manifests: readonly Descriptor[]): string {
  const names = manifests
    .filter(isImage)
    .map(({ platform, digest }) => (platform === undefined ? digest : formatPlatform(platform)));
  return names.join(", ");
}

function isImage(manifest: Descriptor): boolean {
  return !isAttestation(manifest);
}
