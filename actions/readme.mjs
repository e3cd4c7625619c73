// Writes the tables of inputs and outputs in docs/actions from the action.yml files; with --check it only says whether they
// are up to date.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";

const here = dirname(fileURLToPath(import.meta.url));
const pages = join(here, "..", "docs", "actions");
const actions = readdirSync(here, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && readdirSync(join(here, entry.name)).includes("action.yml"))
  .map((entry) => entry.name);

for (const name of actions) {
  const file = join(pages, `${name}.md`);
  const before = readFileSync(file, "utf8");
  const { inputs, outputs } = parse(readFileSync(join(here, name, "action.yml"), "utf8"));
  const withInputs = replace(
    before,
    `${name} inputs`,
    table(["Input", "Default", "Description"], Object.entries(inputs).map(inputRow)),
  );
  const after = replace(
    withInputs,
    `${name} outputs`,
    table(
      ["Output", "Description"],
      Object.entries(outputs).map(([output, { description }]) => [`\`${output}\``, description]),
    ),
  );
  if (after === before) continue;
  if (process.argv.includes("--check"))
    fail(`${file} differs from ${name}/action.yml: run \`pnpm --filter @stowage/actions readme\``);
  writeFileSync(file, after);
}

function inputRow([name, { description, required, default: value }]) {
  return [`\`${name}\``, required ? "required" : value === undefined ? "" : `\`${value}\``, description];
}

/** Replaces what stands between the two comments that carry the title. */
function replace(text, title, content) {
  const start = `<!-- ${title} -->\n`;
  const end = `<!-- end of ${title} -->`;
  const from = text.indexOf(start);
  const to = text.indexOf(end);
  if (from < 0 || to < from) fail(`docs/actions has no place for the ${title}`);
  return `${text.slice(0, from)}${start}\n${content}\n\n${text.slice(to)}`;
}

/** With columns of even width, as the formatter of this repository wants them. */
function table(columns, rows) {
  const cells = [columns, ...rows].map((row) => row.map((cell) => cell.replaceAll("|", "\\|")));
  const widths = columns.map((_, at) => Math.max(3, ...cells.map((row) => row[at].length)));
  const line = (row) => `| ${row.map((cell, at) => cell.padEnd(widths[at])).join(" | ")} |`;
  return [line(cells[0]), line(widths.map((width) => "-".repeat(width))), ...cells.slice(1).map(line)].join("\n");
}

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}
