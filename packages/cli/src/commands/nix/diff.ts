import { type ClosureDiff, diffClosures, readStoredClosure, type StoredClosure } from "@stowage/nix";
import type { OpenOptions } from "@stowage/registry";
import { defineCommand } from "../../command.js";
import { openOptions, withRegistryOptions, withRoot } from "../../locations.js";
import { count, formatSize, printJson, printLines, table } from "../../output.js";

export const nixDiffCommand = defineCommand({
  command: "diff <one> <other>",
  describe: "Say which store paths two images do not have in common, and what has to be fetched by who has the first",
  examples: [
    ["$0 nix diff oci:out:v1 oci:out:v2", "What an update brings"],
    ["$0 nix diff ghcr.io/acme/app:v1 oci:out:v2 --json", "For a program; only manifests are read"],
  ],
  options: (yargs) =>
    withRegistryOptions(yargs)
      .positional("one", { type: "string", demandOption: true, describe: "The LOCATION of what is there" })
      .positional("other", { type: "string", demandOption: true, describe: "The LOCATION of what is wanted" }),
  run: async (args, context) => {
    const open = openOptions(args, context.signal);
    const [one, other] = [await closureAt(args.one, open), await closureAt(args.other, open)];
    const diff = diffClosures(one, other);
    if (args.json) printJson(context, diff);
    else printLines(context, [...(args.quiet ? [] : table(diff.paths.map(row))), ...summary(diff)]);
    return 0;
  },
});

function closureAt(text: string, open: OpenOptions): Promise<StoredClosure> {
  return withRoot(text, { open }, ({ source, descriptor }) => readStoredClosure(source, descriptor, open));
}

const SIGNS = { added: "+", removed: "-", changed: "~" } as const;

function row({ change, path, narSize, bytes }: ClosureDiff["paths"][number]): string[] {
  return [SIGNS[change], formatSize(narSize), formatSize(bytes), path];
}

function summary({ paths, kept, bytes, layers, layerBytes }: ClosureDiff): string[] {
  const fetched = paths.filter(({ change }) => change !== "removed").length;
  return [
    `${count(kept, "store path")} in common`,
    `${count(fetched, "store path")} to fetch, ${formatSize(bytes)}; in whole layers ${count(layers.length, "layer")}, ${formatSize(layerBytes)}`,
  ];
}
