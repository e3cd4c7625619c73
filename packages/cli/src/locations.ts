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
  withReferrersFrom,
} from "@stowage/layout";
import {
  type ClientOptions,
  type OpenOptions,
  type ResolvedLocation,
  resolveLocation,
  withSource,
} from "@stowage/registry";
import type { Argv } from "yargs";
import { packed, packingOf } from "./archive-options.js";
import {
  type ClientArguments,
  type CredentialChoice,
  checkOneReadsPassword,
  clientFor,
  withClientOptions,
} from "./client-options.js";
import { parsed, UsageError } from "./command.js";
import type { CredentialOption } from "./credentials.js";

/** The options of every command that opens locations: how layouts are opened. */
export interface RegistryArguments extends ClientArguments {
  readonly blobs: string | undefined;
  readonly hardlink: boolean | undefined;
  readonly "allow-root": string[] | undefined;
}

/**
 * Adds the options of {@link RegistryArguments}. Credentials can be given to a command with `one` location, and separately to one
 * that has a source and a target (`both`); to one that may go to many registries they cannot.
 */
export function withRegistryOptions<T>(
  yargs: Argv<T>,
  credentials: CredentialChoice = "none",
): Argv<T & RegistryArguments> {
  const layouts = yargs
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
    });
  return withClientOptions(layouts, credentials) as Argv<T & RegistryArguments>;
}

/** How locations are opened: with one registry client, so that a copy from a registry to itself can mount. */
export function openOptions(args: RegistryArguments, signal: AbortSignal, more: ClientOptions = {}): OpenOptions {
  return { signal, client: clientFor(args, "creds", more), ...fileOptions(args, signal) };
}

/** How the locations of a command with a source and a target are opened: with one client, unless one of them has credentials of its own. */
export function openBoth(
  args: RegistryArguments,
  signal: AbortSignal,
  more: ClientOptions = {},
): { source: OpenOptions; target: OpenOptions } {
  const open = (option: CredentialOption): OpenOptions => ({
    signal,
    client: clientFor(args, option, more),
    ...fileOptions(args, signal),
  });
  if (args["src-creds"] !== undefined || args["dst-creds"] !== undefined) {
    checkOneReadsPassword(args);
    return { source: open("src-creds"), target: open("dst-creds") };
  }
  const both = open("creds");
  return { source: both, target: both };
}

/** Credentials go to one registry: several targets on different ones are wrong usage where `--dst-creds` is given. */
export function checkTargetCredentials(args: RegistryArguments, targets: readonly Location[]): void {
  const hosts = new Set(targets.flatMap((target) => (target.kind === "registry" ? [target.reference.host] : [])));
  if (args["dst-creds"] === undefined || hosts.size < 2) return;
  throw new UsageError(`--dst-creds is for one registry, not for ${[...hosts].join(" and ")}`, {
    hint: "Log in to them with stowage login.",
  });
}

/** How layouts are opened, and archives stored: as their names say. */
function fileOptions(args: RegistryArguments, signal: AbortSignal): Pick<OpenOptions, "layout" | "archive"> {
  return { layout: layoutOptions(args), archive: (path) => packed(packingOf(path), signal) };
}

function layoutOptions(args: RegistryArguments): LayoutOptions {
  return {
    ...(args.blobs === undefined ? {} : { blobs: args.blobs }),
    ...(args.hardlink === undefined ? {} : { hardlink: args.hardlink }),
    ...(args["allow-root"] === undefined ? {} : { allowRoots: args["allow-root"] }),
  };
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
export function platformsArgument(text: string | readonly string[] | undefined): readonly Platform[] {
  const texts = text === undefined ? [] : [text].flat();
  return texts.flatMap((one) => one.split(",")).map((one) => parsed(() => parsePlatform(one.trim())));
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

/** Reads a `FROM=TO` of `--rename`. The expression may have an equals sign in it, a name has none. */
export function renameArgument(text: string): readonly [from: string, to: string] {
  const equals = text.lastIndexOf("=");
  if (equals < 1) throw new UsageError(`--rename ${JSON.stringify(text)} is not FROM=TO`);
  return [text.slice(0, equals), text.slice(equals + 1)];
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
  /** A location whose referrers count as well. */
  readonly referrersFrom?: string | undefined;
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
    return withReferrersOf(options.referrersFrom, options.open, source, (both) =>
      use({ source: both, location, tag: root.tag, descriptor }),
    );
  });
}

/** The source with the referrers of another location as well, where one is given. */
export function withReferrersOf<T>(
  text: string | undefined,
  open: OpenOptions,
  source: Source,
  use: (source: Source) => Promise<T>,
): Promise<T> {
  if (text === undefined) return use(source);
  return withSource(elsewhereArgument("referrers-from", text), open, (elsewhere) =>
    use(withReferrersFrom(source, elsewhere)),
  );
}

/** Reads a location of referrers: a repository, a layout or an archive as a whole. */
export function elsewhereArgument(option: string, text: string): Location {
  const location = locationArgument(text);
  const { tag, digest } = location.kind === "registry" ? location.reference : location;
  const byDefault = location.kind === "registry" && tag === "latest" && !text.endsWith(":latest");
  if ((tag === undefined || byDefault) && digest === undefined) return location;
  throw new UsageError(`--${option} ${JSON.stringify(text)} names an image; referrers are found by their subject`, {
    hint: "Leave the tag and the digest out.",
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
