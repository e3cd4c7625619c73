import type { CopyReport, Descriptor, Location } from "@stowage/layout";
import type { CommonOptions, Context, ExitCode } from "./command.js";
import { besideArchive, note, printJson, printLines } from "./output.js";

/** What every command reports that stores something else than it was given. */
export interface ChangeReport {
  readonly descriptor: Descriptor;
  /** What it was, where there was something. */
  readonly before?: Descriptor;
  readonly copy: CopyReport;
}

/** Prints what was made, after what did not come along, each with a note. The exit code is 3 where a referrer was lost on the way. */
export function printChange(
  context: Context,
  report: ChangeReport,
  args: CommonOptions,
  {
    target,
    notes,
    lines,
  }: { readonly target: Location; readonly notes: readonly string[]; readonly lines: readonly string[] },
): ExitCode {
  for (const { path, error } of report.copy.failures)
    note(context, `not copied: ${path.join(" > ")}: ${(error as Error).message}`);
  for (const text of notes) note(context, text);
  const beside = besideArchive(context, [target]);
  if (args.json) printJson(beside, report);
  else if (args.quiet) printLines(beside, [report.descriptor.digest]);
  else printLines(beside, lines);
  return report.copy.failures.length > 0 ? 3 : 0;
}

/** Both digests, where they differ; `what` it is that has a new one. */
export function newDigestLines(what: string, before: Descriptor | undefined, after: Descriptor): string[] {
  if (before === undefined || before.digest === after.digest) return [];
  return [`  NEW DIGEST${what}:`, `    was ${before.digest}`, `    is  ${after.digest}`];
}
