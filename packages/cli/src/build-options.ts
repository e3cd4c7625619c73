import { readFileSync } from "node:fs";
import {
  type BuildArtifactOptions,
  type BuildOptions,
  type Compression,
  compressions,
  parseFileList,
  parseLeveledAnnotation,
  parseMapping,
} from "@stowage/image";
import { createdAt, type Platform, parseAttachedFile, systemError } from "@stowage/layout";
import type { Argv } from "yargs";
import { parsed, UsageError } from "./command.js";
import { type ConfigArguments, configArguments } from "./config-options.js";
import { platformsArgument } from "./locations.js";
import { countArgument, sizeArgument } from "./quantities.js";

/** The options that say what is built, and how. */
export interface BuildArguments {
  readonly files: string[] | undefined;
  readonly "files-from": string | undefined;
  readonly layer: string[] | undefined;
  readonly "split-layers": boolean;
  readonly directory: string | undefined;
  readonly ignore: string[] | undefined;
  readonly "ignore-file": string | undefined;
  readonly "keep-modes": boolean;
  readonly "keep-xattrs": boolean;
  readonly owner: string | undefined;
  readonly platform: string[] | undefined;
  readonly index: boolean;
  readonly annotation: string[] | undefined;
  readonly "data-max": string | undefined;
  readonly created: string | undefined;
  readonly "created-by": string | undefined;
  readonly comment: string | undefined;
  readonly compression: Compression;
  readonly "compression-level": string | undefined;
  readonly "artifact-type": string | undefined;
  readonly config: string | undefined;
}

const text = { type: "string", requiresArg: true } as const;
const texts = { ...text, array: true } as const;
const flag = { type: "boolean", default: false } as const;

/** Adds the options of {@link BuildArguments}. */
export function withBuildOptions<T>(yargs: Argv<T>): Argv<T & BuildArguments> {
  return yargs
    .positional("files", {
      type: "string",
      array: true,
      describe:
        "SRC[:DEST[:MODE[:UID:GID]]]: a file, the contents of a directory, or a pattern; all in one layer. {os}, {arch}, {variant} and {platform} in it are those of the image; [linux/arm64] before it is for that platform only",
    })
    .option("files-from", {
      ...text,
      describe: "Read more of them from this file, one on each line; - is standard input",
    })
    .option("layer", {
      ...texts,
      describe:
        "A layer below the files: a tar, plain, gzip or zstd, that becomes it as it is, or SRC:DEST with commas between several",
    })
    .option("split-layers", { ...flag, describe: "Make a layer of each SRC:DEST" })
    .option("directory", {
      ...text,
      alias: "C",
      describe: "What SRC and --ignore are relative to [default: the working directory]",
    })
    .option("ignore", { ...texts, describe: "Leave out what matches this pattern, as .dockerignore has them" })
    .option("ignore-file", { ...text, describe: "Read such patterns from this file, which comes before --ignore" })
    .option("keep-modes", { ...flag, describe: "Keep the permission bits on disk instead of 0755 and 0644" })
    .option("keep-xattrs", { ...flag, describe: "Keep extended attributes; needs getfattr" })
    .option("owner", { ...text, describe: "UID:GID of files whose SRC:DEST says none [default: 0:0]" })
    .option("platform", {
      ...texts,
      describe:
        "OS/ARCH[/VARIANT]; several make an image each, in an index [default: the base's, else linux on this processor]",
    })
    .option("index", { ...flag, describe: "Make an index of a single image, too" })
    .option("annotation", {
      ...texts,
      describe:
        "[LEVEL:]KEY=VALUE for the manifest, or another LEVEL: index, manifest-descriptor, index-descriptor, with [PLATFORM] behind it for one of them",
    })
    .option("data-max", { ...text, describe: "Put content up to this size into its descriptor as well: 4kB" })
    .option("created", {
      ...text,
      describe: "The time of creation, RFC 3339 or seconds or now [default: SOURCE_DATE_EPOCH, else none]",
    })
    .option("created-by", { ...text, describe: "What the history says made the layers [default: stowage build]" })
    .option("comment", { ...text, describe: "What else the history says of the layers" })
    .option("compression", {
      choices: compressions,
      default: "gzip" as Compression,
      describe: "How layers are compressed",
    })
    .option("compression-level", { ...text, describe: "1 to 9, for zstd to 22 [default: 6, for zstd 3]" })
    .option("artifact-type", {
      ...text,
      describe: "Make no image but an artifact of this type: files are FILE[:MEDIATYPE], blobs as they are",
    })
    .option("config", { ...text, describe: "FILE:MEDIATYPE, the config of an artifact [default: empty]" }) as Argv<
    T & BuildArguments
  >;
}

/** Reads what {@link BuildArguments} and {@link ConfigArguments} say of an image, but for its platform. */
export function buildArguments(args: BuildArguments & ConfigArguments): BuildOptions {
  const created = parsed(() => createdAt(args.created));
  const { compression, comment } = args;
  const ignoreFile = args["ignore-file"];
  return {
    files: mappings(args).map((mapping) => parsed(() => parseMapping(mapping))),
    layers: args.layer,
    split: args["split-layers"],
    cwd: args.directory,
    ignore: [...(ignoreFile === undefined ? [] : readText(ignoreFile).split(/\r?\n/)), ...(args.ignore ?? [])],
    modes: args["keep-modes"] ? "exact" : "normal",
    xattrs: args["keep-xattrs"],
    ...ownerArgument(args.owner),
    annotations: annotationsArgument(args.annotation),
    dataMax: sizeArgument("data-max", args["data-max"]),
    ...(created === undefined ? {} : { created: new Date(created) }),
    history: {
      ...(args["created-by"] === undefined ? {} : { created_by: args["created-by"] }),
      ...(args.author === undefined ? {} : { author: args.author }),
      ...(comment === undefined ? {} : { comment }),
    },
    compression,
    level: countArgument("compression-level", args["compression-level"]),
    ...configArguments(args),
  };
}

/** Reads the same for an artifact. Undefined where an image is asked for; fails where options of both are given. */
export function artifactArguments(args: BuildArguments & ConfigArguments): BuildArtifactOptions | undefined {
  if ((args["artifact-type"] ?? args.config) === undefined) return undefined;
  const image = [
    ...["base", "directory", "layer", "platform", "ignore", "ignore-file", "created", "created-by", "comment", "owner"],
    ...["compression-level", "entrypoint", "cmd", "env", "workdir", "user", "label", "expose", "volume", "author"],
    ...["stop-signal", "healthcheck", "health-interval", "health-timeout", "health-start-period", "health-retries"],
    ...["index", "split-layers", "keep-modes", "keep-xattrs"],
  ];
  const given = image.find(
    (option) => ![undefined, false].includes((args as unknown as Record<string, false>)[option]),
  );
  if (given !== undefined) throw new UsageError(`--${given} is for an image, and --artifact-type makes none`);
  return {
    files: mappings(args).map(parseAttachedFile),
    artifactType: args["artifact-type"],
    config: args.config === undefined ? undefined : parseAttachedFile(args.config),
    annotations: annotationsArgument(args.annotation),
    dataMax: sizeArgument("data-max", args["data-max"]),
  };
}

/** The platforms to build for, where an index of images is asked for; else undefined. */
export function indexPlatforms(args: BuildArguments): readonly [Platform, ...Platform[]] | undefined {
  const [first, ...others] = platformsArgument(args.platform);
  if (others.length === 0 && !args.index) return undefined;
  if (first === undefined) throw new UsageError("--index needs to know what the image is for: --platform");
  return [first, ...others];
}

function mappings(args: BuildArguments): readonly string[] {
  const list = args["files-from"];
  return [...(args.files ?? []), ...(list === undefined ? [] : parseFileList(readText(list === "-" ? 0 : list)))];
}

function readText(path: string | number): string {
  try {
    return readFileSync(path, "utf8").replace(/^\ufeff/, "");
  } catch (error) {
    throw systemError(error, `cannot read ${path === 0 ? "standard input" : path}`);
  }
}

function annotationsArgument(list: readonly string[] | undefined): BuildOptions["annotations"] {
  return (list ?? []).flatMap((annotation) => parsed(() => parseLeveledAnnotation(annotation)));
}

function ownerArgument(owner: string | undefined): Pick<BuildOptions, "uid" | "gid"> {
  if (owner === undefined) return {};
  const match = /^([0-9]{1,10}):([0-9]{1,10})$/.exec(owner);
  if (match === null) throw new UsageError(`--owner ${JSON.stringify(owner)} is not UID:GID`);
  return { uid: Number(match[1]), gid: Number(match[2]) };
}
