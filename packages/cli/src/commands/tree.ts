import {
  annotationKeys,
  attestedDigest,
  type ChainLink,
  chain,
  type Descriptor,
  formatPlatform,
  isAttestation,
  isIndexType,
  type TreeNode,
  tree,
} from "@stowage/layout";
import { defineCommand, type ExitCode } from "../command.js";
import { openOptions, platformArgument, withRegistryOptions, withRoot } from "../locations.js";
import { formatSize, printJson, printLines, table } from "../output.js";
import { referrerFilter, withReferrerOptions } from "../referrer-options.js";

export const treeCommand = defineCommand({
  command: "tree <location>",
  describe: "Show an image with its platforms, its referrers and theirs",
  examples: [
    ["$0 tree oci:dist:v1", "What an image in a layout consists of, and what refers to it"],
    ["$0 tree ghcr.io/acme/app:v1 --json", "The same for a repository, as JSON"],
    ["$0 tree oci:dist:v1 --chain --latest", "What was attached last, of each kind, in the order of time"],
  ],
  options: (yargs) =>
    withReferrerOptions(withRegistryOptions(yargs, "one"))
      .positional("location", { type: "string", demandOption: true, describe: "The LOCATION" })
      .option("platform", {
        type: "string",
        requiresArg: true,
        describe: "Start at the image for this platform inside an index",
      })
      .option("chain", {
        type: "boolean",
        default: false,
        describe: "List the referrers, and theirs, in the order in which they were made",
      }),
  run: (args, context) => {
    const open = openOptions(args, context.signal);
    const referrers = referrerFilter(args);
    return withRoot(
      args.location,
      { open, platform: platformArgument(args.platform), referrersFrom: args.referrersFrom },
      async ({ source, descriptor }): Promise<ExitCode> => {
        const root = await tree(source, descriptor, { signal: context.signal, referrers });
        if (args.chain) {
          const links = chain(root);
          if (args.json) printJson(context, links);
          else printLines(context, chainLines(links));
        } else if (args.json) printJson(context, root);
        else printLines(context, drawTree(root));
        return 0;
      },
    );
  },
});

function chainLines(links: readonly ChainLink[]): string[] {
  if (links.length === 0) return [];
  const rows = links.map(({ created, artifactType, descriptor, subject }) => [
    created ?? "-",
    artifactType ?? "-",
    descriptor.digest,
    subject,
  ]);
  return table([["CREATED", "TYPE", "DIGEST", "SUBJECT"], ...rows]);
}

/**
 * The tree in lines. Children come before referrers, which are marked with an arrow, and what goes with a manifest by another
 * convention comes last, marked with a tilde.
 */
export function drawTree(root: TreeNode): string[] {
  const lines = [label(root, false)];
  branches(root, "", lines);
  return lines;
}

function branches(node: TreeNode, indent: string, lines: string[]): void {
  const below = [
    ...(node.subject === undefined ? [] : [{ text: subjectLabel(node.subject) }]),
    ...node.children.map((child) => ({ text: label(child, false), child })),
    ...node.referrers.map((child) => ({ text: label(child, true), child })),
    ...(node.related ?? []).map((one) => ({ text: relatedLabel(one) })),
  ];
  below.forEach(({ text, child }: { text: string; child?: TreeNode }, at) => {
    const last = at === below.length - 1;
    lines.push(`${indent}${last ? "└── " : "├── "}${text}`);
    if (child !== undefined) branches(child, `${indent}${last ? "    " : "│   "}`, lines);
  });
}

function subjectLabel({ descriptor, missing }: NonNullable<TreeNode["subject"]>): string {
  return `-> subject ${descriptor.digest}${missing ? " [missing]" : ""}`;
}

function relatedLabel({ kind, role, descriptor, name }: NonNullable<TreeNode["related"]>[number]): string {
  return [`~ ${kind}`, role, descriptor.digest, ...(name === undefined ? [] : [`[${name}]`])]
    .filter((part) => part !== undefined)
    .join(" ");
}

function label(node: TreeNode, refers: boolean): string {
  const { descriptor, artifactType, annotations, problem } = node;
  const attested = attestedDigest(descriptor);
  const notes = [
    problem,
    attested === undefined ? undefined : `of ${attested}`,
    node.repeated === true ? "shown above" : undefined,
    annotations?.[annotationKeys.created],
  ];
  return [
    ...(refers ? ["<-"] : []),
    ...(artifactType === undefined || isAttestation(descriptor) ? kindOf(descriptor) : [artifactType]),
    descriptor.digest,
    formatSize(node.size),
    ...notes.filter((text) => text !== undefined).map((text) => `[${text}]`),
  ].join(" ");
}

function kindOf(descriptor: Descriptor): string[] {
  if (isAttestation(descriptor)) return ["attestation"];
  const kind = isIndexType(descriptor.mediaType) ? "index" : "image";
  return descriptor.platform === undefined ? [kind] : [kind, formatPlatform(descriptor.platform)];
}
