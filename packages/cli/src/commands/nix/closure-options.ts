import { type BuildDestination, type Compression, compressions } from "@stowage/image";
import { formatLocation, type Location } from "@stowage/layout";
import {
  type Closure,
  type ImportResult,
  readCacheDirectory,
  readExportFile,
  readGraphFile,
  readStore,
} from "@stowage/nix";
import { type OpenOptions, withTarget } from "@stowage/registry";
import type { Argv } from "yargs";
import { type Context, UsageError } from "../../command.js";
import { besideArchive, count, formatSize, printJson, printLines } from "../../output.js";
import { tagFor } from "../copy.js";

/** The options of every command that takes store paths into a layout. */
export interface ClosureArguments {
  readonly compression: Compression;
  readonly "trusted-key": string[] | undefined;
}

/** Adds the options of {@link ClosureArguments}. */
export function withClosureOptions<T>(yargs: Argv<T>): Argv<T & ClosureArguments> {
  return yargs
    .option("compression", {
      choices: compressions,
      default: "gzip" as Compression,
      describe: "How layers are compressed",
    })
    .option("trusted-key", {
      type: "string",
      array: true,
      requiresArg: true,
      describe: "NAME:BASE64 or a file with it: refuse store paths that no such key has signed",
    }) as Argv<T & ClosureArguments>;
}

/** Reads `--from`: `store`, `cache:DIR`, `export:FILE`, `graph:FILE`. */
export function readClosure(
  from: string,
  roots: readonly string[],
  options: { readonly signal: AbortSignal; readonly storeRoot: string | undefined },
): Promise<Closure> {
  const [, kind, path = ""] = /^([a-z]+)(?::(.*))?$/s.exec(from) ?? [];
  if (kind === "store" && path === "") {
    if (roots.length === 0) throw new UsageError("--from store needs at least one store path");
    return readStore(roots, options);
  }
  if (path === "" || kind === undefined || !["cache", "export", "graph"].includes(kind))
    throw new UsageError(`--from ${JSON.stringify(from)} is not store, cache:DIR, export:FILE or graph:FILE`);
  if (options.storeRoot !== undefined && kind !== "graph")
    throw new UsageError("--store-root goes with --from store and graph:FILE");
  if (kind === "cache") return readCacheDirectory(path, roots, options);
  return kind === "export" ? readExportFile(path, roots, options) : readGraphFile(path, roots, options);
}

/** Where a closure goes. */
export function closureDestination(location: Location, open: OpenOptions): BuildDestination {
  if (location.kind === "docker-archive")
    throw new UsageError("a docker-archive cannot hold what says which store paths a layer has", {
      hint: "Export to a layout, and copy it into the archive.",
    });
  const tag = tagFor(location, undefined);
  return {
    tags: tag === undefined ? [] : [tag],
    isLayout: location.kind === "layout",
    use: (work) => withTarget(location, open, work),
  };
}

/** Prints what was made of a closure. */
export function printClosure(
  context: Context,
  result: ImportResult,
  target: Location,
  args: { readonly json: boolean; readonly quiet: boolean },
  lines: readonly string[],
): void {
  const out = besideArchive(context, [target]);
  if (args.json) printJson(out, { ...result, target: formatLocation(target) });
  else if (args.quiet) printLines(out, [result.descriptor.digest]);
  else {
    const reused = result.paths - result.packed;
    printLines(out, [
      ...lines,
      `  digest   ${result.descriptor.digest}`,
      `  paths    ${count(result.paths, "store path")}, ${formatSize(result.narSize)}${reused === 0 ? "" : `, ${reused} of them there before`}`,
    ]);
  }
}
