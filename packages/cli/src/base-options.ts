import { closeSync, existsSync, openSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import type { CopyOptions } from "@stowage/layout";
import { type BaseLocation, type OpenOptions, withBases } from "@stowage/registry";
import type { Argv } from "yargs";
import { UsageError } from "./command.js";
import { locationArgument } from "./locations.js";

/** The options of commands that leave out, or take from nearer, what somebody has. */
export interface BaseArguments {
  readonly since: string[] | undefined;
  readonly have: string[] | undefined;
}

/** Adds the options of {@link BaseArguments}. */
export function withBaseOptions<T>(yargs: Argv<T>): Argv<T & BaseArguments> {
  return withHaveOption(
    yargs.option("since", {
      type: "string",
      array: true,
      requiresArg: true,
      describe: "Leave out the blobs that this has: a RECEIPT file, or a LOCATION, of which a tag chooses one image",
    }),
  ) as Argv<T & BaseArguments>;
}

/** Adds `--have` alone, for a command that leaves nothing out. */
export function withHaveOption<T>(yargs: Argv<T>): Argv<T & Pick<BaseArguments, "have">> {
  return yargs.option("have", {
    type: "string",
    array: true,
    requiresArg: true,
    describe:
      "Take the blobs that this LOCATION has from there, linked or mounted, and only the others from the source",
  }) as Argv<T & Pick<BaseArguments, "have">>;
}

/** Opens the bases that the options name, hands them to `use` as options of a copy, and closes them. */
export async function withBaseArguments<T>(
  args: Partial<BaseArguments>,
  open: OpenOptions,
  use: (options: Pick<CopyOptions, "since" | "have">) => Promise<T>,
): Promise<T> {
  const since = args.since?.map((text) => baseArgument("since", text));
  const have = args.have?.map((text) => baseArgument("have", text));
  for (const place of have ?? [])
    if (place.kind === "receipt")
      throw new UsageError(`--have ${place.path} is a receipt, from which no blob can be taken`, {
        hint: "--since leaves out what a receipt lists.",
      });
  return withBases(since ?? [], open, (left) =>
    withBases(have ?? [], open, (near) =>
      use({ ...(since === undefined ? {} : { since: left }), ...(have === undefined ? {} : { have: near }) }),
    ),
  );
}

/** Reads a base: a location, or a path of something whose kind shows: a receipt, an archive, a layout. */
function baseArgument(option: string, text: string): BaseLocation {
  if (!/^(?:oci|ocidir|oci-archive|docker-archive|docker):/.test(text)) {
    if (existsSync(text)) return baseAtPath(text);
    if (/^[./~]|\.json$/.test(text)) throw new UsageError(`--${option} ${JSON.stringify(text)}: there is no such file`);
  }
  const location = locationArgument(text);
  const { tag, digest } = location.kind === "registry" ? location.reference : location;
  const byDefault = location.kind === "registry" && tag === "latest" && !text.endsWith(":latest");
  return { kind: "location", location, whole: (tag === undefined || byDefault) && digest === undefined };
}

function baseAtPath(path: string): BaseLocation {
  const found = statSync(path);
  // A directory that is no layout may hold the parts of an archive.
  const kind = existsSync(join(path, "oci-layout")) ? "layout" : "oci-archive";
  if (found.isDirectory() || (found.isFile() && firstByte(path) !== "{"))
    return { kind: "location", location: { kind, path }, whole: true };
  return { kind: "receipt", path };
}

function firstByte(path: string): string {
  const first = Buffer.alloc(1);
  const file = openSync(path, "r");
  try {
    return first.toString("latin1", 0, readSync(file, first, 0, 1, 0));
  } finally {
    closeSync(file);
  }
}
