import {
  addToIndex,
  createIndex,
  type IndexPart,
  type IndexReport,
  mergeIndexes,
  removeFromIndex,
} from "@stowage/image";
import {
  type CopyOptions,
  type Descriptor,
  type Digest,
  formatLocation,
  formatPlatform,
  isAttestation,
  isDigest,
  isIndexType,
  type Location,
  type Platform,
  plainDescriptor,
  readManifest,
  type Source,
  type Target,
} from "@stowage/layout";
import { type OpenOptions, withSource, withSources, withTarget } from "@stowage/registry";
import type { Argv } from "yargs";
import { type Context, defineCommand, defineGroup, type ExitCode, UsageError } from "../command.js";
import {
  locationArgument,
  openOptions,
  pairsArgument,
  platformArgument,
  type RegistryArguments,
  resolveRoot,
  withRegistryOptions,
  withRoot,
} from "../locations.js";
import { besideArchive, count, formatSize, note, printJson, printLines, table } from "../output.js";
import { followCopy, startProgress } from "../progress.js";
import { reportLines, tagFor } from "./copy.js";

interface IndexArguments extends RegistryArguments {
  readonly target: string | undefined;
  readonly annotation: string[] | undefined;
  readonly json: boolean;
  readonly quiet: boolean;
}

interface ComposeArguments extends IndexArguments {
  readonly parts: string[] | undefined;
  readonly ref: string | undefined;
  readonly descriptorAnnotation: string[] | undefined;
  readonly artifactType: string | undefined;
}

const createCommand = defineCommand({
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

const mergeCommand = defineCommand({
  command: "merge <parts..>",
  describe: "Make one index of the images of several, whose attestations and referrers come along",
  examples: [
    ["$0 index merge oci:amd64 oci:arm64 oci:riscv64 -t oci:dist:v1", "The layouts of three jobs become one image"],
    ["$0 index merge oci:amd64:v1 oci:arm64:v1 --ref v1-all", "In the first layout, under another tag"],
  ],
  options: (yargs) => withComposeOptions(yargs),
  run: (args, context) => compose(args, context, mergeIndexes),
});

const addCommand = defineCommand({
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
      change(args, open, context, (target, index, options) =>
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

const removeCommand = defineCommand({
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

const listCommand = defineCommand({
  command: "list <location>",
  describe: "List what an index lists",
  examples: [
    ["$0 index list oci:dist:v1", "Platforms, sizes and digests"],
    ["$0 index list docker.io/library/alpine:3.20 --json", "The same of a registry, as JSON"],
  ],
  options: (yargs) =>
    withRegistryOptions(yargs).positional("location", {
      type: "string",
      demandOption: true,
      describe: "The LOCATION of the index",
    }),
  run: (args, context) =>
    withRoot(
      args.location,
      { open: openOptions(args, context.signal) },
      async ({ source, descriptor }): Promise<ExitCode> => {
        const { manifest } = await readManifest(source, descriptor, { signal: context.signal });
        if (manifest.kind !== "index")
          throw new UsageError(`${args.location} is no index but ${descriptor.mediaType}`, {
            hint: "See stowage inspect.",
          });
        if (args.json) printJson(context, { descriptor: plainDescriptor(descriptor), manifests: manifest.manifests });
        else if (args.quiet)
          printLines(
            context,
            manifest.manifests.map(({ digest }) => digest),
          );
        else printLines(context, table(manifest.manifests.map(entryRow)));
        return 0;
      },
    ),
});

export const indexCommand = defineGroup({
  command: "index",
  describe: "Make and change indexes: one image for many platforms",
  commands: [createCommand, mergeCommand, addCommand, removeCommand, listCommand],
});

const descriptorAnnotationOption = {
  type: "string",
  array: true,
  requiresArg: true,
  describe: "KEY=VALUE for the entries that are added",
} as const;

function withIndexOptions<T>(yargs: Argv<T>) {
  return withRegistryOptions(yargs)
    .option("target", {
      alias: "t",
      type: "string",
      requiresArg: true,
      describe: "The LOCATION of the result",
    })
    .option("annotation", { type: "string", array: true, requiresArg: true, describe: "KEY=VALUE for the index" });
}

function withComposeOptions<T>(yargs: Argv<T>) {
  return withIndexOptions(yargs)
    .positional("parts", { type: "string", array: true, demandOption: true, describe: "The LOCATIONs of the parts" })
    .option("ref", {
      type: "string",
      requiresArg: true,
      conflicts: "target",
      describe: "Store the result where the first part is, under this tag",
    })
    .option("descriptor-annotation", descriptorAnnotationOption)
    .option("artifact-type", {
      type: "string",
      requiresArg: true,
      describe: "What the index is, where it is no image",
    });
}

/** Opens the parts, and closes them when the work is done. */
function withParts<T>(
  texts: readonly string[],
  open: OpenOptions,
  platform: Platform | undefined,
  work: (parts: readonly IndexPart[]) => Promise<T>,
): Promise<T> {
  const locations = texts.map(locationArgument);
  return withSources(locations, open, async (sources) => {
    const parts: IndexPart[] = [];
    for (const [at, location] of locations.entries()) {
      const source = sources[at] as Source;
      const { descriptor } = await resolveRoot(source, location, open);
      parts.push({ source, descriptor, name: texts[at] as string, platform });
    }
    return work(parts);
  });
}

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
  return withParts(texts, open, undefined, (parts) =>
    stored(args, target, tagFor(target, undefined), open, context, (destination, options) =>
      verb(destination, parts, {
        ...options,
        annotations: pairsArgument("annotation", args.annotation),
        descriptorAnnotations: pairsArgument("descriptor-annotation", args.descriptorAnnotation),
        artifactType: args.artifactType,
      }),
    ),
  );
}

function composeTarget(args: ComposeArguments, [first]: readonly string[]): Location {
  if (args.target !== undefined) return locationArgument(args.target);
  if (args.ref === undefined || first === undefined)
    throw new UsageError("Say where the index goes: --target or --ref.");
  return withTag(locationArgument(first), args.ref);
}

function withTag(location: Location, tag: string): Location {
  if (location.kind !== "registry") {
    const { digest: _digest, ...rest } = location;
    return { ...rest, tag };
  }
  const { host, repository } = location.reference;
  return { ...location, reference: { host, repository, tag } };
}

/** Changes the index at `args.location`: in place, or at the target. */
function change(
  args: IndexArguments & { readonly location: string },
  open: OpenOptions,
  context: Context,
  verb: (target: Target, index: IndexPart, options: CopyOptions) => Promise<IndexReport>,
): Promise<ExitCode> {
  const location = locationArgument(args.location);
  return withSource(location, open, async (source) => {
    const root = await resolveRoot(source, location, open);
    const target = args.target === undefined ? location : locationArgument(args.target);
    const tag = tagFor(target, { location, tag: root.tag });
    if (args.target === undefined && tag === undefined)
      throw new UsageError(`${args.location} names no tag that could move to the new index`, {
        hint: "Name the tag, or where the new index goes: --target.",
      });
    const index: IndexPart = { source, descriptor: root.descriptor, name: args.location };
    return stored(args, target, tag, open, context, (destination, options) => verb(destination, index, options));
  });
}

async function stored(
  args: IndexArguments,
  location: Location,
  tag: string | undefined,
  open: OpenOptions,
  context: Context,
  verb: (target: Target, options: CopyOptions) => Promise<IndexReport>,
): Promise<ExitCode> {
  const progress = startProgress(context, "copying", args.quiet || args.json);
  const report = await withTarget(location, open, (target) =>
    verb(target, {
      signal: context.signal,
      tags: tag === undefined ? [] : [tag],
      onEvent: followCopy(progress),
    }),
  ).finally(() => progress.stop());
  for (const { path, error } of report.copy.failures)
    note(context, `not copied: ${path.join(" > ")}: ${(error as Error).message}`);
  if (report.left.length > 0)
    note(
      context,
      `${count(report.left.length, "referrer")} of what was changed stay with that: ${digests(report.left)}`,
    );
  const beside = besideArchive(context, [location]);
  if (args.json) printJson(beside, report);
  else if (args.quiet) printLines(beside, [report.descriptor.digest]);
  else printLines(beside, indexLines(report, tag === undefined ? location : withTag(location, tag)));
  return report.copy.failures.length > 0 ? 3 : 0;
}

function indexLines(report: IndexReport, location: Location): string[] {
  const { before, descriptor, manifests } = report;
  return [
    formatLocation(location),
    ...(before !== undefined && before.digest !== descriptor.digest
      ? ["  NEW DIGEST of the index:", `    was ${before.digest}`, `    is  ${descriptor.digest}`]
      : []),
    ...table(manifests.map(entryRow)).map((line) => `  ${line}`),
    ...reportLines(report.copy),
  ];
}

function entryRow(entry: Descriptor): string[] {
  return [kindOf(entry), entry.digest, formatSize(entry.size)];
}

function kindOf(entry: Descriptor): string {
  if (isAttestation(entry)) return "attestation";
  if (entry.platform !== undefined) return formatPlatform(entry.platform);
  return entry.artifactType ?? (isIndexType(entry.mediaType) ? "index" : "manifest");
}

function digests(descriptors: readonly Descriptor[]): string {
  return descriptors.map(({ digest }) => digest).join(", ");
}
