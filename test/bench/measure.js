// What the benchmarks share: finding tools, running them in turn, medians and ratios.
import { spawn, spawnSync } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, homedir, tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

/** The command of this repository, as it is built. */
export const stowage = [process.execPath, fileURLToPath(new URL("../../packages/cli/bin/stowage.js", import.meta.url))];

const searched = [
  process.env.STOWAGE_PEERS ?? join(homedir(), ".cache", "stowage-peers"),
  ...(process.env.PATH ?? "").split(delimiter),
  "/usr/sbin",
];

/** The path of a tool, undefined where it is not installed. */
export function findTool(name) {
  return searched
    .map((directory) => join(directory, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** The options of a benchmark: `--runs N`, `--json FILE`, and those it has of its own. */
export function benchOptions(own = {}) {
  const options = { runs: { type: "string", default: "5" }, json: { type: "string" }, ...own };
  const { values } = parseArgs({ options });
  return { ...values, runs: Number(values.runs) };
}

const cleanups = [];

/** Registers what is to be done when the benchmark ends, however it ends. */
export function atEnd(cleanup) {
  cleanups.push(cleanup);
}

/** An empty directory that goes away at the end. */
export function scratch() {
  const directory = mkdtempSync(join(tmpdir(), "stowage-bench-"));
  atEnd(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** A child process that is ended at the end. */
export function launch(command, args, options = {}) {
  const child = spawn(command, args, { stdio: "ignore", ...options });
  atEnd(() => child.kill("SIGKILL"));
  return child;
}

/** A home of its own for every tool: no credentials and no settings of whoever runs this. */
export function toolEnvironment(home, more = {}) {
  // buildah wants the file to be there.
  writeFileSync(join(home, "config.json"), "{}");
  return {
    ...process.env,
    HOME: home,
    XDG_CONFIG_HOME: home,
    XDG_RUNTIME_DIR: home,
    DOCKER_CONFIG: home,
    REGISTRY_AUTH_FILE: "",
    NODE_OPTIONS: "",
    PATH: searched.join(delimiter),
    ...more,
  };
}

/** Runs a tool that must succeed, without measuring it. */
export function run(command, args, options = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { maxBuffer: 2 ** 28, ...options });
  if (status !== 0) throw error ?? new Error(`${command} ${args.join(" ")} ended with ${status}: ${stderr}`);
  return String(stdout);
}

// Node cannot tell what a child took. Python starts it and can; where there is none, only the time on the wall is known.
const PYTHON = `import os, resource, subprocess, sys, time
start = time.monotonic()
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
wall = time.monotonic() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
os.write(1, f"{wall} {used.ru_utime + used.ru_stime} {used.ru_maxrss}".encode())
sys.exit(code)`;
const python = findTool("python3");

/** Runs a tool once and returns `{ ms, cpu, memory }`: wall time and processor time in ms, the largest resident set in MB. */
export async function timed([command, ...args], options = {}) {
  const whole = python === undefined ? [command, ...args] : [python, "-c", PYTHON, command, ...args];
  const start = performance.now();
  const child = spawn(whole[0], whole.slice(1), { stdio: ["ignore", "pipe", "pipe"], ...options });
  let [out, err] = ["", ""];
  child.stdout.on("data", (chunk) => (out += chunk));
  child.stderr.on("data", (chunk) => (err += chunk));
  const code = await new Promise((resolve, reject) => child.once("error", reject).once("close", resolve));
  const ms = performance.now() - start;
  if (code !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${code}: ${err.slice(-2000)}`);
  if (python === undefined) return { ms };
  const [wall, cpu, memory] = out.trim().split(" ").map(Number);
  return { ms: wall * 1000, cpu: cpu * 1000, memory: memory / 1024 };
}

/** The middle one. */
export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

/**
 * Runs the contenders in turn, so that whatever else the machine does hits all alike, and returns the medians of what each took.
 * A contender is a function that does one run and returns what {@link timed} does; undefined stands for one that is not
 * installed. One that fails is named and left out.
 */
export async function inTurn(contenders, runs) {
  const samples = new Map(Object.keys(contenders).map((name) => [name, []]));
  for (let turn = 0; turn < runs; turn++) {
    for (const [name, once] of Object.entries(contenders)) {
      if (once === undefined || samples.get(name) === undefined) continue;
      try {
        samples.get(name).push(await once(turn));
      } catch (error) {
        process.stderr.write(`left out: ${name}: ${error instanceof Error ? error.message : error}\n`);
        samples.delete(name);
      }
    }
  }
  const results = {};
  for (const [name, taken] of samples) {
    if (taken.length === 0) continue;
    const keys = Object.keys(taken[0]);
    results[name] = Object.fromEntries(keys.map((key) => [key, median(taken.map((sample) => sample[key]))]));
  }
  return results;
}

/**
 * A row of the table: the results of {@link inTurn}, of which `stowage` is ours and the quickest of the others what it is measured
 * by, or of those that `against` names. `target` is the ratio to reach, `most` what may be taken at most (`ms`, `memory` in MB, `requests`),
 * `why` the reason in words where we do not reach it, `note` what else there is to say.
 */
export function row(what, results, { target, against, most, why, note } = {}) {
  const { stowage: ours, ...others } = results;
  if (ours === undefined) throw new Error(`${what}: stowage did not run`);
  const names = against === undefined ? Object.keys(others) : [against].flat().filter((name) => name in others);
  const best = names.sort((a, b) => others[a].ms - others[b].ms)[0];
  return {
    what,
    ours,
    others,
    best,
    ratio: best === undefined ? undefined : ours.ms / others[best].ms,
    cpuRatio: best === undefined || ours.cpu === undefined ? undefined : ours.cpu / others[best].cpu,
    target,
    most,
    why,
    note,
  };
}

/** How the time of something grows with what `unit` counts: `points` are `[count, results of inTurn]`, from the smallest on. */
export function growth(what, unit, points) {
  return { what, unit, points: points.map(([count, results]) => ({ count, results })) };
}

/** In which ways a row does not reach what it is to reach; empty where it does. */
export function shortfalls({ ours, ratio, target, most = {} }) {
  const short = [];
  if (target !== undefined && ratio !== undefined && ratio > target * ROUNDING)
    short.push(`${ratio.toFixed(2)}, not ${target}`);
  for (const [key, unit] of [
    ["ms", " ms"],
    ["memory", " MB"],
    ["requests", " requests"],
  ])
    if (most[key] !== undefined && ours[key] > most[key] * ROUNDING)
      short.push(`${ours[key].toFixed(0)}${unit}, not ${most[key]}${unit}`);
  return short;
}

/** What a run more or less does to a median is no shortfall. */
const ROUNDING = 1.02;

/** What a row is to reach, in words. */
export function goal({ target, most = {} }) {
  return [
    target === undefined ? [] : [`${target}`],
    most.ms === undefined ? [] : [`${most.ms} ms`],
    most.memory === undefined ? [] : [`${most.memory} MB`],
    most.requests === undefined ? [] : [`${most.requests} requests`],
  ]
    .flat()
    .join(", ");
}

/** Runs a benchmark: prints its rows as they come, and writes them to the file of `--json`. */
export async function bench(options, rows) {
  const all = [];
  const stop = () => {
    for (const cleanup of cleanups.splice(0).reverse()) cleanup();
  };
  process.once("SIGINT", () => {
    stop();
    process.exit(130);
  });
  try {
    for await (const one of rows()) {
      all.push(one);
      process.stdout.write(`${rowText(one)}\n`);
    }
    if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(all, undefined, 2)}\n`);
  } finally {
    stop();
  }
}

/** A row as lines of a terminal. */
export function rowText(one) {
  if (one.points !== undefined)
    return one.points.map(({ count, results }) => `${one.what}, ${count} ${one.unit}${each(results)}`).join("\n");
  const { what, ours, others, best, ratio } = one;
  const compared = best === undefined ? "" : `: ${ratio.toFixed(2)} of ${best}`;
  const wanted = goal(one);
  const short = shortfalls(one).length > 0 ? ", and does not" : "";
  return `${what}${one.note === undefined ? "" : ` (${one.note})`}${compared}${wanted === "" ? "" : ` (to reach: ${wanted}${short})`}${each({ stowage: ours, ...others })}`;
}

function each(results) {
  return Object.entries(results)
    .map(([name, result]) => `\n  ${name} ${resultText(result)}`)
    .join("");
}

/** `1.25 s, 62 MB, 14 requests` */
export function resultText({ ms, memory, requests }) {
  const parts = [ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(2)} s`];
  if (memory !== undefined) parts.push(`${memory.toFixed(0)} MB`);
  if (requests !== undefined) parts.push(`${requests} request${requests === 1 ? "" : "s"}`);
  return parts.join(", ");
}

/** The machine, in words. */
export function machine() {
  const [{ model }] = cpus();
  return `${cpus().length} cores (${model.trim()}), ${process.platform}, Node ${process.versions.node}`;
}

/** The tools that are here, with their versions. */
export function versions() {
  const asked = {
    crane: ["version"],
    oras: ["version"],
    regctl: ["version", "--format", "{{.VCSTag}}"],
    skopeo: ["--version"],
    umoci: ["--version"],
    buildah: ["--version"],
    regsync: ["version", "--format", "{{.VCSTag}}"],
    nix: ["--version"],
    olareg: ["version"],
    "docker-registry": ["--version"],
  };
  return Object.entries(asked).map(([name, args]) => {
    const path = findTool(name);
    if (path === undefined) return `${name} not installed`;
    const { stdout } = spawnSync(path, args, { encoding: "utf8" });
    return `${name} ${/v?\d+\.\d+(?:\.\d+)?\S*/.exec(stdout)?.[0] ?? "of unknown version"}`;
  });
}
