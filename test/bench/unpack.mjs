/**
 * How long an image takes to unpack, beside umoci and tar.
 *
 *   node test/bench/unpack.mjs [--runs 5] [--tar FILE] [--json FILE]
 *
 * The image has one layer: the tar that is given, or one of 30,000 files of about 300 MB that is made here. The tools take
 * turns, so that whatever else the machine does hits all alike; each run starts a process and unpacks into a directory that is not there yet.
 * Reported are the medians of wall time and of processor time (user and system) in ms, the peak memory of stowage in MB,
 * and the ratios to umoci. Build first: tsc -b. What is not installed is left out.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { makeTree } from "./files.js";

const { values } = parseArgs({
  options: { runs: { type: "string", default: "5" }, tar: { type: "string" }, json: { type: "string" } },
});
const stowage = fileURLToPath(new URL("../../packages/cli/bin/stowage.js", import.meta.url));
const work = mkdtempSync(join(tmpdir(), "stowage-unpack-"));

function run(command, args) {
  const { status, stderr } = spawnSync(command, args, { cwd: work, stdio: ["ignore", "ignore", "pipe"] });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${status}: ${stderr}`);
}

/** Runs a tool in a process that can tell what its children took, which Node cannot. */
function timed(command, args) {
  const start = performance.now();
  const script = `import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=2)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(code)`;
  const { status, stdout, stderr } = spawnSync("python3", ["-c", script, command, ...args], { cwd: work });
  if (status !== 0) return { failed: String(stderr).trim().split("\n").at(-1) };
  const [cpu, memory] = String(stdout).trim().split("\n").at(-1).split(" ").map(Number);
  return { wall: performance.now() - start, cpu: cpu * 1000, memory: memory / 1024 };
}

try {
  const tar = values.tar ?? join(work, "layer.tar");
  if (values.tar === undefined) {
    makeTree(join(work, "tree"));
    run("tar", ["-cf", tar, "-C", join(work, "tree"), "."]);
  }
  run(process.execPath, [stowage, "build", "--layer", tar, "-t", "oci:image:v1", "--compression", "gzip-native"]);
  const { stdout } = spawnSync(process.execPath, [stowage, "inspect", "oci:image:v1", "--json"], { cwd: work });
  const [layer] = JSON.parse(String(stdout)).layers;
  const blob = join("image", "blobs", layer.digest.replace(":", "/"));
  const tools = {
    stowage: [process.execPath, [stowage, "unpack", "oci:image:v1", "out", "--special-files", "create"]],
    umoci: [
      "umoci",
      ["raw", "unpack", ...(process.getuid() === 0 ? [] : ["--rootless"]), "--image", "image:v1", "out"],
    ],
    tar: ["sh", ["-c", `mkdir out && tar -xpzf ${blob} -C out`]],
  };
  const samples = Object.fromEntries(Object.keys(tools).map((name) => [name, []]));
  for (let turn = 0; turn < Number(values.runs); turn++) {
    for (const [name, [command, args]] of Object.entries(tools)) {
      const sample = timed(command, args);
      if (sample.failed === undefined) samples[name].push(sample);
      else console.error(`${name} left out: ${sample.failed}`);
      rmSync(join(work, "out"), { recursive: true, force: true });
    }
  }
  const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
  const report = {};
  for (const [name, all] of Object.entries(samples)) {
    if (all.length === 0) continue;
    const of = (key) => Math.round(median(all.map((sample) => sample[key])));
    report[name] = { wall: of("wall"), cpu: of("cpu"), memory: of("memory") };
  }
  for (const [name, { wall, cpu }] of Object.entries(report)) {
    if (name === "umoci" || report.umoci === undefined) continue;
    report[name].ratio = { wall: +(wall / report.umoci.wall).toFixed(2), cpu: +(cpu / report.umoci.cpu).toFixed(2) };
  }
  console.log(JSON.stringify(report, undefined, 2));
  if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(report));
} finally {
  rmSync(work, { recursive: true, force: true });
}
