import { parseAnnotationFilter, type ReferrerFilter } from "@stowage/layout";
import type { Argv } from "yargs";
import { parsed, UsageError } from "./command.js";

/** The options that choose among referrers. */
export interface ReferrerFilterArguments {
  readonly "artifact-type": string[] | undefined;
  readonly "annotation-filter": string[] | undefined;
  readonly latest: boolean;
  readonly depth: string | undefined;
}

/** The options of every command that has to do with referrers. */
export interface ReferrerArguments extends ReferrerFilterArguments {
  readonly "referrers-from": string | undefined;
}

const group = "Which referrers:";

/** Adds the options of {@link ReferrerFilterArguments}. */
export function withReferrerFilter<T>(yargs: Argv<T>): Argv<T & ReferrerFilterArguments> {
  return yargs
    .option("artifact-type", {
      type: "string",
      array: true,
      requiresArg: true,
      group,
      describe: "Only referrers of this artifactType",
    })
    .option("annotation-filter", {
      type: "string",
      array: true,
      requiresArg: true,
      group,
      describe: "Only referrers with this annotation, as KEY or KEY=VALUE",
    })
    .option("latest", {
      type: "boolean",
      default: false,
      group,
      describe: "Of each artifactType only the one created last",
    })
    .option("depth", {
      type: "string",
      requiresArg: true,
      group,
      describe: "How many levels of referrers: 1 for none of referrers [default: all]",
    }) as Argv<T & ReferrerFilterArguments>;
}

/** Adds the options of {@link ReferrerArguments}. */
export function withReferrerOptions<T>(yargs: Argv<T>): Argv<T & ReferrerArguments> {
  return withReferrerFilter(yargs).option("referrers-from", {
    type: "string",
    requiresArg: true,
    group,
    describe: "Also those that this LOCATION has, another repository or a layout",
  }) as Argv<T & ReferrerArguments>;
}

/** Adds `--referrers-to`. */
export function withReferrersTarget<T>(yargs: Argv<T>): Argv<T & { readonly "referrers-to": string | undefined }> {
  return yargs.option("referrers-to", {
    type: "string",
    requiresArg: true,
    group,
    describe: "Put referrers into this LOCATION, another repository or a layout, not beside the image",
  }) as Argv<T & { readonly "referrers-to": string | undefined }>;
}

/** Which referrers the options ask for, undefined for all. */
export function referrerFilter(args: ReferrerFilterArguments): ReferrerFilter | undefined {
  const { latest, depth: text } = args;
  const artifactTypes = args["artifact-type"];
  const annotations = args["annotation-filter"]?.map((one) => parsed(() => parseAnnotationFilter(one)));
  if (text !== undefined && !/^[0-9]{1,4}$/.test(text))
    throw new UsageError(`--depth ${JSON.stringify(text)} is no number of levels`);
  const depth = text === undefined ? undefined : Number(text);
  if (artifactTypes === undefined && annotations === undefined && !latest && depth === undefined) return undefined;
  return { artifactTypes, annotations, latest, depth };
}

/** What `--referrers` and the filter say together, for a command that copies. */
export function referrersChoice(
  args: ReferrerFilterArguments & { readonly referrers: "all" | "none" | undefined },
  otherwise: "all" | "none",
): "all" | "none" | ReferrerFilter {
  const filter = referrerFilter(args);
  if (filter === undefined) return args.referrers ?? otherwise;
  if (args.referrers === "none") throw new UsageError("--referrers none leaves nothing to choose from");
  return filter;
}
