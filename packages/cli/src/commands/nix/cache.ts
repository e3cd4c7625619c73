import { isOciError, type Location, type Source } from "@stowage/layout";
import {
  BinaryCache,
  parseStoreDirectory,
  readAllStored,
  readStoredClosure,
  type StoredClosure,
  serveCache,
  writeCache,
} from "@stowage/nix";
import { type OpenOptions, withSource } from "@stowage/registry";
import { defineCommand, type ExitCode, parsed, UsageError } from "../../command.js";
import { listenArgument, untilInterrupted } from "../../listening.js";
import { locationArgument, openOptions, resolveRoot, withRegistryOptions } from "../../locations.js";
import { count, formatSize, note, printJson, printLines, visible } from "../../output.js";
import { secretKeys } from "./keys.js";

export const nixCacheCommand = defineCommand({
  command: "cache <location>",
  describe: "Serve a layout or a repository to Nix as a binary cache, or write one into a directory",
  examples: [
    ["$0 nix cache oci:store --listen 127.0.0.1:8080", "For nix --substituters http://127.0.0.1:8080"],
    ["$0 nix cache ghcr.io/acme/app:v1 --write ./cache", "For nix copy --from file://$PWD/cache"],
  ],
  options: (yargs) =>
    withRegistryOptions(yargs, "one")
      .positional("location", {
        type: "string",
        demandOption: true,
        describe:
          "The LOCATION; without a tag all that a layout has, or what a repository has under the hash of a path",
      })
      .option("listen", {
        type: "string",
        requiresArg: true,
        default: "127.0.0.1:0",
        describe: "HOST:PORT; port 0 is any that is free",
      })
      .option("write", { type: "string", requiresArg: true, describe: "Write the cache into this directory, and end" })
      .option("secret-key", {
        type: "string",
        array: true,
        requiresArg: true,
        describe: "Sign each path with the key in this file as well, in what is given out",
      })
      .option("store-dir", {
        type: "string",
        requiresArg: true,
        default: "/nix/store",
        describe: "The store directory of the paths that are looked for by their hash",
      })
      .option("log", { type: "boolean", default: false, describe: "Tell of each request on stderr" }),
  run: async (args, context) => {
    const open = openOptions(args, context.signal);
    const location = locationArgument(args.location);
    const address = listenArgument(args.listen);
    const keys = await secretKeys(args["secret-key"]);
    return withSource<ExitCode>(location, open, async (source) => {
      const closure = await storedClosure(source, location, args.location, {
        ...open,
        storeDirectory: parsed(() => parseStoreDirectory(args["store-dir"])),
      });
      const cache = new BinaryCache(source, closure, { secretKeys: keys });
      if (args.write !== undefined) {
        if (closure.paths.size === 0)
          throw new UsageError("--write needs a tag: what all is there, a repository cannot tell");
        const result = await writeCache(cache, args.write, { signal: context.signal });
        if (args.json) printJson(context, result);
        else if (!args.quiet)
          printLines(context, [
            `wrote ${count(result.written, "store path")}, ${formatSize(result.bytes)}, to ${result.directory}; ${result.present} there before`,
          ]);
        return 0;
      }
      const server = await serveCache(cache, {
        ...address,
        onError: (error, request) =>
          note(context, `${request}: ${error instanceof Error ? error.message : String(error)}`),
        ...(args.log
          ? {
              onRequest: (method: string, path: string, status: number): void => {
                context.err.write(`${visible(`${method} ${path} ${status}`)}\n`);
              },
            }
          : {}),
      });
      const { url, host, port } = server;
      if (args.json)
        printJson(context, { url, host, port, paths: closure.paths.size, storeDirectory: closure.storeDirectory });
      else if (args.quiet) printLines(context, [url]);
      else printLines(context, [`serving ${count(closure.paths.size, "store path")} of ${source.name} at ${url}`]);
      await untilInterrupted(context, server);
      return 0;
    });
  },
});

/** What a location has to give: what its tag names, or all of it. */
async function storedClosure(
  source: Source,
  location: Location,
  text: string,
  open: OpenOptions & { readonly storeDirectory: string },
): Promise<StoredClosure> {
  const { tag, digest } = location.kind === "registry" ? location.reference : location;
  if (tag === undefined && digest === undefined) return readAllStored(source, open);
  try {
    return await readStoredClosure(source, (await resolveRoot(source, location, open)).descriptor, open);
  } catch (error) {
    const byDefault = location.kind === "registry" && tag === "latest" && !text.endsWith(":latest");
    if (!byDefault || !isOciError(error, "NOT_FOUND")) throw error;
    // Each path is looked for by its own tag.
    return { storeDirectory: open.storeDirectory, roots: [], paths: new Map() };
  }
}
