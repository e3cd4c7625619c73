import {
  type Compression,
  compressions,
  type ImageChanges,
  type LayerRange,
  type LayerSelector,
  type LayerSource,
  type MediaTypeFamily,
  mediaTypeFamilies,
  parseMapping,
} from "@stowage/image";
import { createdAt } from "@stowage/layout";
import type { Argv } from "yargs";
import { parsed, UsageError } from "./command.js";

/** The options that change the layers of an image. */
export interface LayerArguments {
  readonly "drop-layer": string[] | undefined;
  readonly "replace-layer": string[] | undefined;
  readonly "add-layer": string[] | undefined;
  readonly "add-files": string[] | undefined;
  readonly directory: string | undefined;
  readonly rebase: string[] | undefined;
  readonly squash: string | undefined;
  readonly flatten: boolean;
  readonly strip: string[] | undefined;
  readonly timestamps: string | undefined;
  readonly compression: Compression | undefined;
  readonly "media-types": MediaTypeFamily | undefined;
}

/** Adds the options of {@link LayerArguments}, in the order in which they take effect. */
export function withLayerOptions<T>(yargs: Argv<T>): Argv<T & LayerArguments> {
  const group = { group: "Layers, in this order:" } as const;
  const text = { ...group, type: "string", requiresArg: true } as const;
  const texts = { ...text, array: true } as const;
  return yargs
    .option("drop-layer", { ...texts, describe: "Take away the layer of this number (the lowest is 1) or digest" })
    .option("replace-layer", { ...texts, describe: "LAYER=FILE: put a tar into the place of a layer" })
    .option("rebase", {
      ...group,
      type: "string",
      nargs: 2,
      describe: "OLD NEW, two LOCATIONs: exchange the layers of the old base, and what the config has from it",
    })
    .option("add-layer", { ...texts, describe: "A tar, plain, gzip or zstd, that becomes a layer on top" })
    .option("add-files", {
      ...texts,
      describe: "SRC[:DEST[:MODE[:UID:GID]]], as build has it; all in one layer on top",
    })
    .option("directory", {
      ...text,
      alias: "C",
      describe: "What the files of new layers are relative to [default: the working directory]",
    })
    .option("squash", { ...text, describe: "FIRST-LAST: make one layer of these, with the same files" })
    .option("flatten", { ...group, type: "boolean", default: false, describe: "Make one layer of all" })
    .option("strip", { ...texts, describe: "Leave the files that match this pattern out of every layer" })
    .option("timestamps", {
      ...text,
      describe: "Give every file, the config and its history this time, RFC 3339 or seconds",
    })
    .option("compression", {
      ...group,
      choices: compressions,
      requiresArg: true,
      describe: "Compress every layer like this",
    })
    .option("media-types", {
      ...group,
      choices: mediaTypeFamilies,
      requiresArg: true,
      describe: "Convert the image and its index",
    }) as Argv<T & LayerArguments>;
}

/** Reads the options of {@link LayerArguments}, but for `--rebase`. */
export function layerArguments(args: LayerArguments): Omit<ImageChanges, "rebase"> {
  const tars: LayerSource[] = (args["add-layer"] ?? []).map((tar) => ({ tar }));
  const files = args["add-files"]?.map((text) => parsed(() => parseMapping(text)));
  return {
    dropLayers: args["drop-layer"]?.map(selector),
    replaceLayers: args["replace-layer"]?.map(replacement),
    addLayers: files === undefined ? tars : [...tars, { files }],
    ...(args.directory === undefined ? {} : { cwd: args.directory }),
    squash: args.squash === undefined ? undefined : range(args.squash),
    flatten: args.flatten,
    strip: args.strip,
    timestamps: args.timestamps === undefined ? undefined : seconds(args.timestamps),
    compression: args.compression,
    mediaTypes: args["media-types"],
  };
}

function selector(text: string): LayerSelector {
  return /^[0-9]{1,9}$/.test(text) ? Number(text) : text;
}

function replacement(text: string): { layer: LayerSelector; by: LayerSource } {
  const equals = text.indexOf("=");
  if (equals < 1) throw new UsageError(`--replace-layer ${JSON.stringify(text)} is not LAYER=FILE`);
  return { layer: selector(text.slice(0, equals)), by: { tar: text.slice(equals + 1) } };
}

function range(text: string): LayerRange {
  const match = /^([0-9]{1,9})-([0-9]{1,9})$/.exec(text);
  if (match === null) throw new UsageError(`--squash ${JSON.stringify(text)} is not FIRST-LAST`);
  return { first: Number(match[1]), last: Number(match[2]) };
}

/** Whole seconds since 1970. */
function seconds(text: string): number {
  return Math.floor(Date.parse(parsed(() => createdAt(text)) as string) / 1000);
}
