import type { CopyOptions, Source } from "@stowage/layout";
import { type RegistryClient, Repository, type UploadOptions } from "@stowage/registry";
import type { Argv } from "yargs";
import { UsageError } from "./command.js";
import { sizeArgument } from "./quantities.js";

/** How blobs are sent. */
export interface UploadArguments {
  readonly upload: "auto" | "monolithic" | "chunked";
  readonly "chunk-size": string | undefined;
}

/** The options of every command that moves images: what is done, and how blobs are sent. */
export interface TransferArguments extends UploadArguments {
  readonly "dry-run": boolean;
  readonly clobber: boolean;
  readonly "legacy-tags": boolean;
  readonly "force-recursive": boolean;
  readonly "include-external": boolean;
  readonly concurrency: string | undefined;
}

/** Adds the options of {@link TransferArguments}. */
export function withTransferOptions<T>(yargs: Argv<T>): Argv<T & TransferArguments> {
  return withUploadOptions(yargs)
    .option("dry-run", {
      type: "boolean",
      default: false,
      describe: "Say what would be sent, mounted and tagged, and do nothing",
    })
    .option("clobber", {
      type: "boolean",
      default: true,
      describe: "Move tags that stand for something else; --no-clobber fails before anything is sent",
    })
    .option("legacy-tags", {
      type: "boolean",
      default: true,
      describe: "Take tags like sha256-<hex>.sig along with what they are about, as referrers go along",
    })
    .option("force-recursive", {
      type: "boolean",
      default: false,
      describe: "Check every blob also where the target has the manifest",
    })
    .option("include-external", {
      type: "boolean",
      default: false,
      describe: "Fetch layers that may not be distributed from their urls; without this they are left out",
    })
    .option("concurrency", {
      type: "string",
      requiresArg: true,
      describe: "How many blobs move at once [default: 16, or 4 large ones]",
    }) as unknown as Argv<T & TransferArguments>;
}

/** Adds the options of {@link UploadArguments}. */
export function withUploadOptions<T>(yargs: Argv<T>): Argv<T & UploadArguments> {
  return yargs
    .option("upload", {
      choices: ["auto", "monolithic", "chunked"] as const,
      default: "auto" as const,
      group: "Registries:",
      describe: "Send a blob in one request, in chunks, or in chunks only where one request does not do",
    })
    .option("chunk-size", {
      type: "string",
      requiresArg: true,
      group: "Registries:",
      describe: "The size of a chunk, like 10MiB [default: 4MiB]",
    }) as unknown as Argv<T & UploadArguments>;
}

/** How blobs are sent, for the client. */
export function uploadOptions(args: UploadArguments): UploadOptions {
  const chunkSize = sizeArgument("chunk-size", args["chunk-size"]);
  if (chunkSize !== undefined && chunkSize < 1) throw new UsageError("--chunk-size has to be at least one byte");
  return { strategy: args.upload, chunkSize };
}

/** What the options say for the copy itself. */
export function transferOptions(
  args: TransferArguments,
  source: Source,
  client: RegistryClient | undefined,
): Pick<CopyOptions, "noClobber" | "legacyTags" | "forceRecursive" | "external" | "concurrency"> {
  const concurrency = Number(args.concurrency ?? 1);
  if (!Number.isInteger(concurrency) || concurrency < 1)
    throw new UsageError(`--concurrency ${args.concurrency} is no number of blobs`);
  const elsewhere = source instanceof Repository ? source : client;
  return {
    ...(args.concurrency === undefined ? {} : { concurrency }),
    noClobber: !args.clobber,
    legacyTags: args["legacy-tags"],
    forceRecursive: args["force-recursive"],
    external:
      args["include-external"] && elsewhere !== undefined
        ? (layer, options) => elsewhere.external(layer, options)
        : undefined,
  };
}
