import { existsSync } from "node:fs";
import {
  type Abortable,
  type Descriptor,
  isOciError,
  type LayoutOptions,
  type Location,
  type Platform,
  parseLocation,
  parsePlatform,
  type Source,
  selectPlatform,
} from "@stowage/layout";
import {
  type OpenOptions,
  RegistryClient,
  type ResolvedLocation,
  resolveLocation,
  type UploadOptions,
  withSource,
} from "@stowage/registry";
import type { Argv } from "yargs";
import { parsed, UsageError } from "./command.js";
import { version } from "./version.js";

/** The options of every command that opens locations: how registries are spoken to, and how layouts are opened. */
export interface RegistryArguments {
  readonly blobs: string | undefined;
  readonly hardlink: boolean | undefined;
  readonly "allow-root": string[] | undefined;
  readonly "plain-http": string[] | undefined;
  readonly "ca-file": string | undefined;
  readonly insecure: string[] | undefined;
  readonly "trust-realm": string[] | undefined;
}

/** Adds the options of {@link RegistryArguments}. */
export function withRegistryOptions<T>(yargs: Argv<T>): Argv<T & RegistryArguments> {
  const hosts = { type: "string", array: true, requiresArg: true, group: "Registries:" } as const;
  return yargs
    .option("blobs", {
      type: "string",
      requiresArg: true,
      group: "Layouts:",
      describe: "Share blobs with other layouts through this directory: link what it has, add what is new",
    })
    .option("hardlink", {
      type: "boolean",
      group: "Layouts:",
      describe: "Between layouts, make a hard link where the file system cannot share blocks",
    })
    .option("allow-root", {
      type: "string",
      array: true,
      requiresArg: true,
      group: "Layouts:",
      describe: "Follow a blob that is a symbolic link into this directory",
    })
    .option("plain-http", {
      ...hosts,
      describe: "Speak HTTP, not HTTPS, to this HOST[:PORT]; loopback addresses get it anyway",
    })
    .option("ca-file", {
      type: "string",
      requiresArg: true,
      group: "Registries:",
      describe: "Trust the certificate authorities in this PEM file as well",
    })
    .option("insecure", { ...hosts, describe: "Do not check the certificate of this HOST[:PORT]" })
    .option("trust-realm", {
      ...hosts,
      describe: "Send credentials to the token server at this HOST[:PORT] also where it is another site",
    }) as Argv<T & RegistryArguments>;
}

/** How locations are opened: with one registry client, so that a copy from a registry to itself can mount. */
export function openOptions(args: RegistryArguments, signal: AbortSignal, upload?: UploadOptions): OpenOptions {
  const client = new RegistryClient({
    upload,
    userAgent: `stowage/${version()}`,
    ...(args["plain-http"] === undefined ? {} : { plainHttp: args["plain-http"] }),
    ...(args["ca-file"] === undefined ? {} : { caFile: args["ca-file"] }),
    ...(args.insecure === undefined ? {} : { insecure: args.insecure }),
    ...(args["trust-realm"] === undefined ? {} : { trustedRealms: args["trust-realm"] }),
  });
  const layout: LayoutOptions = {
    ...(args.blobs === undefined ? {} : { blobs: args.blobs }),
    ...(args.hardlink === undefined ? {} : { hardlink: args.hardlink }),
    ...(args["allow-root"] === undefined ? {} : { allowRoots: args["allow-root"] }),
  };
  return { signal, client, layout };
}

/** Reads a location from the command line; a mistake in it is wrong usage. */
export function locationArgument(text: string): Location {
  return parsed(() => parseLocation(text, { exists: existsSync }));
}

/** Reads the directory of a layout: `DIR` or `oci:DIR`. What names something in it, or is no layout, is wrong usage. */
export function layoutArgument(text: string): string {
  if (!/^(?:oci|ocidir|oci-archive|docker-archive|docker):/.test(text)) return text;
  const location = locationArgument(text);
  if (location.kind !== "layout" || location.tag !== undefined || location.digest !== undefined)
    throw new UsageError(`${JSON.stringify(text)} is no layout as a whole`, { hint: "Write DIR or oci:DIR." });
  return location.path;
}

/** Reads `--platform`. */
export function platformArgument(text: string | undefined): Platform | undefined {
  return text === undefined ? undefined : parsed(() => parsePlatform(text));
}

/** Reads a `--platform` that may name several, with commas between them. */
export function platformsArgument(text: string | undefined): readonly Platform[] {
  return text === undefined ? [] : text.split(",").map((one) => parsed(() => parsePlatform(one.trim())));
}

/** Reads `KEY=VALUE` options into an object. */
export function pairsArgument(option: string, texts: readonly string[] | undefined): Record<string, string> {
  const pairs = (texts ?? []).map((text) => {
    const equals = text.indexOf("=");
    if (equals < 1) throw new UsageError(`--${option} ${JSON.stringify(text)} is not KEY=VALUE`);
    return [text.slice(0, equals), text.slice(equals + 1)] as const;
  });
  return Object.fromEntries(pairs);
}

/** A source with the manifest that a location names in it. */
export interface OpenedRoot {
  readonly source: Source;
  readonly location: Location;
  readonly descriptor: Descriptor;
  /** The tag the location names, or the only one there is. */
  readonly tag: string | undefined;
}

/** The options of {@link withRoot}. */
export interface RootOptions {
  readonly open: OpenOptions;
  readonly platform?: Platform | undefined;
}

/** Opens a location and resolves what it names, down to a platform where one is asked for. */
export function withRoot<T>(text: string, options: RootOptions, use: (root: OpenedRoot) => Promise<T>): Promise<T> {
  const location = locationArgument(text);
  return withSource(location, options.open, async (source) => {
    const root = await resolveRoot(source, location, options.open);
    const descriptor =
      options.platform === undefined
        ? root.descriptor
        : await selectPlatform(source, root.descriptor, options.platform, options.open);
    return use({ source, location, tag: root.tag, descriptor });
  });
}

/** What a location names; one that stands for several manifests is wrong usage. */
export async function resolveRoot(source: Source, location: Location, options: Abortable): Promise<ResolvedLocation> {
  try {
    return await resolveLocation(source, location, options);
  } catch (error) {
    if (isOciError(error, "CONFLICT")) throw new UsageError(error.message, { hint: error.hint, cause: error });
    throw error;
  }
}
