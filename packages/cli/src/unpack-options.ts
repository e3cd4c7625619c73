import { type IdRange, type LayerLimits, type Owners, parseIdRange } from "@stowage/image";
import type { Argv } from "yargs";
import { parsed, UsageError } from "./command.js";
import { platformArgument } from "./locations.js";
import { countArgument, sizeArgument } from "./quantities.js";

/** The options of every command that decompresses layers: where a bomb begins. */
export interface LimitArguments {
  readonly "max-size": string | undefined;
  readonly "max-ratio": string | undefined;
  readonly "max-entries": string | undefined;
}

/** Adds the options of {@link LimitArguments}. */
export function withLimitOptions<T>(yargs: Argv<T>): Argv<T & LimitArguments> {
  const limit = { type: "string", requiresArg: true, group: "Limits:" } as const;
  return yargs
    .option("max-size", { ...limit, describe: "Bytes in all layers together, unpacked; default: 64GiB" })
    .option("max-ratio", {
      ...limit,
      describe: "Unpacked bytes for each byte of a layer, after its first 64 MiB; default: 200",
    })
    .option("max-entries", { ...limit, describe: "Entries in all layers together; default: 4000000" }) as Argv<
    T & LimitArguments
  >;
}

/** Reads the options of {@link LimitArguments}. */
export function limitArguments(args: LimitArguments): LayerLimits & { readonly entries: number | undefined } {
  return {
    size: sizeArgument("max-size", args["max-size"]),
    ratio: countArgument("max-ratio", args["max-ratio"]),
    entries: countArgument("max-entries", args["max-entries"]),
  };
}

/** Reads `--platform` and the options of {@link LimitArguments} for a command that looks into an image and writes nothing. */
export function lookArguments(args: LimitArguments & { readonly platform: string | undefined }, signal: AbortSignal) {
  return {
    ...limitArguments(args),
    platform: platformArgument(args.platform),
    signal,
    allowDuplicates: true,
  };
}

/** Reads `--owners`, `--uid-map` and `--gid-map`. */
export function ownersArgument(args: {
  readonly owners: string | undefined;
  readonly "uid-map": string[] | undefined;
  readonly "gid-map": string[] | undefined;
}): Owners | undefined {
  const uids = ranges(args["uid-map"]);
  const gids = ranges(args["gid-map"]);
  if (uids === undefined && gids === undefined) return args.owners as "image" | "mine" | undefined;
  if (args.owners === "mine") throw new UsageError("--owners mine and a map of ids exclude each other");
  const same: IdRange[] = [{ inside: 0, outside: 0, size: 2 ** 32 - 1 }];
  return { uids: uids ?? same, gids: gids ?? same };
}

function ranges(texts: readonly string[] | undefined): readonly IdRange[] | undefined {
  return texts?.map((text) => parsed(() => parseIdRange(text)));
}
