// What was measured, as Markdown and as a picture.
import { goal, resultText, shortfalls } from "./measure.js";

/** The page of the benchmarks. `report` is what benchmarks.json holds. */
export function page({ versions, benchmarks }) {
  const sections = Object.entries(benchmarks);
  const rows = sections.flatMap(([, { rows: all }]) => all).filter((row) => goal(row) !== "");
  const reached = rows.filter((row) => shortfalls(row).length === 0).length;
  return [
    `# Benchmarks

Made by \`pnpm bench\`: each tool is a process of its own, they take turns in the same run, and what stands here are medians of the time on the
wall, the start of the process included, with the largest resident set. The ratio is to the quickest of the others, or of those the row is
about: below 1 stowage is the quicker. What is to be reached is what we ask of ourselves; ${reached} of ${rows.length} rows reach it, and under each
table stands why the others do not.

![Ratios to the quickest peer](benchmarks.svg)

Versions: ${versions.join(", ")}.
`,
    ...sections.map(([name, section]) => sectionText(name, section)),
  ].join("\n");
}

function sectionText(name, { machine, date, rows }) {
  const compared = rows.filter(({ points }) => points === undefined);
  const grown = rows.filter(({ points }) => points !== undefined);
  const short = compared.filter((row) => shortfalls(row).length > 0);
  const lines = [`## ${name}`, "", `${machine}, ${date}.`, ""];
  if (compared.length > 0) {
    lines.push("| what | stowage | others | ratio | to reach |", "|---|---|---|---|---|");
    lines.push(...compared.map(rowLine), "");
  }
  for (const row of short) lines.push(`- ${row.what} (${shortfalls(row).join("; ")}): ${row.why ?? ""}`);
  if (short.length > 0) lines.push("");
  for (const one of grown) lines.push(...growthLines(one), "");
  return lines.join("\n");
}

function rowLine(row) {
  const theirs = Object.entries(row.others).map(([tool, result]) => `${tool} ${resultText(result)}`);
  const ratio = row.ratio === undefined ? "" : `${row.ratio.toFixed(2)} of ${row.best}`;
  const reached = goal(row) === "" ? "" : shortfalls(row).length === 0 ? ", reached" : ", not reached";
  const what = row.note === undefined ? row.what : `${row.what} (${row.note})`;
  return tableLine([what, resultText(row.ours), theirs.join("<br>"), ratio, `${goal(row)}${reached}`]);
}

function growthLines({ what, unit, points }) {
  const tools = [...new Set(points.flatMap(({ results }) => Object.keys(results)))];
  return [
    tableLine([`${what}: ${unit}`, ...points.map(({ count }) => count.toLocaleString("en"))]),
    `|---|${points.map(() => "---|").join("")}`,
    ...tools.map((tool) => {
      const cells = points.map(({ results }) => (results[tool] === undefined ? "" : resultText(results[tool])));
      return tableLine([tool, ...cells]);
    }),
  ];
}

function tableLine(cells) {
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

const [WIDTH, LEFT, LINE, UNIT] = [900, 430, 20, 180];

/** A bar for each ratio, with a line where it is one. Bars of more than 2 are cut off. */
export function picture({ benchmarks }) {
  const rows = Object.values(benchmarks)
    .flatMap(({ rows: all }) => all)
    .filter(({ ratio }) => ratio !== undefined && ratio !== null);
  const height = rows.length * LINE + 40;
  const bars = rows.map(({ what, ratio, best, target }, at) => {
    const y = 30 + at * LINE;
    const length = Math.min(ratio, 2.3) * UNIT;
    const good = ratio <= (target ?? 1);
    const mark =
      target === undefined
        ? ""
        : `<line x1="${LEFT + target * UNIT}" x2="${LEFT + target * UNIT}" y1="${y - 1}" y2="${y + 15}" stroke="#b35900" stroke-width="2"/>`;
    return [
      `<text x="${LEFT - 8}" y="${y + 11}" text-anchor="end">${escaped(what)}</text>`,
      `<rect x="${LEFT}" y="${y}" width="${length.toFixed(1)}" height="14" fill="${good ? "#3a7d44" : "#8a8a8a"}"/>`,
      mark,
      `<text x="${LEFT + length + 6}" y="${y + 11}">${ratio.toFixed(2)} of ${escaped(best)}</text>`,
    ].join("");
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="${LEFT}" y="16">time of stowage / time of the quickest other tool; the mark is what is to be reached</text>
<line x1="${LEFT + UNIT}" x2="${LEFT + UNIT}" y1="24" y2="${height - 8}" stroke="#333333"/>
${bars.join("\n")}
</svg>
`;
}

function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
