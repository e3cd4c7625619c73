import {
  type BaseImage,
  type BuildDestination,
  type BuildEvent,
  type BuildOptions,
  type BuildResult,
  buildInto,
  type Compression,
  compressions,
  type LayerSource,
  parseMapping,
} from "@stowage/image";
import { createdAt, formatLocation, formatPlatform, type Location } from "@stowage/layout";
import { type OpenOptions, withSource, withTarget } from "@stowage/registry";
import { type Context, defineCommand, parsed } from "../command.js";
import { configArguments, withConfigOptions } from "../config-options.js";
import {
  checkTargetCredentials,
  locationArgument,
  openBoth,
  pairsArgument,
  platformArgument,
  resolveRoot,
  withRegistryOptions,
} from "../locations.js";
import { besideArchive, count, formatSize, printJson, printLines } from "../output.js";
import { type Progress, startProgress } from "../progress.js";
import { tagFor } from "./copy.js";

export const buildCommand = defineCommand({
  command: "build [files..]",
  describe: "Build an image from files, reproducibly",
  examples: [
    ["$0 build dist:/app -t oci:out:v1 --entrypoint /app/server", "An image of one directory, on top of nothing"],
    [
      "$0 build 'src/**/*.js:/app' package.json:/app/ -t oci:out:v1 --base node:24-slim --cmd node --cmd /app/main.js",
      "Files on a base image",
    ],
  ],
  options: (yargs) =>
    withConfigOptions(withRegistryOptions(yargs, "both"))
      .positional("files", {
        type: "string",
        array: true,
        describe: "SRC[:DEST]: a file, the contents of a directory, or a pattern; all in one layer",
      })
      .option("target", {
        alias: "t",
        type: "string",
        array: true,
        requiresArg: true,
        demandOption: true,
        describe: "The LOCATION of the image; several for several",
      })
      .option("base", { type: "string", requiresArg: true, describe: "The LOCATION of the image to build on" })
      .option("layer", {
        type: "string",
        array: true,
        requiresArg: true,
        describe: "A tar, plain or gzip, that becomes a layer as it is, below the files",
      })
      .option("directory", {
        alias: "C",
        type: "string",
        requiresArg: true,
        describe: "What SRC and --ignore are relative to [default: the working directory]",
      })
      .option("ignore", {
        type: "string",
        array: true,
        requiresArg: true,
        describe: "Leave out what matches this pattern, as .dockerignore has them",
      })
      .option("platform", {
        type: "string",
        requiresArg: true,
        describe: "OS/ARCH[/VARIANT] [default: the base's, else linux on this processor]",
      })
      .option("annotation", { type: "string", array: true, requiresArg: true, describe: "KEY=VALUE for the manifest" })
      .option("created", {
        type: "string",
        requiresArg: true,
        describe: "The time of creation, RFC 3339 or seconds or now [default: SOURCE_DATE_EPOCH, else none]",
      })
      .option("compression", {
        choices: compressions,
        default: "gzip" as Compression,
        describe: "How layers are compressed",
      })
      .option("keep-modes", {
        type: "boolean",
        default: false,
        describe: "Keep the permission bits on disk instead of 0755 and 0644",
      }),
  run: async (args, context) => {
    const open = openBoth(args, context.signal);
    const created = parsed(() => createdAt(args.created));
    const layers: LayerSource[] = (args.layer ?? []).map((tar) => ({ tar }));
    const progress = startProgress(context, "building", args.quiet || args.json);
    const options: BuildOptions = {
      files: (args.files ?? []).map((text) => parsed(() => parseMapping(text))),
      layers,
      cwd: args.directory,
      ignore: args.ignore,
      platform: platformArgument(args.platform),
      annotations: pairsArgument("annotation", args.annotation),
      ...(created === undefined ? {} : { created: new Date(created) }),
      compression: args.compression,
      modes: args.keepModes ? "exact" : "normal",
      ...configArguments(args),
      signal: context.signal,
      onEvent: followBuild(progress),
    };
    const targets = args.target.map(locationArgument);
    // yargs demands at least one.
    checkTargetCredentials(args, targets);
    const destinations = targets.map((location) => destination(location, open.target));
    const result = await withBase(args.base, open.source, (base) =>
      buildInto(destinations as [BuildDestination], { ...options, base, layout: open.target.layout }),
    ).finally(() => progress.stop());
    printResult(besideArchive(context, targets), result, targets, args);
    return 0;
  },
});

/** Opens the LOCATION of a base image, where there is one. */
export function withBase<T>(
  text: string | undefined,
  open: OpenOptions,
  use: (base: BaseImage | undefined) => Promise<T>,
): Promise<T> {
  if (text === undefined) return use(undefined);
  const location = locationArgument(text);
  return withSource(location, open, async (source) => {
    const { descriptor } = await resolveRoot(source, location, open);
    return use({
      source,
      reference: descriptor,
      name: location.kind === "registry" ? formatLocation(location) : undefined,
    });
  });
}

function destination(location: Location, open: OpenOptions): BuildDestination {
  return {
    tags: tagsFor(location),
    isLayout: location.kind === "layout",
    use: (work) => withTarget(location, open, work),
  };
}

function tagsFor(location: Location): string[] {
  const tag = tagFor(location, undefined);
  return tag === undefined ? [] : [tag];
}

function followBuild(progress: Progress): (event: BuildEvent) => void {
  return (event) => {
    if (event.type !== "bytes") return;
    // How large a layer becomes is known only when it is done.
    progress.expect(event.bytes);
    progress.advance(event.bytes);
  };
}

function printResult(
  context: Context,
  result: BuildResult,
  targets: readonly Location[],
  args: { json: boolean; quiet: boolean },
): void {
  if (args.json) {
    printJson(context, { ...result, targets: targets.map(formatLocation) });
    return;
  }
  if (args.quiet) {
    printLines(context, [result.descriptor.digest]);
    return;
  }
  const size = result.layers.reduce((sum, layer) => sum + layer.descriptor.size, 0);
  printLines(context, [
    ...targets.map((target) => `built ${formatLocation(target)}`),
    `  digest   ${result.descriptor.digest}`,
    `  platform ${formatPlatform(result.platform)}`,
    `  layers   ${count(result.layers.length, "layer")}, ${formatSize(size)}`,
  ]);
}
