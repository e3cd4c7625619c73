import { createdAt, formatLocation } from "@stowage/layout";
import { DEFAULT_MAXIMUM_LAYERS, type ExportOptions, exportInto, type Layering, layerings } from "@stowage/nix";
import { defineCommand, parsed, UsageError } from "../../command.js";
import { configArguments, withConfigOptions } from "../../config-options.js";
import {
  locationArgument,
  openOptions,
  pairsArgument,
  platformArgument,
  withRegistryOptions,
} from "../../locations.js";
import { count } from "../../output.js";
import { startProgress } from "../../progress.js";
import { countArgument } from "../../quantities.js";
import { closureDestination, printClosure, readClosure, withClosureOptions } from "./closure-options.js";
import { trustedKeys } from "./keys.js";

export const nixExportCommand = defineCommand({
  command: "export [roots..]",
  describe: "Make an image of store paths and all they refer to; each path stands in one piece in a layer of its own",
  examples: [
    ["$0 nix export ./result --from store --to oci:out:v1", "What nix-build made, from the store of this machine"],
    [
      "$0 nix export --from cache:./cache --to oci:out:v1 --wide referrer --per-path-artifacts",
      "All of a binary cache, without Nix: an image for every runtime, one with a layer for each path, and the paths themselves",
    ],
  ],
  options: (yargs) =>
    withClosureOptions(withConfigOptions(withRegistryOptions(yargs, "one")))
      .positional("roots", {
        type: "string",
        array: true,
        describe: "Store paths, by path, base name or hash [default: all that nothing else refers to]",
      })
      .option("from", {
        type: "string",
        requiresArg: true,
        demandOption: true,
        describe: "store, cache:DIR, export:FILE (nix-store --export) or graph:FILE (exportReferencesGraph, path-info)",
      })
      .option("to", { type: "string", requiresArg: true, demandOption: true, describe: "The LOCATION of the image" })
      .option("store-root", {
        type: "string",
        requiresArg: true,
        describe: "The directory that stands for / of the store, as with nix --store",
      })
      .option("layering", {
        choices: layerings,
        default: "popularity" as Layering,
        describe: "Which paths get a layer of their own where there are too many",
      })
      .option("max-layers", {
        type: "string",
        requiresArg: true,
        default: String(DEFAULT_MAXIMUM_LAYERS),
        describe: "The most layers; what is over shares one. Without effect on --layering per-path",
      })
      .option("wide", {
        choices: ["referrer", "index"] as const,
        describe: "Also make an image with a layer for each path: a referrer of the other, or second in an index",
      })
      .option("per-path-artifacts", {
        type: "boolean",
        default: false,
        describe: "Also make a manifest for each path, tagged by its hash, and an index of them",
      })
      .option("links", {
        type: "boolean",
        default: true,
        describe: "Link what the roots have into /bin and so on; --no-links does not",
      })
      .option("platform", {
        type: "string",
        requiresArg: true,
        describe: "OS/ARCH[/VARIANT] [default: linux on this processor]",
      })
      .option("annotation", { type: "string", array: true, requiresArg: true, describe: "KEY=VALUE for the manifest" })
      .option("created", {
        type: "string",
        requiresArg: true,
        describe: "The time of creation, RFC 3339 or seconds or now [default: SOURCE_DATE_EPOCH, else none]",
      }),
  run: async (args, context) => {
    const { signal } = context;
    const open = openOptions(args, signal);
    const location = locationArgument(args.to);
    const destination = closureDestination(location, open);
    const maxLayers = countArgument("max-layers", args["max-layers"]) as number;
    if (maxLayers < 1) throw new UsageError("--max-layers has to be at least 1");
    const created = parsed(() => createdAt(args.created));
    const platform = platformArgument(args.platform);
    const options: Omit<ExportOptions, "tags" | "onEvent"> = {
      signal,
      compression: args.compression,
      trustedKeys: await trustedKeys(args["trusted-key"]),
      layering: args.layering,
      maxLayers,
      wide: args.wide,
      pathArtifacts: args["per-path-artifacts"],
      links: args.links,
      annotations: pairsArgument("annotation", args.annotation),
      config: { ...configArguments(args), created, platform },
    };
    const progress = startProgress(context, "exporting", args.quiet || args.json);
    try {
      const closure = await readClosure(args.from, args.roots ?? [], { signal, storeRoot: args["store-root"] });
      progress.expect(closure.objects.reduce((sum, { info }) => sum + info.narSize, 0));
      const result = await exportInto(destination, closure, {
        ...options,
        layout: open.layout,
        onEvent: (event) => {
          if (event.type === "bytes") progress.advance(event.bytes);
        },
      });
      progress.stop();
      const { wide, closure: index } = result;
      printClosure(context, result, location, args, [
        `exported ${closure.name} to ${formatLocation(location)}`,
        `  layers   ${count(result.layers.length, "layer")}`,
        ...(wide === undefined ? [] : [`  wide     ${wide.digest}`]),
        ...(index === undefined ? [] : [`  closure  ${index.digest}`]),
      ]);
    } finally {
      progress.stop();
    }
    return 0;
  },
});
