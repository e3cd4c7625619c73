/**
 * Runs the benchmarks and writes what they measured to docs: benchmarks.md with a table and a picture, and benchmarks.json.
 *
 *   pnpm bench [NAME...] [--runs N]   all of them, or those that are named
 *
 * Each has its own number of runs, unless one is given. The rows of benchmarks that are not run stay as they were measured before.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { machine, versions } from "./measure.js";
import { page, picture } from "./report.js";

const here = fileURLToPath(new URL(".", import.meta.url));
const docs = fileURLToPath(new URL("../../docs", import.meta.url));
const programs = new Set(["run", "link"]);
const known = readdirSync(here)
  .filter((name) => name.endsWith(".mjs"))
  .map((name) => name.slice(0, -".mjs".length))
  .filter((name) => !programs.has(name));
const { values, positionals: asked } = parseArgs({ allowPositionals: true, options: { runs: { type: "string" } } });
for (const name of asked)
  if (!known.includes(name)) {
    process.stderr.write(`no benchmark is called ${name}; there are ${known.join(", ")}\n`);
    process.exit(2);
  }

const file = join(docs, "benchmarks.json");
const before = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : { benchmarks: {} };
const benchmarks = { ...before.benchmarks };
const results = mkdtempSync(join(tmpdir(), "stowage-bench-results-"));
let failed = false;
try {
  for (const name of asked.length > 0 ? asked : known) {
    process.stdout.write(`== ${name}\n`);
    const json = join(results, `${name}.json`);
    const runs = values.runs === undefined ? [] : ["--runs", values.runs];
    const program = [join(here, `${name}.mjs`), "--json", json, ...runs];
    const { status } = spawnSync(process.execPath, program, { stdio: "inherit" });
    if (status === 0)
      benchmarks[name] = {
        machine: machine(),
        date: new Date().toISOString().slice(0, 10),
        rows: JSON.parse(readFileSync(json, "utf8")),
      };
    else {
      process.stderr.write(`${name} failed\n`);
      failed = true;
    }
  }
} finally {
  rmSync(results, { recursive: true, force: true });
}
const report = { versions: versions(), benchmarks: Object.fromEntries(Object.entries(benchmarks).sort()) };
writeFileSync(file, `${JSON.stringify(report, undefined, 2)}\n`);
writeFileSync(join(docs, "benchmarks.md"), page(report));
writeFileSync(join(docs, "benchmarks.svg"), picture(report));
process.exitCode = failed ? 1 : 0;
