import type { ArchiveFormat, ExportReport } from "@stowage/layout";
import type { Argv } from "yargs";
import type { BaseArguments } from "./base-options.js";
import { UsageError } from "./command.js";
import { count, formatSize } from "./output.js";
import { sizeArgument } from "./quantities.js";

/** The options of an archive that is carried somewhere: in parts, and with a receipt. */
export interface DeliveryArguments {
  readonly "max-part": string | undefined;
  /** False with `--no-receipt`. */
  readonly receipt: string | false | undefined;
}

/** Adds the options of {@link DeliveryArguments}. */
export function withDeliveryOptions<T>(yargs: Argv<T>): Argv<T & DeliveryArguments> {
  return yargs
    .option("max-part", {
      type: "string",
      requiresArg: true,
      describe: "Cut the archive into parts of at most this size, like 2GB, each a tar: FILE.part-1-of-3.tar and so on",
    })
    .option("receipt", {
      type: "string",
      requiresArg: true,
      describe:
        "Where to write the digests of what was delivered, for --since [default: FILE.receipt.json; --no-receipt]",
    }) as unknown as Argv<T & DeliveryArguments>;
}

/** What the options say of an archive. */
export interface Delivery {
  readonly format: ArchiveFormat;
  readonly maxPart: number | undefined;
  /** Where the receipt goes; undefined where there shall be none. */
  readonly receipt: string | undefined;
}

/** Reads the options. What a loader could not load is wrong usage. */
export function deliveryArguments(
  args: {
    readonly format: ArchiveFormat | undefined;
    readonly compression: string;
    readonly since: BaseArguments["since"];
    readonly maxPart: string | undefined;
    readonly receipt: string | false | undefined;
  },
  target: string,
): Delivery {
  const maxPart = sizeArgument("max-part", args.maxPart);
  const option = maxPart !== undefined ? "max-part" : args.since !== undefined ? "since" : undefined;
  const format = args.format ?? (option === undefined ? "hybrid" : "oci");
  if (option !== undefined && format !== "oci")
    throw new UsageError(`--${option} and --format ${format} do not go together: loaders want all of it in one file`);
  if (maxPart !== undefined && target === "-")
    throw new UsageError("--max-part makes several files, which cannot all go to stdout");
  if (maxPart !== undefined && args.compression !== "none")
    throw new UsageError("--max-part makes plain tars, each readable by itself; layers are compressed already", {
      hint: "Leave --compress out, and end FILE in .tar.",
    });
  if (args.receipt === "-") throw new UsageError("--receipt needs a FILE");
  const beside = target === "-" ? undefined : `${target}.receipt.json`;
  return { format, maxPart, receipt: args.receipt === false ? undefined : (args.receipt ?? beside) };
}

/** The files that an export wrote beside or instead of the archive, for a person. */
export function deliveryLines({ parts, receipt }: ExportReport, receiptPath: string | undefined): string[] {
  const lines = (parts ?? []).map(({ path, content }) => {
    const size = content.reduce((total, one) => total + (one.piece?.length ?? one.size), 0);
    return `  part      ${path}: ${count(content.length, "blob")}, ${formatSize(size)}`;
  });
  if (receiptPath !== undefined) lines.push(`  receipt   ${receiptPath}: ${count(receipt.content.length, "digest")}`);
  return lines;
}
