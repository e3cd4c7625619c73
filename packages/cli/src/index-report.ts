import type { IndexReport } from "@stowage/image";
import {
  type CopyOptions,
  type Descriptor,
  formatLocation,
  formatPlatform,
  isAttestation,
  isIndexType,
  type Location,
  type Target,
} from "@stowage/layout";
import { type OpenOptions, withTarget } from "@stowage/registry";
import { newDigestLines, printChange } from "./change-report.js";
import type { CommonOptions, Context, ExitCode } from "./command.js";
import { reportLines } from "./commands/copy.js";
import { count, formatSize, table } from "./output.js";
import { followCopy, startProgress } from "./progress.js";

/** Stores an index at `location`: what `verb` makes there. */
export function storeIndex(
  location: Location,
  tag: string | undefined,
  open: OpenOptions,
  context: Context,
  args: CommonOptions,
  verb: (target: Target, options: CopyOptions) => Promise<IndexReport>,
): Promise<IndexReport> {
  const progress = startProgress(context, "copying", args.quiet || args.json);
  return withTarget(location, open, (target) =>
    verb(target, {
      signal: context.signal,
      tags: tag === undefined ? [] : [tag],
      onEvent: followCopy(progress),
    }),
  ).finally(() => progress.stop());
}

/** Prints what index was made, and what it lists. */
export function printIndex(
  context: Context,
  report: IndexReport,
  args: CommonOptions,
  location: Location,
  tag: string | undefined,
): ExitCode {
  const { before, descriptor, manifests, left, copy } = report;
  return printChange(context, report, args, {
    target: location,
    notes:
      left.length === 0
        ? []
        : [`${count(left.length, "referrer")} of what was changed stay with that: ${digests(left)}`],
    lines: [
      formatLocation(tag === undefined ? location : withTag(location, tag)),
      ...newDigestLines(" of the index", before, descriptor),
      ...entryTable(manifests).map((line) => `  ${line}`),
      ...reportLines(copy),
    ],
  });
}

/** The entries of an index in columns. */
export function entryTable(entries: readonly Descriptor[]): string[] {
  return table(entries.map((entry) => [kindOf(entry), entry.digest, formatSize(entry.size)]));
}

/** The location with another tag, and without a digest. */
export function withTag(location: Location, tag: string): Location {
  if (location.kind !== "registry") {
    const { digest: _digest, ...rest } = location;
    return { ...rest, tag };
  }
  const { host, repository } = location.reference;
  return { ...location, reference: { host, repository, tag } };
}

function kindOf(entry: Descriptor): string {
  if (isAttestation(entry)) return "attestation";
  if (entry.platform !== undefined) return formatPlatform(entry.platform);
  return entry.artifactType ?? (isIndexType(entry.mediaType) ? "index" : "manifest");
}

function digests(descriptors: readonly Descriptor[]): string {
  return descriptors.map(({ digest }) => digest).join(", ");
}
