import { isOciError } from "@stowage/layout";
import type { SyncedImage, SyncReport } from "@stowage/registry";
import type { CommonOptions, Context, ExitCode } from "./command.js";
import { count, formatSize, note, printJson, printLines, table } from "./output.js";

/** Prints what became of each image of a sync, failures first. The exit code is 3 where a part failed, and 1 where nothing was done. */
export function printSync(
  context: Context,
  report: SyncReport,
  args: CommonOptions & { readonly dryRun: boolean },
): ExitCode {
  const problems = printFailures(context, report);
  const done = report.images.filter(({ error }) => error === undefined);
  if (args.json) printJson(context, report);
  else if (args.quiet)
    printLines(
      context,
      done.map(({ target }) => target),
    );
  else
    printLines(context, [...imageLines(done), ...prunedLines(report, args.dryRun), summary(report, done, args.dryRun)]);
  if (problems === 0) return 0;
  return done.length === 0 ? 1 : 3;
}

function printFailures(context: Context, report: SyncReport): number {
  const tell = (what: string, error: unknown): void => {
    note(context, `${what}: ${(error as Error).message}`);
    if (isOciError(error) && error.hint !== undefined) context.err.write(`  ${error.hint}\n`);
  };
  let problems = 0;
  for (const { where, source, error } of [...report.failures, ...report.images]) {
    if (error === undefined) continue;
    problems++;
    tell(`not synced: ${where}: ${source}`, error);
  }
  for (const { source, report: copied } of report.images)
    for (const { path, error } of copied?.failures ?? []) {
      problems++;
      tell(`not synced: ${source}: ${path.join(" > ")}`, error);
    }
  for (const { target, tag, error } of report.pruned) {
    if (error === undefined) continue;
    problems++;
    tell(`not pruned: ${target}: ${tag}`, error);
  }
  for (const { path, blobs, entries, index } of report.salvaged) {
    const parts = [
      ...(index === undefined ? [] : [`its index (${index})`]),
      ...(blobs.length === 0 ? [] : [count(blobs.length, "blob")]),
      ...(entries.length === 0 ? [] : [`${entries.join(", ")} from the index`]),
    ];
    note(context, `damaged, and taken out of oci:${path}: ${parts.join("; ")}`);
  }
  for (const group of report.notPruned)
    note(context, `not pruned: ${group}: not all is known that belongs there, because something failed`);
  return problems;
}

function imageLines(images: readonly SyncedImage[]): string[] {
  return table(
    images.map(({ change, source, target, descriptor }) =>
      [change ?? "copied", `${source} -> ${target}`, descriptor.digest].map(String),
    ),
  );
}

function prunedLines({ pruned }: SyncReport, dryRun: boolean): string[] {
  const word = dryRun ? "prune" : "pruned";
  return pruned
    .filter(({ error }) => error === undefined)
    .map(({ target, tag, digest }) => `${word}  ${target} ${tag} (${digest})`);
}

function summary(report: SyncReport, done: readonly SyncedImage[], dryRun: boolean): string {
  const moved = done.reduce((sum, image) => sum + (image.report?.bytes ?? 0), 0);
  const changes = (["created", "moved", "unchanged"] as const)
    .map((change) => [change, done.filter((image) => image.change === change).length] as const)
    .filter(([, number]) => number > 0)
    .map(([change, number]) => `${number} ${change}`);
  const parts = [count(done.length, "image"), ...(changes.length === 0 ? [] : [changes.join(", ")])];
  const lock = report.lock === undefined ? "" : `; lock ${report.lock.digest}`;
  return `${parts.join(": ")}; ${formatSize(moved)} ${dryRun ? "to move" : "moved"}${lock}`;
}
