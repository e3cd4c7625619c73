import type { IndexPart } from "@stowage/image";
import type { Platform, Source } from "@stowage/layout";
import { type OpenOptions, withSources } from "@stowage/registry";
import type { Argv } from "yargs";
import { locationArgument, type RegistryArguments, resolveRoot, withRegistryOptions } from "./locations.js";

/** The options of every command that makes or changes an index. */
export interface IndexArguments extends RegistryArguments {
  readonly target: string | undefined;
  readonly annotation: string[] | undefined;
  readonly json: boolean;
  readonly quiet: boolean;
}

/** The options of those that make one. */
export interface ComposeArguments extends IndexArguments {
  readonly parts: string[] | undefined;
  readonly ref: string | undefined;
  readonly descriptorAnnotation: string[] | undefined;
  readonly artifactType: string | undefined;
}

/** How entries that are added get annotations. */
export const descriptorAnnotationOption = {
  type: "string",
  array: true,
  requiresArg: true,
  describe: "KEY=VALUE for the entries that are added",
} as const;

/** Adds the options of {@link IndexArguments}. */
export function withIndexOptions<T>(yargs: Argv<T>) {
  return withRegistryOptions(yargs)
    .option("target", {
      alias: "t",
      type: "string",
      requiresArg: true,
      describe: "The LOCATION of the result",
    })
    .option("annotation", { type: "string", array: true, requiresArg: true, describe: "KEY=VALUE for the index" });
}

/** Adds the options of {@link ComposeArguments}. */
export function withComposeOptions<T>(yargs: Argv<T>) {
  return withIndexOptions(yargs)
    .positional("parts", { type: "string", array: true, demandOption: true, describe: "The LOCATIONs of the parts" })
    .option("ref", {
      type: "string",
      requiresArg: true,
      conflicts: "target",
      describe: "Store the result where the first part is, under this tag",
    })
    .option("descriptor-annotation", descriptorAnnotationOption)
    .option("artifact-type", {
      type: "string",
      requiresArg: true,
      describe: "What the index is, where it is no image",
    });
}

/** Opens the parts, and closes them when the work is done. */
export function withParts<T>(
  texts: readonly string[],
  open: OpenOptions,
  platform: Platform | undefined,
  work: (parts: readonly IndexPart[]) => Promise<T>,
): Promise<T> {
  const locations = texts.map(locationArgument);
  return withSources(locations, open, async (sources) => {
    const parts: IndexPart[] = [];
    for (const [at, location] of locations.entries()) {
      const source = sources[at] as Source;
      const { descriptor } = await resolveRoot(source, location, open);
      parts.push({ source, descriptor, name: texts[at] as string, platform });
    }
    return work(parts);
  });
}
