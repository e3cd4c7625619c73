import { annotationKeys, type Descriptor, formatPlatform, isIndexType, type TreeNode, tree } from "@stowage/layout";
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
  const notes = [problem, node.repeated === true ? "shown above" : undefined, annotations?.[annotationKeys.created]];
  return [
    ...(refers ? ["<-"] : []),
    ...(artifactType === undefined ? kindOf(descriptor) : [artifactType]),
    descriptor.digest,
    formatSize(node.size),
    ...notes.filter((text) => text !== undefined).map((text) => `[${text}]`),
  ].join(" ");
}

function kindOf(descriptor: Descriptor): string[] {
  if (descriptor.annotations?.["vnd.docker.reference.type"] === "attestation-manifest") return ["attestation"];
  const kind = isIndexType(descriptor.mediaType) ? "index" : "image";
  return descriptor.platform === undefined ? [kind] : [kind, formatPlatform(descriptor.platform)];
}
