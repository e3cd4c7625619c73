/**
 * How the cost of a layout grows with what it holds.
 *
 *   node test/bench/layout-scale.mjs [--sizes 100,1000,10000,100000] [--json FILE] [--keep DIR]
 *
 * Makes one layout for each size: that many referrers, a fifth of them on one subject and the others spread over the rest;
 * a subject for every hundred referrers and a tag for every ten. Each operation runs in a process of its own, once where
 * nothing was derived from the layout yet and once where a search for referrers went before it; then again in that process.
 * Times are of the operation alone, in ms, without the start of Node; memory is the largest resident set of the process, in
 * MB. Listing and adding are done by oras and regctl as well, as far as they can, on the same layout right after: there times
 * are those of whole processes, that of Node included, the median of three that alternate, and each has the ratio of
 * ours to theirs. Build first: tsc -b. STOWAGE_LIBRARY may name another build of @stowage/layout, as the URL of its index.js;
 * peers are looked for in ~/.cache/stowage-peers and in PATH.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { row } from "./measure.js";

const script = fileURLToPath(import.meta.url);
const library = process.env.STOWAGE_LIBRARY ?? new URL("../../packages/layout/dist/index.js", import.meta.url).href;
const types = {
  manifest: "application/vnd.oci.image.manifest.v1+json",
  index: "application/vnd.oci.image.index.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  layer: "application/vnd.oci.image.layer.v1.tar",
  sbom: "application/spdx+json",
};
const REF_NAME = "org.opencontainers.image.ref.name";

/** Writes a layout without asking the library for anything, so that it is quick and the same for every version. */
export function makeLayout(path, referrers) {
  mkdirSync(join(path, "blobs", "sha256"), { recursive: true });
  writeFileSync(join(path, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  const store = (value, mediaType) => {
    const bytes = typeof value === "string" ? value : JSON.stringify(value);
    const hex = createHash("sha256").update(bytes).digest("hex");
    writeFileSync(join(path, "blobs", "sha256", hex), bytes);
    return { mediaType, digest: `sha256:${hex}`, size: Buffer.byteLength(bytes) };
  };
  const layer = store("a layer", types.layer);
  const empty = store("{}", "application/vnd.oci.empty.v1+json");
  const subjects = Array.from({ length: Math.max(2, referrers / 100) }, (_, at) => {
    const config = store(
      { architecture: "amd64", os: "linux", at, rootfs: { type: "layers", diff_ids: [layer.digest] } },
      types.config,
    );
    return store({ schemaVersion: 2, mediaType: types.manifest, config, layers: [layer] }, types.manifest);
  });
  const lists = new Map(subjects.map((subject) => [subject, []]));
  const entries = [];
  for (let at = 0; at < referrers; at++) {
    const subject = at % 5 === 0 ? subjects[0] : subjects[1 + (at % (subjects.length - 1))];
    const annotations = {
      "org.opencontainers.image.created": "2024-01-02T03:04:05Z",
      "com.example.number": String(at),
    };
    const manifest = {
      schemaVersion: 2,
      mediaType: types.manifest,
      artifactType: types.sbom,
      config: empty,
      layers: [empty],
      subject,
      annotations,
    };
    const referrer = { ...store(manifest, types.manifest), artifactType: types.sbom };
    entries.push(referrer);
    lists.get(subject).push({ ...referrer, annotations });
  }
  const named = (descriptor, name) => ({ ...descriptor, annotations: { [REF_NAME]: name } });
  const tags = Array.from({ length: Math.max(1, referrers / 10) }, (_, at) =>
    named(subjects[at % subjects.length], `v${String(at).padStart(6, "0")}`),
  );
  const byDigest = (a, b) => (a.digest < b.digest ? -1 : 1);
  const listEntries = [...lists].map(([subject, manifests]) =>
    named(
      store({ schemaVersion: 2, mediaType: types.index, manifests: manifests.sort(byDigest) }, types.index),
      subject.digest.replace(":", "-"),
    ),
  );
  const byName = (a, b) => (a.annotations[REF_NAME] < b.annotations[REF_NAME] ? -1 : 1);
  const manifests = [...[...tags, ...listEntries].sort(byName), ...entries.sort(byDigest)];
  writeFileSync(join(path, "index.json"), JSON.stringify({ schemaVersion: 2, mediaType: types.index, manifests }));
  return { largest: subjects[0], usual: subjects.at(-1), tag: tags.at(-1).annotations[REF_NAME] };
}

const operations = {
  open: async () => {},
  "resolve a tag": async (layout, { tag }) => (await layout.resolve(tag)).digest,
  "list the tags": async (layout) => count(layout.tags()),
  "list one subject's referrers": async (layout, { usual }) => count(layout.referrers(usual)),
  "list the largest subject's referrers": async (layout, { largest }) => count(layout.referrers(largest)),
  "add one tag": async (layout, { usual, run }) => layout.tag(`added-${run}`, usual),
  "verify, fast": async (layout) => {
    const { isNamed, verify } = await import(library);
    const { manifests } = await layout.index();
    const sorted = [...manifests.filter(isNamed), ...manifests.filter((entry) => !isNamed(entry))];
    const roots = sorted.map((descriptor) => ({ name: descriptor.digest, descriptor }));
    return (await verify(layout, roots, { level: "fast" })).manifests;
  },
  "gc, dry run": async (layout) => (await (await import(library)).gc(layout, { dryRun: true })).live.blobs,
  "attach one referrer": async (layout, { usual, run }) => attachTo(layout, usual, run),
  "attach one to the largest subject": async (layout, { largest, run }) => attachTo(layout, largest, run),
};

async function attachTo(layout, subject, run) {
  const { attach } = await import(library);
  await attach(layout, subject, { artifactType: "application/vnd.example", annotations: { run: String(run) } });
}

/** What other tools do for the same, as parameters; those that a tool has no command for are missing. */
const attachment = (run) => ["--artifact-type", "application/vnd.example", "--annotation", `run=${run}`];
const peers = {
  oras: {
    "list one subject's referrers": (path, { usual }) => discover(path, usual),
    "list the largest subject's referrers": (path, { largest }) => discover(path, largest),
    "add one tag": (path, { tag, run }) => ["tag", "--oci-layout", `${path}:${tag}`, `added-${run}`],
    "attach one referrer": (path, { usual, run }) => [
      ...["attach", "--oci-layout", `${path}@${usual.digest}`],
      ...attachment(run),
    ],
    "attach one to the largest subject": (path, { largest, run }) => [
      ...["attach", "--oci-layout", `${path}@${largest.digest}`],
      ...attachment(run),
    ],
  },
  regctl: {
    "list one subject's referrers": (path, { usual }) => ["artifact", "list", `ocidir://${path}@${usual.digest}`],
    "list the largest subject's referrers": (path, { largest }) => [
      ...["artifact", "list", `ocidir://${path}@${largest.digest}`],
    ],
    "attach one referrer": (path, { usual, run }) => [
      ...["artifact", "put", "--subject", `ocidir://${path}@${usual.digest}`],
      ...attachment(run),
    ],
    "attach one to the largest subject": (path, { largest, run }) => [
      ...["artifact", "put", "--subject", `ocidir://${path}@${largest.digest}`],
      ...attachment(run),
    ],
  },
};

function discover(path, { digest }) {
  return ["discover", "--oci-layout", `${path}@${digest}`, "--format", "json", "--depth", "1"];
}

function pathOf(peer) {
  const directories = [join(homedir(), ".cache/stowage-peers"), ...(process.env.PATH ?? "").split(delimiter)];
  return directories.map((directory) => join(directory, peer)).find((path) => existsSync(path));
}

/** A peer that takes longer, in ms, is not waited for. */
const PATIENCE = 120_000;

/** The ms that a whole process takes; undefined where it takes too long. */
function wall(command, parameters) {
  const start = performance.now();
  const child = spawnSync(command, parameters, {
    encoding: "utf8",
    timeout: PATIENCE,
    killSignal: "SIGKILL",
    input: "",
    maxBuffer: 2 ** 28,
  });
  if (child.error?.code === "ETIMEDOUT") return undefined;
  if (child.status !== 0) throw new Error(`${command} ${parameters.join(" ")} failed: ${child.stderr}`);
  return performance.now() - start;
}

/** Ours and those of the peers, in turn; the median of three each. */
function besidePeers(operation, path, facts) {
  const contenders = new Map([["stowage", []]]);
  for (const [name, commands] of Object.entries(peers))
    if (commands[operation] !== undefined && pathOf(name) !== undefined) contenders.set(name, []);
  if (contenders.size === 1) return {};
  for (let run = 1; run <= 3; run++) {
    for (const [name, times] of contenders) {
      if (times.includes(undefined)) continue;
      const now = { ...facts, run: `${name}-${run}` };
      const ours = () => [script, "--measure", operation, "--once", "--keep", path, "--facts", JSON.stringify(now)];
      if (name !== "stowage") times.push(wall(pathOf(name), peers[name][operation](path, now)));
      else {
        // What the peers wrote is taken note of by a search, as it would be by the first of many.
        inChild("list one subject's referrers", path, facts);
        times.push(wall(process.execPath, ours()));
      }
    }
  }
  const median = (times) => (times.includes(undefined) ? undefined : times.sort((a, b) => a - b)[1]);
  return Object.fromEntries([...contenders].map(([name, times]) => [name, median(times)]));
}

async function count(items) {
  let number = 0;
  for await (const _item of items) number++;
  return number;
}

/** Runs in the child. */
async function measure(operation, path, facts) {
  const { Layout } = await import(library);
  const idle = process.resourceUsage().maxRSS;
  const start = performance.now();
  const layout = await Layout.open(path);
  const result = await operations[operation](layout, facts);
  const ms = performance.now() - start;
  if (values.once) return;
  const again = performance.now();
  await operations[operation](layout, { ...facts, run: `${facts.run}-again` });
  const rss = process.resourceUsage().maxRSS / 1024;
  process.stdout.write(JSON.stringify({ ms, againMs: performance.now() - again, rss, idle: idle / 1024, result }));
}

function inChild(operation, path, facts) {
  const child = spawnSync(
    process.execPath,
    [script, "--measure", operation, "--keep", path, "--facts", JSON.stringify(facts)],
    {
      encoding: "utf8",
      timeout: 600_000,
    },
  );
  if (child.status !== 0) throw new Error(`${operation} failed: ${child.stderr}`);
  return JSON.parse(child.stdout);
}

function benchmark(size, directory) {
  const path = join(directory, String(size));
  const started = performance.now();
  const facts = makeLayout(path, size);
  process.stderr.write(`made ${size} in ${Math.round(performance.now() - started)} ms\n`);
  const rows = [];
  for (const operation of Object.keys(operations)) {
    for (const name of readdirSync(path)) if (name.startsWith(".")) rmSync(join(path, name), { recursive: true });
    const first = inChild(operation, path, { ...facts, run: 1 });
    inChild("list one subject's referrers", path, facts);
    const next = inChild(operation, path, { ...facts, run: 2 });
    const beside = besidePeers(operation, path, facts);
    rows.push({ size, operation, indexBytes: statSync(join(path, "index.json")).size, first, next, beside });
    process.stderr.write(
      `${size} ${operation}: ${first.ms.toFixed(0)} ${next.ms.toFixed(0)} ${next.againMs.toFixed(0)}\n`,
    );
  }
  return rows;
}

function markdown(rows, sizes) {
  const lines = [
    `| operation | ${sizes.map((size) => `${size}: first / next / again ms, MB`).join(" | ")} | growth |`,
    `| --- | ${sizes.map(() => "---").join(" | ")} | --- |`,
  ];
  for (const operation of Object.keys(operations)) {
    const mine = sizes.map((size) => rows.find((row) => row.size === size && row.operation === operation));
    const cells = mine.map(
      ({ first, next }) =>
        `${first.ms.toFixed(0)} / ${next.ms.toFixed(0)} / ${next.againMs.toFixed(1)}, ${next.rss.toFixed(0)}`,
    );
    const growth = mine.at(-1).next.ms / mine[0].next.ms;
    lines.push(`| ${operation} | ${cells.join(" | ")} | ×${growth.toFixed(1)} for ×${sizes.at(-1) / sizes[0]} |`);
  }
  return lines.join("\n");
}

function peersTable(rows, sizes) {
  const seconds = (ms) => (ms === undefined ? `> ${PATIENCE / 1000}` : (ms / 1000).toFixed(2));
  const lines = [`| whole process, s | ${sizes.join(" | ")} |`, `| --- | ${sizes.map(() => "---").join(" | ")} |`];
  for (const operation of new Set(
    rows.filter(({ beside }) => beside.stowage !== undefined).map((row) => row.operation),
  )) {
    const cells = sizes.map((size) => {
      const { stowage, ...others } = rows.find((row) => row.size === size && row.operation === operation).beside;
      const ratio = (ms) => `${ms === undefined ? "< " : ""}${(stowage / (ms ?? PATIENCE)).toFixed(2)}`;
      const theirs = Object.entries(others).map(([name, ms]) => `${name} ${seconds(ms)} (ratio ${ratio(ms)})`);
      return [`stowage ${seconds(stowage)}`, ...theirs].join(", ");
    });
    lines.push(`| ${operation} | ${cells.join(" | ")} |`);
  }
  return lines.join("\n");
}

/** The rows of the table of all benchmarks: what the peers do as well, for each size. */
function tableRows(rows, sizes) {
  return sizes.flatMap((size) =>
    rows
      .filter((one) => one.size === size && one.beside.stowage !== undefined)
      .map(({ operation, beside, next }) => {
        const done = Object.entries(beside).filter(([, ms]) => ms !== undefined);
        const results = Object.fromEntries(done.map(([name, ms]) => [name, { ms }]));
        results.stowage = { ...results.stowage, memory: next.rss };
        const late = Object.keys(beside).filter((name) => beside[name] === undefined);
        const note = late.length > 0 ? `${late.join(", ")}: more than ${PATIENCE / 1000} s` : undefined;
        const target = operation.startsWith("list one") || operation.startsWith("attach one ref") ? 0.1 : undefined;
        return row(`${operation}, of ${size}`, results, { target: size === sizes.at(-1) ? target : undefined, note });
      }),
  );
}

const { values } = parseArgs({
  options: {
    sizes: { type: "string", default: "100,1000,10000,100000" },
    json: { type: "string" },
    keep: { type: "string" },
    once: { type: "boolean", default: false },
    measure: { type: "string" },
    facts: { type: "string" },
  },
});
if (values.measure !== undefined) await measure(values.measure, values.keep, JSON.parse(values.facts));
else {
  const sizes = values.sizes.split(",").map(Number);
  const directory = values.keep ?? mkdtempSync(join(tmpdir(), "stowage-scale-"));
  try {
    const rows = sizes.flatMap((size) => benchmark(size, directory));
    if (values.json !== undefined)
      writeFileSync(values.json, `${JSON.stringify(tableRows(rows, sizes), undefined, 2)}\n`);
    process.stdout.write(`${markdown(rows, sizes)}\n\n${peersTable(rows, sizes)}\n`);
    for (const name of Object.keys(peers))
      if (pathOf(name) === undefined)
        process.stdout.write(`\n${name} is not installed: .ci/install-peers brings it.\n`);
  } finally {
    if (values.keep === undefined) rmSync(directory, { recursive: true, force: true });
  }
}
