/**
 * How the cost of a layout grows with what it holds, beside oras and regctl.
 *
 *   node test/bench/layout-scale.mjs [--sizes 100,10000,100000] [--runs 3] [--patience 45] [--json FILE]
 *
 * Makes a layout for each size: that many referrers, a fifth of them on one subject and the others spread over the rest; a subject for
 * every hundred referrers and a tag for every ten. Each tool has a copy of its own, in which blobs are hard links, and each run is a
 * process of its own, its start included. A peer that takes longer than `--patience` seconds is ended, and not asked again. From
 * 10,000 referrers on there is one run, and beyond them peers run only where there is a ratio to reach. Then stowage is put beside itself: the largest layout beside the smallest.
 */
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  bench,
  benchOptions,
  findTool,
  growth,
  inTurn,
  row,
  run,
  scratch,
  stowage,
  timed,
  toolEnvironment,
} from "./measure.js";

const options = benchOptions({
  runs: { type: "string", default: "3" },
  sizes: { type: "string", default: "100,10000,100000" },
  patience: { type: "string", default: "45" },
});
/** From so many referrers on, a run takes long enough to tell by itself. */
const MANY = 10_000;

const types = {
  manifest: "application/vnd.oci.image.manifest.v1+json",
  index: "application/vnd.oci.image.index.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  layer: "application/vnd.oci.image.layer.v1.tar",
  sbom: "application/spdx+json",
};
const REF_NAME = "org.opencontainers.image.ref.name";

/** Writes a layout without asking the library for anything, so that it is quick and the same for every version. */
function makeLayout(path, referrers) {
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

const added = (run) => ["--artifact-type", "application/vnd.example", "--annotation", `run=${run}`];
const discover = (path, { digest }) => [
  "discover",
  "--oci-layout",
  `${path}@${digest}`,
  "--format",
  "json",
  "--depth",
  "1",
];
const attached = (subject) => ({
  stowage: ({ path, run, ...facts }) => ["attach", `oci:${path}@${facts[subject].digest}`, ...added(run)],
  oras: ({ path, run, ...facts }) => ["attach", "--oci-layout", `${path}@${facts[subject].digest}`, ...added(run)],
  regctl: ({ path, run, ...facts }) => {
    const place = ["--subject", `ocidir://${path}@${facts[subject].digest}`];
    return ["artifact", "put", ...place, ...added(run)];
  },
});
const listed = (subject) => ({
  stowage: ({ path, ...facts }) => ["tree", `oci:${path}@${facts[subject].digest}`, "--depth", "1", "--json"],
  oras: ({ path, ...facts }) => discover(path, facts[subject]),
  regctl: ({ path, ...facts }) => ["artifact", "list", `ocidir://${path}@${facts[subject].digest}`],
});

/** Why what is added costs more in a larger layout. */
const GROWS =
  "The time on the wall has the start of Node in it, 100 ms. Beyond that it is index.json, of 20 MB at 100,000: its bytes are looked through for what is to be changed, and written again as a whole, as the format wants it.";

/** What is measured: the parameters of each tool that can do it, the ratio to reach at the largest size, and for what is to cost the same at each size why it does not. */
const operations = {
  "list the referrers of one subject": {
    commands: listed("usual"),
    target: 0.1,
    why: "tree reads all of index.json to find what tags and other tools say of referrers, which is most of its time; what is derived from it answers for the subject in milliseconds. regctl reads one entry and the list under the fall-back tag, and knows no other referrers.",
  },
  "list those of the largest subject": { commands: listed("largest") },
  "attach one referrer": { commands: attached("usual"), target: 0.1, writes: true, flat: GROWS },
  "attach one to the largest subject": { commands: attached("largest"), writes: true, flat: GROWS },
  "add one tag": {
    commands: {
      stowage: ({ path, tag, run }) => ["tag", `oci:${path}:${tag}`, `added-${run}`],
      oras: ({ path, tag, run }) => ["tag", "--oci-layout", `${path}:${tag}`, `added-${run}`],
      regctl: ({ path, tag, run }) => ["image", "copy", `ocidir://${path}:${tag}`, `ocidir://${path}:added-${run}`],
    },
    writes: true,
    flat: GROWS,
  },
  "inspect what a tag names": {
    commands: {
      stowage: ({ path, tag }) => ["inspect", `oci:${path}:${tag}`],
      oras: ({ path, tag }) => ["resolve", "--oci-layout", `${path}:${tag}`],
      regctl: ({ path, tag }) => ["manifest", "head", `ocidir://${path}:${tag}`],
    },
  },
  "list the tags": {
    commands: {
      stowage: ({ path }) => ["list", `oci:${path}`],
      oras: ({ path }) => ["repo", "tags", "--oci-layout", path],
      regctl: ({ path }) => ["tag", "ls", `ocidir://${path}`],
    },
  },
  "collect, dry run": { commands: { stowage: ({ path }) => ["gc", path, "--dry-run"] } },
};

/** A copy that the tools may change: they replace blobs, or add some, and write index.json in place. */
function copyOf(path, name) {
  const copy = `${path}-${name}`;
  run("cp", ["-al", path, copy]);
  rmSync(join(copy, "index.json"));
  cpSync(join(path, "index.json"), join(copy, "index.json"));
  return copy;
}

await bench(options, async function* () {
  const directory = scratch();
  const env = toolEnvironment(directory);
  const tools = { stowage, oras: [findTool("oras")], regctl: [findTool("regctl")] };
  const sizes = options.sizes.split(",").map(Number);
  /** What each operation took at each size. */
  const points = {};
  /** Who was too slow at what: at a larger size it is not asked again, nor for another change. */
  const slow = new Map();
  for (const size of sizes) {
    const path = join(directory, String(size));
    const facts = makeLayout(path, size);
    const places = Object.fromEntries(Object.keys(tools).map((name) => [name, copyOf(path, name)]));
    const runs = size < MANY ? options.runs : 1;
    const forget = () => {
      for (const name of readdirSync(places.stowage))
        if (name.startsWith(".")) rmSync(join(places.stowage, name), { recursive: true });
    };
    const command = (name, commands, turn) => [
      ...tools[name],
      ...commands[name]({ ...facts, path: places[name], run: turn }),
    ];
    const first = operations["list the referrers of one subject"].commands;
    const before = () => {
      forget();
      return timed(command("stowage", first, 0), { env });
    };
    const add = (what, results) => {
      points[what] = [...(points[what] ?? []), [size, results]];
    };
    add("the first look for referrers when another tool has written", await inTurn({ stowage: before }, runs));
    for (const [what, { commands, target, writes }] of Object.entries(operations)) {
      const contender = (name) => {
        if (tools[name][0] === undefined) return undefined;
        if (name === "stowage") return (turn) => timed(command(name, commands, turn), { env });
        if (size > MANY && target === undefined) return undefined;
        const asked = `${name} ${writes ? "writing" : what}`;
        if (slow.has(asked)) return undefined;
        return async (turn) => {
          const patient = ["timeout", "--signal", "KILL", options.patience, ...command(name, commands, turn)];
          const start = performance.now();
          return timed(patient, { env }).catch((error) => {
            if (performance.now() - start < Number(options.patience) * 1000) throw error;
            slow.set(asked, `${name} took more than ${options.patience} s of ${size}`);
            throw new Error(slow.get(asked));
          });
        };
      };
      const names = Object.keys(commands);
      add(what, await inTurn(Object.fromEntries(names.map((name) => [name, contender(name)])), runs));
    }
    for (const name of Object.values(places)) rmSync(name, { recursive: true });
    rmSync(path, { recursive: true });
  }
  for (const [what, { target, writes, why }] of Object.entries(operations)) {
    if (target === undefined) continue;
    const late = [...slow]
      .filter(([asked]) => asked.endsWith(writes ? " writing" : ` ${what}`))
      .map(([, words]) => words);
    const note = late.length === 0 ? {} : { note: late.join(", ") };
    yield row(`${what} of ${sizes.at(-1)}`, points[what].at(-1)[1], { target, why, ...note });
  }
  for (const [what, { flat }] of Object.entries(operations)) {
    if (!flat) continue;
    const [[fewest, first], [most, last]] = [points[what][0], points[what].at(-1)];
    const results = { stowage: last.stowage, [`the same with ${fewest}`]: first.stowage };
    yield row(`${what}, of ${most} beside ${fewest}`, results, { target: 1.5, why: flat });
  }
  for (const [what, series] of Object.entries(points)) yield growth(what, "referrers, and a tag for every ten", series);
});
