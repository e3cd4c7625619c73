import { resolve } from "node:path";
import {
  type ArchiveNames,
  archiveNames,
  type ExportedImage,
  type ExportOptions,
  type ExportReport,
  exportImages,
  formatLocation,
  formatPlatform,
  formatReference,
  fullName,
  IndexedSource,
  imagesIn,
  isTag,
  type Location,
  OciError,
  parseReference,
  type Source,
  withReferrersFrom,
  writeReceipt,
} from "@stowage/layout";
import { type OpenOptions, openSource } from "@stowage/registry";
import type { Argv } from "yargs";
import { packed, packingOf, packings } from "../archive-options.js";
import { withBaseArguments, withBaseOptions } from "../base-options.js";
import { type Context, defineCommand, type ExitCode, UsageError } from "../command.js";
import { deliveryArguments, deliveryLines, withDeliveryOptions } from "../delivery-options.js";
import {
  elsewhereArgument,
  locationArgument,
  openOptions,
  platformsArgument,
  resolveRoot,
  withRegistryOptions,
} from "../locations.js";
import { besideArchive, note, printJson, printLines } from "../output.js";
import { followCopy, startProgress } from "../progress.js";
import { referrersChoice, withReferrerOptions } from "../referrer-options.js";
import { reportLines } from "./copy.js";

export const exportCommand = defineCommand({
  command: "export <places..>",
  describe: "Write images into one archive that docker, podman, containerd, kind and k3s load",
  examples: [
    ["$0 export alpine:3.20 alpine.tar", "An image with all its platforms, for any loader"],
    ["$0 export oci:dist:v1 - --name ghcr.io/acme/app:v1 | docker load", "Straight into Docker, under this name"],
    [
      "$0 export alpine:3.20 ghcr.io/acme/app:v1 bundle.tar.zst",
      "Two repositories in one archive, with their referrers",
    ],
  ],
  options: (yargs) =>
    withDeliveryOptions(withBaseOptions(withArchiveOptions(withReferrerOptions(withRegistryOptions(yargs, "one")))))
      .positional("places", {
        type: "string",
        array: true,
        demandOption: true,
        describe:
          "The LOCATIONs to read; a layout or archive without a tag means all in it. Then the FILE to write, - for stdout",
      })
      .option("name", {
        type: "string",
        array: true,
        requiresArg: true,
        describe: "What the image is called in the archive, like ghcr.io/acme/app:v1 [default: as it is called]",
      })
      .option("platform", {
        type: "string",
        requiresArg: true,
        describe: "These platforms only, as OS/ARCH[/VARIANT][,...]; of one the image without its index",
      })
      .option("index", {
        choices: ["keep", "filter"] as const,
        describe:
          "With --platform: keep the index, with its digest and holes in it, or make a new one [default: filter for several]",
      })
      .option("referrers", {
        choices: ["all", "none"] as const,
        describe: "Whether referrers go along [default: all; none for --format docker]",
      })
      .option("include-external", {
        type: "boolean",
        default: false,
        describe: "Fetch layers that may not be distributed from their urls; without this they are left out",
      }),
  run: async (args, context) => {
    const target = args.places.at(-1) as string;
    const places = args.places.slice(0, -1).map(locationArgument);
    checkTarget(target, places);
    const platforms = platformsArgument(args.platform);
    if (args.index !== undefined && platforms.length === 0)
      throw new UsageError("--index says what becomes of the index when --platform chooses from it; there is none");
    const referrers = referrersChoice(args, args.format === "docker" ? "none" : "all");
    if (args.format === "docker" && referrers !== "none")
      throw new UsageError("--format docker has no place for referrers; hybrid has");
    const compression = args.compress ?? packingOf(target);
    const delivery = deliveryArguments({ ...args, compression }, target);
    const open = openOptions(args, context.signal);
    const opened: Opened[] = [];
    const progress = startProgress(context, "exporting", args.quiet || args.json);
    try {
      for (const place of places) opened.push(await openImages(place, open, args.referrersFrom));
      const images = withGivenNames(
        opened.flatMap((one) => one.images),
        args.name,
      );
      const { client } = open;
      const write = (bases: Pick<ExportOptions, "since" | "have">): Promise<ExportReport> =>
        exportImages(images, target, {
          ...bases,
          signal: context.signal,
          format: delivery.format,
          maxPart: delivery.maxPart,
          names: args.names,
          ...packed(compression, context.signal),
          platforms,
          index: args.index,
          referrers,
          external: args.includeExternal ? (layer, options) => client?.external(layer, options) ?? [] : undefined,
          onEvent: followCopy(progress),
        });
      const report = await withBaseArguments(args, open, write);
      if (delivery.receipt !== undefined) await writeReceipt(delivery.receipt, report.receipt);
      progress.stop();
      return printExport(context, report, { ...args, target, receipt: delivery.receipt });
    } finally {
      progress.stop();
      for (const one of opened) await one.close();
    }
  },
});

/** Adds the options that say what an archive is like. */
function withArchiveOptions<T>(yargs: Argv<T>) {
  return yargs
    .option("format", {
      choices: ["hybrid", "oci", "docker"] as const,
      describe:
        "An OCI layout with what docker load reads beside it, the layout alone, or only the latter [default: hybrid; oci with --since and --max-part]",
    })
    .option("names", {
      choices: archiveNames,
      default: "any" as ArchiveNames,
      describe: "Whose names the images get; any are those that all of them understand",
    })
    .option("compress", {
      choices: packings,
      describe: "Compress the archive as a whole, or make it a zip [default: as FILE ends, .gz, .tgz, .zst or .zip]",
    });
}

/** Images of one place, and how to let go of it. */
interface Opened {
  readonly images: readonly ExportedImage[];
  close(): Promise<void>;
}

async function openImages(location: Location, open: OpenOptions, referrersFrom: string | undefined): Promise<Opened> {
  const opened = await openSource(location, open);
  const others: (() => Promise<void>)[] = [opened.close];
  const close = async (): Promise<void> => {
    for (const one of others) await one();
  };
  try {
    let { source } = opened;
    if (referrersFrom !== undefined) {
      const elsewhere = await openSource(elsewhereArgument("referrers-from", referrersFrom), open);
      others.push(elsewhere.close);
      source = withReferrersFrom(source, elsewhere.source);
    }
    const images = await imagesOf(location, opened.source, open);
    return { images: images.map((image) => ({ ...image, source })), close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** What a location names: one image, or where it names none all that a layout or archive holds. */
async function imagesOf(location: Location, source: Source, open: OpenOptions): Promise<readonly ExportedImage[]> {
  const inFile = source instanceof IndexedSource ? await imagesIn(source, open) : [];
  if (location.kind === "registry") {
    const { descriptor } = await resolveRoot(source, location, open);
    const { digest, ...tagged } = location.reference;
    return [{ source, descriptor, names: [formatReference(tagged.tag === undefined ? location.reference : tagged)] }];
  }
  if (location.tag === undefined && location.digest === undefined) {
    if (inFile.length > 0) return inFile;
    throw new OciError("NOT_FOUND", `${formatLocation(location)} holds no image`);
  }
  const { descriptor, tag } = await resolveRoot(source, location, open);
  if (tag === undefined) return [{ source, descriptor, names: [] }];
  // The tag may be the end of a full name.
  const same = inFile.filter((image) => image.descriptor.digest === descriptor.digest).flatMap(({ names }) => names);
  const names = same.filter((name) => name === tag || name.endsWith(`:${tag}`));
  return [{ source, descriptor, names: names.length === 0 ? [tag] : names }];
}

function withGivenNames(
  images: readonly ExportedImage[],
  given: readonly string[] | undefined,
): readonly ExportedImage[] {
  if (given === undefined) return images;
  const wrong = given.find((name) => fullName(name) === undefined && !isTag(name));
  if (wrong !== undefined)
    throw new UsageError(`--name ${JSON.stringify(wrong)} is no name of an image`, {
      hint: "Write HOST/REPO:TAG, for example ghcr.io/acme/app:v1.",
    });
  const [image] = images;
  if (image === undefined || images.length !== 1)
    throw new UsageError(`--name is for one image, and there are ${images.length}`);
  return [{ ...image, names: given.map((name) => (fullName(name) === undefined ? name : withTag(name))) }];
}

/** What Docker calls a name without a tag. */
function withTag(name: string): string {
  return formatReference(parseReference(name));
}

/** The file to write must not be one that is read. */
function checkTarget(target: string, places: readonly Location[]): void {
  if (places.length === 0)
    throw new UsageError("export needs a location to read and a file to write", { hint: "See stowage export --help." });
  if (/^(?:oci|ocidir|docker|oci-archive|docker-archive):/.test(target))
    throw new UsageError(`${JSON.stringify(target)} is a location; export writes a FILE, or - for stdout`, {
      hint: "--format says which kind of archive it becomes.",
    });
  const read = places.find((place) => place.kind !== "registry" && resolve(place.path) === resolve(target));
  if (read !== undefined && target !== "-") throw new UsageError(`${target} cannot be read and written at once`);
}

function printExport(
  context: Context,
  report: ExportReport,
  args: {
    readonly json: boolean;
    readonly quiet: boolean;
    readonly target: string;
    readonly receipt: string | undefined;
  },
): ExitCode {
  const out = besideArchive(context, [{ kind: "oci-archive", path: args.target }]);
  const failures = report.images.flatMap((image) => image.failures);
  for (const { path, error } of failures)
    note(context, `not exported: ${path.join(" > ")}: ${(error as Error).message}`);
  if (!args.quiet) for (const line of advice(report)) note(context, line);
  if (args.json) printJson(out, { ...report, receipt: args.receipt });
  else if (args.quiet)
    printLines(
      out,
      report.images.map(({ descriptor }) => descriptor.digest),
    );
  else {
    printLines(out, [`${args.target} (${report.format})`]);
    for (const image of report.images)
      printLines(out, [image.tags.join(", ") || image.descriptor.digest, ...reportLines(image)]);
    printLines(out, deliveryLines(report, args.receipt));
  }
  return failures.length > 0 ? 3 : 0;
}

/** What a user has to know of the archive before loading it somewhere. */
function advice({ format, images, loaded }: ExportReport): string[] {
  const lines: string[] = [];
  for (const { name, platform, choices } of loaded) {
    if (choices.length < 2 || platform === undefined) continue;
    const all = choices.map((one) => (one.platform === undefined ? one.digest : formatPlatform(one.platform)));
    lines.push(
      `${name ?? "the image"} has ${all.join(", ")}; a loader that takes one platform gets ${formatPlatform(platform)}. --platform chooses`,
    );
  }
  if (format === "oci") return lines;
  const nameless = images.flatMap(({ tags }) => tags).filter((name) => fullName(name) === undefined);
  for (const name of nameless)
    lines.push(
      `${name} is a tag without a repository; docker load takes the image without a name. --name gives it one`,
    );
  return lines;
}
