import {
  diff,
  type FieldChange,
  type FileChange,
  type ImageDiff,
  type IndexDiff,
  type LayerChange,
} from "@stowage/image";
import { defineCommand, type ExitCode } from "../command.js";
import { openOptions, withRegistryOptions, withRoot } from "../locations.js";
import { printJson, printLines } from "../output.js";
import { lookArguments, withLimitOptions } from "../unpack-options.js";

export const diffCommand = defineCommand({
  command: "diff <a> <b>",
  describe: "Show how two images differ, and why their digests do; ends with 3 where they do",
  examples: [
    ["$0 diff oci:before:v1 oci:after:v1", "Manifests, configs, layers and files"],
    ["$0 diff ghcr.io/acme/app:v1 oci:dist:v1 --platform linux/amd64 --json", "One platform, for a program"],
  ],
  options: (yargs) =>
    withLimitOptions(withRegistryOptions(yargs))
      .positional("a", { type: "string", demandOption: true, describe: "The LOCATION of the one" })
      .positional("b", { type: "string", demandOption: true, describe: "The LOCATION of the other" })
      .option("platform", {
        type: "string",
        requiresArg: true,
        describe: "Compare the images for this platform, and not the indexes they are in",
      }),
  run: (args, context) => {
    const open = openOptions(args, context.signal);
    const options = lookArguments(args, context.signal);
    return withRoot(args.a, { open }, (a) =>
      withRoot(args.b, { open }, async (b): Promise<ExitCode> => {
        const found = await diff(
          { source: a.source, reference: a.descriptor },
          { source: b.source, reference: b.descriptor },
          options,
        );
        if (args.json) printJson(context, found);
        else printLines(context, args.quiet ? [found.reason] : diffLines(found));
        return found.equal ? 0 : 3;
      }),
    );
  },
});

function diffLines(found: ImageDiff | IndexDiff): string[] {
  if (found.equal) return [`identical ${found.a.digest}`];
  return [`different: ${found.reason}`, `  - ${found.a.digest}`, `  + ${found.b.digest}`, ...details(found)];
}

function details(found: ImageDiff | IndexDiff): string[] {
  if (found.kind === "image") {
    const { manifest, config, layers, files } = found;
    return [
      ...section("manifest", manifest.map(fieldLine)),
      ...section("config", config.map(fieldLine)),
      ...section("layers", layers.map(layerLine)),
      ...section("files", files.map(fileLine)),
    ];
  }
  const { index, manifests } = found;
  return [
    ...section("index", index.map(fieldLine)),
    ...manifests.flatMap(({ name, change, diff: deeper }) => [
      `${name}: ${deeper?.reason ?? change}`,
      ...(deeper === undefined ? [] : details(deeper).map((line) => `  ${line}`)),
    ]),
  ];
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [title, ...lines.map((line) => `  ${line}`)];
}

function fieldLine({ path, a, b }: FieldChange): string {
  if (a === undefined) return `+ ${path}: ${JSON.stringify(b)}`;
  if (b === undefined) return `- ${path}: ${JSON.stringify(a)}`;
  return `~ ${path}: ${JSON.stringify(a)} -> ${JSON.stringify(b)}`;
}

const SIGNS = { added: "+", removed: "-", content: "~", changed: "~", compression: "~", description: "~" } as const;
const LAYER_CHANGES: Readonly<Record<LayerChange["change"], string>> = {
  added: "",
  removed: "",
  content: " (another tar)",
  compression: " (same content, other compression)",
  description: " (same bytes, described in another way)",
};

function layerLine({ layer, change, a, b }: LayerChange): string {
  const digests = [a?.digest, b?.digest].filter((digest) => digest !== undefined);
  return `${SIGNS[change]} ${layer}: ${[...new Set(digests)].join(" -> ")}${LAYER_CHANGES[change]}`;
}

function fileLine({ path, change, aspects, a, b }: FileChange): string {
  const changes = aspects.map((aspect) =>
    // Digests of contents would tell nobody anything.
    aspect === "content" ? aspect : `${aspect} ${shown(a?.[aspect])} -> ${shown(b?.[aspect])}`,
  );
  return `${SIGNS[change]} /${path}${changes.length === 0 ? "" : `: ${changes.join(", ")}`}`;
}

function shown(value: unknown): string {
  return value === undefined ? "none" : String(value);
}
