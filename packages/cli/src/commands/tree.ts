import { annotationKeys, formatPlatform, type TreeNode, tree } from "@stowage/layout";
import { defineCommand, type ExitCode } from "../command.js";
import { openOptions, platformArgument, withRegistryOptions, withRoot } from "../locations.js";
import { formatSize, printJson, printLines } from "../output.js";

export const treeCommand = defineCommand({
  command: "tree <location>",
  describe: "Show an image with its platforms, its referrers and theirs",
  examples: [
    ["$0 tree oci:dist:v1", "What an image in a layout consists of, and what refers to it"],
    ["$0 tree ghcr.io/acme/app:v1 --json", "The same for a repository, as JSON"],
  ],
  options: (yargs) =>
    withRegistryOptions(yargs)
      .positional("location", { type: "string", demandOption: true, describe: "The LOCATION" })
      .option("platform", {
        type: "string",
        requiresArg: true,
        describe: "Start at the image for this platform inside an index",
      }),
  run: (args, context) => {
    const open = openOptions(args, context.signal);
    return withRoot(
      args.location,
      { open, platform: platformArgument(args.platform) },
      async ({ source, descriptor }): Promise<ExitCode> => {
        const root = await tree(source, descriptor, open);
        if (args.json) printJson(context, root);
        else printLines(context, drawTree(root));
        return 0;
      },
    );
  },
});

/** The tree in lines. Children come before referrers, which are marked with an arrow. */
export function drawTree(root: TreeNode): string[] {
  const lines = [label(root, false)];
  branches(root, "", lines);
  return lines;
}

function branches(node: TreeNode, indent: string, lines: string[]): void {
  const below = [
    ...node.children.map((child) => ({ child, refers: false })),
    ...node.referrers.map((child) => ({ child, refers: true })),
  ];
  below.forEach(({ child, refers }, at) => {
    const last = at === below.length - 1;
    lines.push(`${indent}${last ? "└── " : "├── "}${label(child, refers)}`);
    branches(child, `${indent}${last ? "    " : "│   "}`, lines);
  });
}

function label(node: TreeNode, refers: boolean): string {
  const { descriptor, artifactType, annotations, problem } = node;
  const attestation = descriptor.annotations?.["vnd.docker.reference.type"] === "attestation-manifest";
  const platform = descriptor.platform === undefined || attestation ? undefined : formatPlatform(descriptor.platform);
  const what = attestation
    ? "attestation"
    : (artifactType ??
      platform ??
      (descriptor.mediaType.includes("index") || descriptor.mediaType.includes("list") ? "index" : "image"));
  const notes = [
    problem,
    node.repeated === true ? "shown above" : undefined,
    annotations?.[annotationKeys.created],
  ].filter((text) => text !== undefined);
  return `${refers ? "<- " : ""}${what} ${descriptor.digest} ${formatSize(node.size)}${notes.map((text) => ` [${text}]`).join("")}`;
}
