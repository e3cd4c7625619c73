import {
  type ArtifactBuildResult,
  type BaseImage,
  type BuildDestination,
  type BuildEvent,
  type BuildResult,
  type BuiltImage,
  build,
  buildArtifact,
  buildIndex,
  buildInto,
  type IndexBuildResult,
} from "@stowage/image";
import { formatLocation, formatPlatform, type Location } from "@stowage/layout";
import { type OpenOptions, withSource, withTarget } from "@stowage/registry";
import { artifactArguments, buildArguments, indexPlatforms, withBuildOptions } from "../build-options.js";
import { defineCommand } from "../command.js";
import { withConfigOptions } from "../config-options.js";
import {
  checkTargetCredentials,
  locationArgument,
  openBoth,
  platformsArgument,
  resolveRoot,
  withRegistryOptions,
} from "../locations.js";
import { besideArchive, count, formatSize, printJson, printLines } from "../output.js";
import { type Progress, startProgress } from "../progress.js";
import { tagFor } from "./copy.js";

export const buildCommand = defineCommand({
  command: "build [files..]",
  describe: "Build an image or an artifact from files, reproducibly",
  examples: [
    ["$0 build dist:/app -t oci:out:v1 --entrypoint /app/server", "An image of one directory, on top of nothing"],
    [
      "$0 build 'src/**/*.js:/app' package.json:/app/ -t oci:out:v1 --base node:24-slim --cmd node --cmd /app/main.js",
      "Files on a base image",
    ],
    [
      "$0 build 'dist/{os}_{arch}/server:/server:0755' -t oci:out:v1 --platform linux/amd64,linux/arm64",
      "An index of two images, each with its own program",
    ],
    [
      "$0 build --layer node_modules:/app/node_modules dist:/app -t oci:out:v1",
      "What changes rarely in a layer of its own, below the rest",
    ],
    [
      "$0 build model.bin:application/octet-stream -t oci:models:v1 --artifact-type application/vnd.example.model",
      "An artifact",
    ],
  ],
  options: (yargs) =>
    withBuildOptions(withConfigOptions(withRegistryOptions(yargs, "both")))
      .option("target", {
        alias: "t",
        type: "string",
        array: true,
        requiresArg: true,
        demandOption: true,
        describe: "The LOCATION of the image; several for several",
      })
      .option("base", { type: "string", requiresArg: true, describe: "The LOCATION of the image to build on" }),
  run: async (args, context) => {
    const open = openBoth(args, context.signal);
    const { signal } = context;
    const artifact = artifactArguments(args);
    const options = artifact === undefined ? buildArguments(args) : {};
    const [platform] = platformsArgument(args.platform);
    const platforms = indexPlatforms(args);
    const targets = args.target.map(locationArgument);
    checkTargetCredentials(args, targets);
    // yargs demands at least one.
    const destinations = targets.map((location) => destination(location, open.target)) as [BuildDestination];
    const progress = startProgress(context, "building", args.quiet || args.json);
    const onEvent = followBuild(progress);
    const result = await withBase(args.base, open.source, (base) =>
      buildInto<BuildResult | IndexBuildResult | ArtifactBuildResult>(
        destinations,
        (target, tags) => {
          const common = { ...options, ...tags, base, signal, onEvent };
          if (artifact !== undefined) return buildArtifact(target, { ...artifact, ...tags, signal, onEvent });
          return platforms === undefined
            ? build(target, { ...common, platform })
            : buildIndex(target, { ...common, platforms });
        },
        { layout: open.target.layout, signal },
      ),
    ).finally(() => progress.stop());
    const beside = besideArchive(context, targets);
    const names = targets.map(formatLocation);
    if (args.json) printJson(beside, { ...result, targets: names });
    else if (args.quiet) printLines(beside, [result.descriptor.digest]);
    else printLines(beside, [...names.map((name) => `built ${name}`), ...resultLines(result)]);
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

function resultLines(result: BuildResult | IndexBuildResult | ArtifactBuildResult): string[] {
  const digest = `  digest   ${result.descriptor.digest}`;
  if ("artifactType" in result) {
    const files = result.files.reduce((sum, { size }) => sum + size, 0);
    return [digest, `  type     ${result.artifactType}`, `  files    ${sized(result.files.length, "file", files)}`];
  }
  if ("images" in result)
    return [
      digest,
      ...result.images.flatMap((image) => [`  image    ${image.descriptor.digest}`, ...imageLines(image)]),
    ];
  return [digest, ...imageLines(result)];
}

function imageLines({ platform, layers }: BuiltImage): string[] {
  const size = layers.reduce((sum, layer) => sum + layer.descriptor.size, 0);
  return [`  platform ${formatPlatform(platform)}`, `  layers   ${sized(layers.length, "layer", size)}`];
}

function sized(number: number, noun: string, bytes: number): string {
  return `${count(number, noun)}, ${formatSize(bytes)}`;
}
