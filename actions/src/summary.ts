import * as core from "@actions/core";
import { visible } from "./log.js";

/** What an action adds to the summary of the job: a heading, a table, pictures. */
export interface Summary {
  readonly heading: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** Mermaid diagrams; an empty one is left out. What strangers wrote must not stand in them as it is. */
  readonly pictures?: readonly string[];
}

/** The runner takes 1 MiB for each step; a cell has at most 500 characters, each of them up to six bytes long when it is escaped. */
const MAXIMUM_ROWS = 40;
const MAXIMUM_CELL = 500;

/** Appends to the summary of the job. Text is shown as it is: neither HTML nor Markdown in it is obeyed. A summary that cannot be written is a warning, no failure. */
export async function writeSummary({ heading, columns, rows, pictures = [] }: Summary): Promise<void> {
  if (!process.env.GITHUB_STEP_SUMMARY) return;
  const rest = rows.length - MAXIMUM_ROWS;
  core.summary
    .addHeading(escaped(heading), 3)
    .addTable([
      columns.map((data) => ({ data: escaped(data), header: true })),
      ...rows.slice(0, MAXIMUM_ROWS).map((row) => row.map(cell)),
      ...(rest > 0 ? [[{ data: `and ${rest} more`, colspan: String(columns.length) }]] : []),
    ]);
  for (const picture of pictures)
    if (picture !== "") core.summary.addRaw(`\n\`\`\`mermaid\n${picture}\n\`\`\`\n`, true);
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
