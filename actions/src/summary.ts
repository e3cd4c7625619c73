import * as core from "@actions/core";
import { visible } from "./log.js";

/** A table for the summary of the job: a heading, the names of its columns, its rows. */
export interface SummaryTable {
  readonly heading: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** The runner takes 1 MiB for each step; a cell has at most 500 characters, each of them up to six bytes long when it is escaped. */
const MAXIMUM_ROWS = 40;
const MAXIMUM_CELL = 500;

/** Appends a table to the summary of the job. Its text is shown as it is: neither HTML nor Markdown in it is obeyed. A summary that cannot be written is a warning, no failure. */
export async function writeSummary(table: SummaryTable): Promise<void> {
  if (!process.env.GITHUB_STEP_SUMMARY) return;
  const rest = table.rows.length - MAXIMUM_ROWS;
  core.summary
    .addHeading(escaped(table.heading), 3)
    .addTable([
      table.columns.map((data) => ({ data: escaped(data), header: true })),
      ...table.rows.slice(0, MAXIMUM_ROWS).map((row) => row.map(cell)),
      ...(rest > 0 ? [[{ data: `and ${rest} more`, colspan: String(table.columns.length) }]] : []),
    ]);
  try {
    await core.summary.write();
  } catch (error) {
    core.warning(`cannot write the summary: ${(error as Error).message}`);
  }
}

/** Digests and names stay together where the browser breaks lines. */
function cell(text: string): string {
  const short = text.length > MAXIMUM_CELL ? `${text.slice(0, MAXIMUM_CELL)}...` : text;
  return /[:/]/.test(short) ? `<code>${escaped(short)}</code>` : escaped(short);
}

function escaped(text: string): string {
  return visible(text).replace(/[&<>"'`|@\\*_[\]]/g, (character) => `&#${character.charCodeAt(0)};`);
}
