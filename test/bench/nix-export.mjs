/**
 * How long a Nix closure takes to become an image, the first and the second time, beside two other ways to do it.
 *
 *   node test/bench/nix-export.mjs [--size 1000] [--paths 320] [--json FILE]
 *
 * The closure has so many MB in so many store paths, made here: files of 100 bytes to 1 MB that compress about as well as programs do, and
 * a few paths that hold most of the bytes, as in a real store. Measured are, each in a process of its own:
 *
 * - stowage nix export, into a layout that is not there yet, and again into the one that is there then; with gzip and without;
 * - the hash of the uncompressed tar of each layer, as nix2container makes it: nothing is stored, and what a registry lacks is
 *   made again to be sent (GNU tar into sha256sum, in up to 100 layers);
 * - tar and gzip -6 of up to 100 layers, as dockerTools does it with its streamed layers.
 *
 * Reported are wall time and processor time in ms and the peak memory of the largest process in MB; and the ratio of the second time to the
 * first. Build first: tsc -b. python3 and GNU tar are needed.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { hashNar, readTree } from "@stowage/nix";

const { values } = parseArgs({
  options: {
    size: { type: "string", default: "1000" },
    paths: { type: "string", default: "320" },
    json: { type: "string" },
  },
});
const stowage = fileURLToPath(new URL("../../packages/cli/bin/stowage.js", import.meta.url));
const work = mkdtempSync(join(tmpdir(), "stowage-nix-bench-"));

/** Runs a tool in a process that can tell what its children took, which Node cannot. */
function timed(command, ...args) {
  const start = performance.now();
  const script = `import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=2)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(code)`;
  const { status, stdout, stderr } = spawnSync("python3", ["-c", script, command, ...args], { cwd: work });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${status}: ${stderr}`);
  const [cpu, memory] = String(stdout).trim().split("\n").at(-1).split(" ").map(Number);
  return { wall: performance.now() - start, cpu: cpu * 1000, memory: memory / 1024 };
}

/** Bytes that compress to somewhat less than half. */
function makeBytes() {
  let state = 1;
  const block = Buffer.alloc(4 * 1024 * 1024);
  for (let at = 0; at < block.length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    block[at] = (state >>> 24) % 3 === 0 ? state >>> 16 : 101;
  }
  return block;
}

/** A closure on the disk, and the file that describes it. */
async function makeClosure(count, size) {
  const block = makeBytes();
  const store = join(work, "nix", "store");
  const infos = [];
  for (let at = 0; at < count; at++) {
    const base = `${createHash("sha256")
      .update(String(at))
      .digest("hex")
      .replace(/[etou]/g, "x")
      .slice(0, 32)}-package-${at}`;
    const directory = join(store, base);
    mkdirSync(join(directory, "lib"), { recursive: true });
    // A tenth of the paths has nine tenths of the bytes.
    const bytes = at % 10 === 0 ? (0.9 * size) / Math.ceil(count / 10) : (0.1 * size) / (count * 0.9);
    const files = at % 10 === 0 ? 40 : 12;
    for (let file = 0; file < files; file++) {
      const from = (at * 7919 + file * 104_729) % (block.length / 2);
      const part = Math.min(Math.floor(bytes / files), block.length / 2);
      // No two files are the same.
      writeFileSync(
        join(directory, "lib", `file-${file}`),
        [`${at} ${file}\n`, block.subarray(from, from + part)].join(""),
        "latin1",
      );
    }
    const path = `/nix/store/${base}`;
    const previous = infos.at(-1)?.path;
    const { narHash, narSize } = await hashNar(readTree(directory), path);
    infos.push({
      path,
      narHash: narHash.replace("sha256:", "sha256:"),
      narSize,
      references: previous === undefined ? [] : [previous],
    });
  }
  writeFileSync(join(work, "graph.json"), JSON.stringify(infos));
  return infos;
}

/** The store paths as up to 100 layers, each a list of names below the scratch directory. */
function asLayers(infos) {
  const names = infos.map(({ path }) => path.slice(1));
  const layers = names.slice(0, 99).map((name) => [name]);
  if (names.length > 99) layers.push(names.slice(99));
  return layers;
}

const TAR = "tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@1 --hard-dereference -cf -";

try {
  const infos = await makeClosure(Number(values.paths), Number(values.size) * 1e6);
  const layers = asLayers(infos);
  const script = (command) => layers.map((names, at) => command(names.join(" "), at)).join("\n");
  writeFileSync(
    join(work, "hash.sh"),
    script((names) => `${TAR} ${names} | sha256sum`),
  );
  mkdirSync(join(work, "tars"));
  writeFileSync(
    join(work, "gzip.sh"),
    script((names, at) => `${TAR} ${names} | gzip -n -6 > tars/${at}.tar.gz`),
  );
  const exported = (to, compression) =>
    timed(
      process.execPath,
      stowage,
      "nix",
      "export",
      "--from",
      "graph:graph.json",
      "--store-root",
      work,
      "--to",
      to,
      "--compression",
      compression,
      "-q",
    );
  const results = {};
  for (const compression of ["gzip", "none"]) {
    const first = exported(`oci:${compression}:v1`, compression);
    const second = exported(`oci:${compression}:v2`, compression);
    results[`stowage ${compression}, first`] = first;
    results[`stowage ${compression}, second`] = { ...second, ratio: second.wall / first.wall };
    rmSync(join(work, compression), { recursive: true });
  }
  results["hash by streaming (as nix2container)"] = timed("sh", "hash.sh");
  results["tar and gzip (as dockerTools)"] = timed("sh", "gzip.sh");
  const narSize = infos.reduce((sum, info) => sum + info.narSize, 0);
  console.log(`${infos.length} store paths, ${Math.round(narSize / 1e6)} MB`);
  console.table(
    Object.fromEntries(
      Object.entries(results).map(([name, { wall, cpu, memory, ratio }]) => [
        name,
        {
          wall: Math.round(wall),
          cpu: Math.round(cpu),
          "memory MB": Math.round(memory),
          "second / first": ratio?.toFixed(2) ?? "",
        },
      ]),
    ),
  );
  if (values.json !== undefined) writeFileSync(values.json, JSON.stringify({ narSize, paths: infos.length, results }));
} finally {
  rmSync(work, { recursive: true, force: true });
}
