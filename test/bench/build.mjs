/**
 * How long a layer of 30,000 files (about 300 MB) takes to build, the first time and again unchanged, beside tar with gzip,
 * pigz and sha256sum, umoci and buildah.
 *
 *   node test/bench/build.mjs [--runs 3] [--compression gzip] [--json FILE]
 *
 * The tools take turns, so that whatever else the machine does hits all alike. Reported are the medians of wall time and of
 * processor time (user and system) in ms, the peak memory in MB, and ratios: `first` to `tar | gzip -6`, `unchanged` to
 * `tar | sha256sum`. Build first: tsc -b. What is not installed is left out.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { makeTree, median, timed } from "./measure.js";

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "3" },
    compression: { type: "string", default: "gzip" },
    json: { type: "string" },
  },
});
const stowage = fileURLToPath(new URL("../../packages/cli/bin/stowage.js", import.meta.url));
const work = mkdtempSync(join(tmpdir(), "stowage-build-bench-"));
const shell = (script) => ["sh", ["-c", script]];
const stowageBuild = [
  process.execPath,
  [stowage, "build", "tree:/data", "-t", "oci:image:v1", "--compression", values.compression, "-q"],
];
const store = "--root store --runroot run --storage-driver vfs";
/** Each with what makes the first run a first one. */
const tools = {
  first: { run: stowageBuild, before: ["image"] },
  unchanged: { run: stowageBuild },
  "tar | gzip -6": { run: shell("tar -cf - tree | gzip -6 > out.gz") },
  "tar | pigz": { run: shell("tar -cf - tree | pigz > out.gz") },
  "tar | sha256sum": { run: shell("tar -cf - tree | sha256sum > out.sum") },
  umoci: {
    run: shell("umoci init --layout umoci && umoci new --image umoci:v1 && umoci insert --image umoci:v1 tree /data"),
    before: ["umoci"],
  },
  buildah: {
    run: shell(
      `c=$(buildah ${store} from scratch) && buildah ${store} copy -q $c tree /data && buildah ${store} commit -q $c oci:buildah:v1 && buildah ${store} rm $c`,
    ),
    before: ["buildah", "store", "run"],
  },
};

try {
  makeTree(join(work, "tree"));
  const samples = Object.fromEntries(Object.keys(tools).map((name) => [name, []]));
  for (let turn = 0; turn < Number(values.runs); turn++) {
    for (const [name, { run, before = [] }] of Object.entries(tools)) {
      for (const path of before) rmSync(join(work, path), { recursive: true, force: true });
      const sample = timed(work, ...run);
      if (sample.failed === undefined) samples[name].push(sample);
      else console.error(`${name} left out: ${sample.failed}`);
    }
  }
  const report = {};
  for (const [name, all] of Object.entries(samples)) {
    if (all.length === 0) continue;
    const of = (key) => Math.round(median(all.map((sample) => sample[key])));
    report[name] = { wall: of("wall"), cpu: of("cpu"), memory: of("memory") };
  }
  for (const [name, peer] of [
    ["first", "tar | gzip -6"],
    ["unchanged", "tar | sha256sum"],
  ]) {
    const [own, other] = [report[name], report[peer]];
    if (own !== undefined && other !== undefined)
      own.ratio = { wall: +(own.wall / other.wall).toFixed(2), cpu: +(own.cpu / other.cpu).toFixed(2) };
  }
  console.log(JSON.stringify(report, undefined, 2));
  if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(report));
} finally {
  rmSync(work, { recursive: true, force: true });
}
