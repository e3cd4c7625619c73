import { type ListedFile, listFiles } from "@stowage/image";
import { defineCommand, type ExitCode } from "../command.js";
import { openOptions, withRegistryOptions, withRoot } from "../locations.js";
import { printJson, printLines, table } from "../output.js";
import { countArgument } from "../quantities.js";
import { lookArguments, withLimitOptions } from "../unpack-options.js";

export const listFilesCommand = defineCommand({
  command: "ls-files <location>",
  describe: "List the files of an image",
  examples: [
    ["$0 ls-files oci:dist:v1", "What a container of the image would see"],
    ["$0 ls-files alpine:3.20 --layer 1 --long", "What stands in the lowest layer, with modes, owners and times"],
  ],
  options: (yargs) =>
    withLimitOptions(withRegistryOptions(yargs))
      .positional("location", { type: "string", demandOption: true, describe: "The LOCATION of the image" })
      .option("platform", {
        type: "string",
        requiresArg: true,
        describe: "The image for this platform inside an index; default: Linux on this processor",
      })
      .option("layer", {
        type: "string",
        requiresArg: true,
        describe: "Only the entries of this layer, whiteouts among them; the lowest is 1",
      })
      .option("long", {
        alias: "l",
        type: "boolean",
        default: false,
        describe: "Modes, owners, sizes and times as well",
      })
      .option("digests", { type: "boolean", default: false, describe: "The digest of each file; read with --json" }),
  run: (args, context) => {
    const open = openOptions(args, context.signal);
    const options = {
      ...lookArguments(args, context.signal),
      layer: countArgument("layer", args.layer),
      digests: args.digests,
    };
    return withRoot(args.location, { open }, async ({ source, descriptor }): Promise<ExitCode> => {
      const files: ListedFile[] = [];
      for await (const file of listFiles(source, descriptor, options)) files.push(file);
      if (args.json) printJson(context, files);
      else printLines(context, args.long ? table(files.map(longRow)) : files.map(nameOf));
      return 0;
    });
  },
});

const LETTERS: Readonly<Record<ListedFile["type"], string>> = {
  file: "-",
  directory: "d",
  symlink: "l",
  hardlink: "h",
  "character-device": "c",
  "block-device": "b",
  fifo: "p",
  whiteout: "w",
  opaque: "o",
  unknown: "?",
};

function nameOf({ path, type }: ListedFile): string {
  return `/${path}${type === "directory" && path !== "" ? "/" : ""}`;
}

/** As `tar -tv` shows it. */
function longRow(file: ListedFile): string[] {
  const { type, mode, uid, gid, size, device, mtime, linkname } = file;
  const arrow = linkname === undefined ? "" : type === "symlink" ? ` -> ${linkname}` : ` link to /${linkname}`;
  return [
    `${LETTERS[type]}${permissions(mode)}`,
    `${uid}:${gid}`,
    device === undefined ? String(size) : `${device.major},${device.minor}`,
    formatTime(mtime),
    `${nameOf(file)}${arrow}`,
  ];
}

function permissions(mode: number): string {
  const special = [mode & 0o4000, mode & 0o2000, mode & 0o1000];
  return special
    .map((isSet, at) => {
      const bits = (mode >> (6 - 3 * at)) & 7;
      const mark = at === 2 ? "t" : "s";
      const execute = bits & 1 ? (isSet ? mark : "x") : isSet ? mark.toUpperCase() : "-";
      return `${bits & 4 ? "r" : "-"}${bits & 2 ? "w" : "-"}${execute}`;
    })
    .join("");
}

function formatTime(seconds: number): string {
  const time = new Date(seconds * 1000);
  return Number.isNaN(time.getTime()) ? String(seconds) : time.toISOString().slice(0, 19).replace("T", " ");
}
