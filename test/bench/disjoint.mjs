/**
 * What it takes to unpack two images that share most of their layers, the second after the first, with disjoint layers and without.
 *
 *   node test/bench/disjoint.mjs [--layers 200] [--files 100] [--shared 0.9] [--runs 3] [--json FILE]
 *
 * Each layer is a package of `--files` files of 1 to 20 kB; the two images share `--shared` of them. Each way unpacks the first image and then
 * the second, each in a process of its own into a directory that is not there yet; the ways take turns. Reported are the medians of wall time
 * in ms for either image, and the bytes of file content that were written for either. Build first: tsc -b. umoci is left out where it
 * is not installed.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    layers: { type: "string", default: "200" },
    files: { type: "string", default: "100" },
    shared: { type: "string", default: "0.9" },
    runs: { type: "string", default: "3" },
    json: { type: "string" },
  },
});
const [layers, files, shared] = [Number(values.layers), Number(values.files), Number(values.shared)];
const stowage = fileURLToPath(new URL("../../packages/cli/bin/stowage.js", import.meta.url));
const work = mkdtempSync(join(tmpdir(), "stowage-disjoint-"));

function run(command, args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: work, maxBuffer: 2 ** 28 });
  if (status !== 0) throw new Error(`${command} ended with ${status}: ${error ?? stderr}`);
  return String(stdout);
}

const cli = (...args) => JSON.parse(run(process.execPath, [stowage, ...args, "--json"]));

/** The tar of a package, with bytes that compress about as well as programs do. */
function makePackage(name, seed) {
  let state = seed + 1;
  const root = join(work, "tree", name);
  const directory = join(root, "opt", "packages", name);
  mkdirSync(directory, { recursive: true });
  for (let at = 0; at < files; at++) {
    const bytes = Buffer.alloc(1000 + ((at * 7919) % 19_000));
    for (let byte = 0; byte < bytes.length; byte++) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      bytes[byte] = (state >>> 24) % 3 === 0 ? state >>> 16 : 101;
    }
    writeFileSync(join(directory, `file-${at}`), bytes);
  }
  for (const path of [directory, join(root, "opt", "packages"), join(root, "opt")]) utimesSync(path, 1, 1);
  run("tar", ["--owner=0", "--group=0", "--sort=name", "-czf", `${name}.tgz`, "-C", root, "opt"]);
  rmSync(root, { recursive: true });
  return `${name}.tgz`;
}

function makeImage(tag, tars) {
  cli("build", ...tars.flatMap((tar) => ["--layer", tar]), "-t", `oci:image:${tag}`);
  cli("disjoint", "annotate", `oci:image:${tag}`);
}

const of = (mode, tag) => ["unpack", `oci:image:${tag}`, `out-${tag}`, "--disjoint", mode];
const ways = {
  ordinary: (tag) => cli("unpack", `oci:image:${tag}`, `out-${tag}`),
  merge: (tag) => cli(...of("merge", tag)),
  hardlink: (tag) => cli(...of("hardlink", tag), "--store", "store"),
  reflink: (tag) => cli(...of("reflink", tag), "--store", "store"),
  "bind-plan": (tag) => cli(...of("bind-plan", tag), "--store", "store"),
  umoci: (tag) => {
    run("umoci", [
      "raw",
      "unpack",
      ...(process.getuid() === 0 ? [] : ["--rootless"]),
      "--image",
      `image:${tag}`,
      `out-${tag}`,
    ]);
  },
};

try {
  const count = Math.round(layers * shared);
  const common = Array.from({ length: count }, (_, at) => makePackage(`common-${at}`, at));
  for (const [seed, tag] of ["one", "two"].entries())
    makeImage(tag, [
      ...common,
      ...Array.from({ length: layers - count }, (_, at) => makePackage(`${tag}-${at}`, 1000 * (seed + 1) + at)),
    ]);
  if (spawnSync("umoci", ["--version"]).status !== 0) delete ways.umoci;
  const report = Object.fromEntries(Object.keys(ways).map((name) => [name, { one: [], two: [], written: {} }]));
  for (let turn = 0; turn < Number(values.runs); turn++) {
    for (const [name, unpack] of Object.entries(ways)) {
      for (const tag of ["one", "two"]) {
        const start = performance.now();
        const result = unpack(tag);
        report[name][tag].push(performance.now() - start);
        if (result !== undefined) report[name].written[tag] = result.bytesWritten ?? result.bytes;
      }
      for (const path of ["out-one", "out-two", "store"]) rmSync(join(work, path), { recursive: true, force: true });
    }
  }
  const median = (numbers) => Math.round([...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]);
  for (const way of Object.values(report)) Object.assign(way, { one: median(way.one), two: median(way.two) });
  console.log(JSON.stringify(report, undefined, 2));
  if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(report));
} finally {
  rmSync(work, { recursive: true, force: true });
}
