import {
  type DisjointMode,
  disjointModes,
  PLAN_FILE,
  specialFiles,
  type UnpackDisjointResult,
  type UnpackResult,
  unpack,
  unpackDisjoint,
} from "@stowage/image";
import { type Context, defineCommand, type ExitCode, UsageError } from "../command.js";
import { openOptions, platformArgument, withRegistryOptions, withRoot } from "../locations.js";
import { count, formatSize, note, printJson, printLines } from "../output.js";
import { startProgress } from "../progress.js";
import { limitArguments, ownersArgument, withLimitOptions } from "../unpack-options.js";

export const unpackCommand = defineCommand({
  command: "unpack <location> <directory>",
  describe: "Unpack the files of an image into a directory",
  examples: [
    ["$0 unpack oci:dist:v1 rootfs", "All files, in a directory that does not exist yet"],
    ["$0 unpack alpine:3.20 rootfs --platform linux/arm64 --special-files skip", "From a registry, without devices"],
    ["$0 unpack oci:dist:v1 etc --files 'etc/*.conf'", "Some of the files"],
    [
      "$0 unpack oci:dist:v2 rootfs --disjoint hardlink --store /var/lib/layers",
      "Disjoint layers, of which only those are extracted that no image before had",
    ],
  ],
  options: (yargs) =>
    withLimitOptions(withRegistryOptions(yargs))
      .positional("location", { type: "string", demandOption: true, describe: "The LOCATION of the image" })
      .positional("directory", {
        type: "string",
        demandOption: true,
        describe: "Where to; a directory that is missing or empty",
      })
      .option("platform", {
        type: "string",
        requiresArg: true,
        describe: "The image for this platform inside an index; default: Linux on this processor",
      })
      .option("files", {
        type: "string",
        array: true,
        requiresArg: true,
        describe: "Only what matches this pattern, and all beneath it; as in a .dockerignore file",
      })
      .option("force", {
        type: "boolean",
        default: false,
        describe: "Put the image on top of what is in the directory",
      })
      .option("owners", {
        choices: ["image", "mine"],
        requiresArg: true,
        describe: "Who owns the files: who owns them in the image (default for root), or whoever runs this",
      })
      .option("uid-map", {
        type: "string",
        array: true,
        requiresArg: true,
        describe: "INSIDE:OUTSIDE:SIZE: users of the image are these users here",
      })
      .option("gid-map", { type: "string", array: true, requiresArg: true, describe: "The same for groups" })
      .option("special-files", {
        choices: specialFiles,
        requiresArg: true,
        describe: "Devices and FIFOs: fail (default), leave them out, or create them, which takes root",
      })
      .option("xattrs", {
        type: "boolean",
        default: false,
        describe: "Set extended attributes with setfattr; by default they are left out",
      })
      .option("allow-duplicates", {
        type: "boolean",
        default: false,
        describe: "Let the last of several entries of one name in a layer win",
      })
      .option("disjoint", {
        choices: disjointModes,
        requiresArg: true,
        group: "Disjoint layers:",
        describe: "Check that layers keep to what they declare, and put them together in any order",
      })
      .option("store", {
        type: "string",
        requiresArg: true,
        group: "Disjoint layers:",
        describe: "Extract each layer once, into this directory, for all images; not for merge",
      })
      .option("check-store", {
        type: "boolean",
        default: false,
        group: "Disjoint layers:",
        describe: "Read the files of layers in the store, and extract a layer anew where they were changed",
      }),
  run: async (args, context): Promise<ExitCode> => {
    const open = openOptions(args, context.signal);
    const options = {
      ...limitArguments(args),
      signal: context.signal,
      platform: platformArgument(args.platform),
      files: args.files,
      force: args.force,
      owners: ownersArgument(args),
      specialFiles: args["special-files"],
      xattrs: args.xattrs ? ("set" as const) : ("skip" as const),
      allowDuplicates: args["allow-duplicates"],
    };
    const disjoint = disjointArguments(args);
    const progress = startProgress(context, "unpacking", args.quiet || args.json);
    const onBytes = (bytes: number): void => {
      progress.expect(bytes);
      progress.advance(bytes);
    };
    const result = await withRoot(
      args.location,
      { open },
      ({ source, descriptor }): Promise<UnpackResult | UnpackDisjointResult> =>
        disjoint === undefined
          ? unpack(source, descriptor, args.directory, { ...options, onBytes })
          : unpackDisjoint(source, descriptor, args.directory, { ...options, ...disjoint, onBytes }),
    ).finally(() => progress.stop());
    printWarnings(context, result);
    if (args.json) printJson(context, result);
    else if (!args.quiet) printLines(context, "mode" in result ? disjointLines(result) : resultLines(result));
    return 0;
  },
});

function resultLines({ descriptor, directory, layers, entries, bytes }: UnpackResult): string[] {
  return [
    `unpacked ${descriptor.digest}`,
    `  into ${directory}: ${entries} entries, ${formatSize(bytes)} in files, from ${count(layers, "layer")}`,
  ];
}

function disjointArguments(args: {
  readonly disjoint: string | undefined;
  readonly store: string | undefined;
  readonly checkStore: boolean;
  readonly force: boolean;
  readonly files: string[] | undefined;
}): { mode: DisjointMode; store: string | undefined; checkStore: boolean } | undefined {
  const { disjoint, store, checkStore } = args;
  if (disjoint === undefined) {
    if (store !== undefined || checkStore) throw new UsageError("--store and --check-store need --disjoint");
    return undefined;
  }
  const mode = disjoint as DisjointMode;
  if (args.force || args.files !== undefined)
    throw new UsageError("--disjoint puts all of an image into a directory of its own: not with --force or --files");
  if (mode === "merge" && (store !== undefined || checkStore))
    throw new UsageError("--disjoint merge extracts into the directory itself and needs no --store");
  if (mode !== "merge" && store === undefined)
    throw new UsageError(`--disjoint ${mode} needs --store DIR, where the layers are extracted to`);
  return { mode, store, checkStore };
}

function disjointLines(result: UnpackDisjointResult): string[] {
  const { descriptor, directory, mode, layers, disjoint, reused, bytesWritten, files, mounts } = result;
  const ways = (["linked", "cloned", "copied"] as const).filter((way) => files[way] > 0);
  return [
    `unpacked ${descriptor.digest}`,
    `  into ${directory}: ${count(layers, "layer")}, ${disjoint} of them disjoint; ${formatSize(bytesWritten)} in files were written`,
    ...(mode === "merge" ? [] : [`  ${count(reused, "layer")} of ${disjoint} were in the store`]),
    ...(ways.length === 0 ? [] : [`  files: ${ways.map((way) => `${files[way]} ${way}`).join(", ")}`]),
    ...(mode === "bind-plan" ? [`  ${count(mounts, "mount")} in ${directory}/${PLAN_FILE}`] : []),
  ];
}

function printWarnings(
  context: Context,
  { otherOwners, withoutXattrs, skipped }: Pick<UnpackResult, "otherOwners" | "withoutXattrs" | "skipped">,
): void {
  if (otherOwners > 0)
    note(context, `${count(otherOwners, "file")} belong to someone else in the image; to set owners takes root`);
  if (withoutXattrs > 0)
    note(context, `${count(withoutXattrs, "file")} without the extended attributes of the image; --xattrs sets them`);
  for (const path of skipped) note(context, `left out ${path}, a device or FIFO`);
}
