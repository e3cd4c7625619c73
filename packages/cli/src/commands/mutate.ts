import {
  type BaseImage,
  type ConfigEdits,
  type ConfigMember,
  configMembers,
  type MutateReport,
  mutate,
  type Rebase,
} from "@stowage/image";
import { createdAt, formatLocation, type Target } from "@stowage/layout";
import { type OpenOptions, withTarget } from "@stowage/registry";
import type { Argv } from "yargs";
import { printChange } from "../change-report.js";
import { defineCommand, parsed, UsageError } from "../command.js";
import { type ConfigArguments, configArguments, withConfigOptions } from "../config-options.js";
import { layerArguments, withLayerOptions } from "../layer-options.js";
import {
  locationArgument,
  openOptions,
  pairsArgument,
  platformArgument,
  withRegistryOptions,
  withRoot,
} from "../locations.js";
import { mutationLines, mutationNotes } from "../mutation-report.js";
import { followCopy, startProgress } from "../progress.js";
import { limitArguments, withLimitOptions } from "../unpack-options.js";
import { withBase } from "./build.js";
import { tagFor } from "./copy.js";

export const mutateCommand = defineCommand({
  command: "mutate <location>",
  describe: "Copy an image with changes: its config, annotations, layers, media types",
  examples: [
    [
      "$0 mutate oci:dist:v1 -t oci:dist:v1-debug --user root --env DEBUG=1 --remove-label build.id",
      "In a layout, under another tag; every platform of an index",
    ],
    [
      "$0 mutate alpine:3.20 -t ghcr.io/acme/alpine:3.20 --platform linux/arm64 --entrypoint /bin/sh --clear cmd",
      "From registry to registry, one platform of several",
    ],
    [
      "$0 mutate oci:dist:v1 -t oci:dist:v1-new --rebase alpine:3.20.0 alpine:3.20.1",
      "The same layers on a newer base, without a build",
    ],
    [
      "$0 mutate oci:dist:v1 -t oci-archive:small.tar --strip 'usr/share/doc' --flatten",
      "One layer without the manuals",
    ],
  ],
  options: (yargs) =>
    withLimitOptions(withLayerOptions(withEditOptions(withConfigOptions(withRegistryOptions(yargs)))))
      .positional("location", { type: "string", demandOption: true, describe: "The LOCATION of the image" })
      .option("target", {
        alias: "t",
        type: "string",
        requiresArg: true,
        demandOption: true,
        describe: "The LOCATION of the result; without a tag it gets the source's",
      })
      .option("platform", {
        type: "string",
        requiresArg: true,
        describe: "Change only the image for OS/ARCH[/VARIANT] of an index; the others stay in it as they are",
      })
      .option("annotation", {
        type: "string",
        array: true,
        requiresArg: true,
        describe: "KEY=VALUE for the manifest of each image",
      })
      .option("remove-annotation", {
        type: "string",
        array: true,
        requiresArg: true,
        describe: "Take this KEY away from the manifest of each image",
      })
      .option("index-annotation", {
        type: "string",
        array: true,
        requiresArg: true,
        describe: "KEY=VALUE for the index",
      }),
  run: (args, context) => {
    const open = openOptions(args, context.signal);
    const target = locationArgument(args.target);
    const changes = { ...editArguments(args), ...layerArguments(args), ...limitArguments(args) };
    return withRoot(args.location, { open }, async (root) => {
      const progress = startProgress(context, "changing", args.quiet || args.json);
      const tag = tagFor(target, root);
      const work = (destination: Target, rebase: Rebase | undefined): Promise<MutateReport> =>
        mutate(root.source, destination, root.descriptor, {
          ...changes,
          rebase,
          platform: platformArgument(args.platform),
          annotations: args.annotation === undefined ? undefined : pairsArgument("annotation", args.annotation),
          removeAnnotations: args.removeAnnotation,
          indexAnnotations:
            args.indexAnnotation === undefined ? undefined : pairsArgument("index-annotation", args.indexAnnotation),
          signal: context.signal,
          tags: tag === undefined ? [] : [tag],
          onEvent: followCopy(progress),
        });
      const report = await withRebase(args.rebase, open, (rebase) =>
        withTarget(target, open, (destination) => work(destination, rebase)),
      ).finally(() => progress.stop());
      return printChange(context, report, args, {
        target,
        notes: mutationNotes(report),
        lines: [`${formatLocation(root.location)} -> ${formatLocation(target)}`, ...mutationLines(report)],
      });
    });
  },
});

function withRebase<T>(
  texts: readonly string[] | undefined,
  open: OpenOptions,
  use: (rebase: Rebase | undefined) => Promise<T>,
): Promise<T> {
  if (texts === undefined) return use(undefined);
  if (texts.length !== 2) throw new UsageError("--rebase takes two LOCATIONs, the old base and the new one");
  return withBase(texts[0], open, (from) =>
    withBase(texts[1], open, (onto) => use({ from: from as BaseImage, onto: onto as BaseImage })),
  );
}

interface EditArguments extends ConfigArguments {
  readonly created: string | undefined;
  readonly clear: ConfigMember[] | undefined;
  readonly "remove-label": string[] | undefined;
  readonly "remove-env": string[] | undefined;
  readonly "remove-port": string[] | undefined;
  readonly "remove-volume": string[] | undefined;
}

function withEditOptions<T>(yargs: Argv<T>) {
  const text = { type: "string", requiresArg: true } as const;
  const texts = { ...text, array: true } as const;
  return yargs
    .option("created", { ...text, describe: "The time of creation, RFC 3339 or seconds or now" })
    .option("remove-label", { ...texts, describe: "Take this label away" })
    .option("remove-env", { ...texts, describe: "Take the variable of this NAME away" })
    .option("remove-port", { ...texts, describe: "Take this PORT[/tcp|udp] away" })
    .option("remove-volume", { ...texts, describe: "Take the volume at this path away" })
    .option("clear", { choices: configMembers, array: true, requiresArg: true, describe: "Unset this member" });
}

function editArguments(args: EditArguments): ConfigEdits {
  return {
    ...configArguments(args),
    created: args.created === undefined ? undefined : parsed(() => createdAt(args.created)),
    clear: args.clear,
    removeLabels: args["remove-label"],
    removeEnv: args["remove-env"],
    removeExposedPorts: args["remove-port"],
    removeVolumes: args["remove-volume"],
  };
}
