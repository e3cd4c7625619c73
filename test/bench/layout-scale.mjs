/**
 * How the cost of a layout grows with what it holds.
 *
 *   node test/bench/layout-scale.mjs [--sizes 100,1000,10000,100000] [--json FILE] [--keep DIR]
 *
 * Makes one layout for each size: that many referrers, a fifth of them on one subject and the others spread over the rest;
 * a subject for every hundred referrers and a tag for every ten. Each operation runs in a process of its own, once where
 * nothing was derived from the layout yet and once where a search for referrers went before it; then again in that process. Times are of the operation
 * alone, in ms, without the start of Node; memory is the largest resident set of the process, in MB. Build first: tsc -b.
 * STOWAGE_LIBRARY may name another build of @stowage/layout, as the URL of its index.js.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

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
  "attach one referrer": async (layout, { usual, run }) => {
    const { attach } = await import(library);
    await attach(layout, usual, { artifactType: "application/vnd.example", annotations: { run: String(run) } });
  },
};

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
    rows.push({ size, operation, indexBytes: statSync(join(path, "index.json")).size, first, next });
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

const { values } = parseArgs({
  options: {
    sizes: { type: "string", default: "100,1000,10000,100000" },
    json: { type: "string" },
    keep: { type: "string" },
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
    if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(rows, undefined, 2)}\n`);
    process.stdout.write(`${markdown(rows, sizes)}\n`);
  } finally {
    if (values.keep === undefined) rmSync(directory, { recursive: true, force: true });
  }
}
