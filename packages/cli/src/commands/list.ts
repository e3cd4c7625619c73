import {
  danglingReferrers,
  formatLocation,
  IndexedSource,
  type ListedTag,
  type Location,
  list,
  type Source,
} from "@stowage/layout";
import { type OpenOptions, withSource } from "@stowage/registry";
import { type Context, defineCommand, type ExitCode, UsageError } from "../command.js";
import { locationArgument, openOptions, withReferrersOf, withRegistryOptions } from "../locations.js";
import { count, note, printJson, printLines, table } from "../output.js";

export const listCommand = defineCommand({
  command: ["list <location>", "ls"],
  describe: "List the tags of a layout, an archive or a repository",
  examples: [
    ["$0 list oci:dist", "The tags of a layout with digests, platforms and referrers"],
    ["$0 list ghcr.io/acme/app --details", "The same for a repository, at a few requests for each tag"],
  ],
  options: (yargs) =>
    withRegistryOptions(yargs, "one")
      .positional("location", { type: "string", demandOption: true, describe: "The LOCATION" })
      .option("details", {
        type: "boolean",
        describe: "Show what each tag stands for [default: yes, but for a registry]",
      })
      .option("all", {
        alias: "a",
        type: "boolean",
        default: false,
        describe: "List also the tags that only carry a list of referrers",
      })
      .option("referrers-from", {
        type: "string",
        requiresArg: true,
        describe: "Count also the referrers that this LOCATION has, another repository or a layout",
      })
      .option("dangling", {
        type: "boolean",
        default: false,
        describe: "List the referrers whose subject is not there, of a layout or an archive",
      }),
  run: async (args, context) => {
    const location = locationArgument(args.location);
    if (args.dangling) return listDangling(location, openOptions(args, context.signal), args, context);
    const details = args.details ?? (location.kind !== "registry" && (args.json || !args.quiet));
    const open = openOptions(args, context.signal);
    const [tags, dangling] = await withSource(location, open, async (source) => [
      await withReferrersOf(args.referrersFrom, open, source, (both) =>
        list(both, { namesOnly: !details, all: args.all, signal: context.signal }),
      ),
      details && !args.json && !args.quiet ? await countDangling(source, context) : 0,
    ]);
    if (dangling > 0)
      note(
        context,
        `${count(dangling, "referrer")} of images that are not here: stowage list ${args.location} --dangling`,
      );
    if (args.json) printJson(context, tags);
    else if (args.quiet || !details)
      printLines(
        context,
        tags.map(({ tag }) => tag),
      );
    else if (tags.length === 0) context.err.write(`${formatLocation(location)} holds no tag\n`);
    else {
      printTags(context, tags);
    }
    return 0;
  },
});

/** The tags, and apart from them those that only say whose signature, attestation or SBOM they are. */
function printTags(context: Context, tags: readonly ListedTag[]): void {
  const [images, legacy] = [
    tags.filter((tag) => tag.legacy === undefined && tag.carriesReferrers === undefined),
    tags.filter((tag) => tag.legacy !== undefined),
  ];
  const rows = images.map(({ tag, descriptor, platforms, referrers }) => [
    tag,
    descriptor?.digest ?? "",
    platforms?.join(",") || "-",
    String(referrers ?? 0),
  ]);
  if (rows.length > 0) printLines(context, table([["TAG", "DIGEST", "PLATFORMS", "REFERRERS"], ...rows]));
  const lists = tags.filter((tag) => tag.carriesReferrers === true).map(({ tag }) => [tag]);
  if (lists.length > 0) printLines(context, table([["TAG OF REFERRERS"], ...lists]));
  const others = legacy.map(({ tag, descriptor, legacy: of }) => [
    tag,
    descriptor?.digest ?? "",
    `${of?.role} of ${of?.subject}`,
  ]);
  if (others.length > 0) printLines(context, table([["LEGACY TAG", "DIGEST", "WHAT"], ...others]));
}

/** Every referrer has to be read for it, so of a layout that has thousands of them only `--dangling` tells. */
const MANY_ENTRIES = 5_000;

async function countDangling(source: Source, context: Context): Promise<number> {
  if (!(source instanceof IndexedSource)) return 0;
  const { manifests } = await source.index({ signal: context.signal });
  if (manifests.length > MANY_ENTRIES) return 0;
  return (await danglingReferrers(source, { signal: context.signal })).length;
}

async function listDangling(
  location: Location,
  open: OpenOptions,
  args: { json: boolean; quiet: boolean },
  context: Context,
): Promise<ExitCode> {
  const dangling = await withSource(location, open, async (source) => {
    if (!(source instanceof IndexedSource))
      throw new UsageError(`cannot list dangling referrers of ${formatLocation(location)}`, {
        hint: "A registry cannot be asked for them. A layout or an archive can.",
      });
    return danglingReferrers(source, { signal: context.signal });
  });
  if (args.json) printJson(context, dangling);
  else if (args.quiet)
    printLines(
      context,
      dangling.map(({ referrer }) => referrer.digest),
    );
  else if (dangling.length > 0) {
    const rows = dangling.map(({ subject, referrer }) => [referrer.digest, referrer.artifactType ?? "-", subject]);
    printLines(context, table([["REFERRER", "TYPE", "MISSING SUBJECT"], ...rows]));
  }
  return 0;
}
