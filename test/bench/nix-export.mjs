/**
 * How long a Nix closure takes to become an image, the first and the second time, beside two other ways to do it.
 *
 *   node test/bench/nix-export.mjs [--runs 1] [--size 1000] [--paths 320] [--json FILE]
 *
 * The closure has so many MB in so many store paths, made here: files of 100 bytes to 1 MB that compress about as well as programs do, and
 * a few paths that hold most of the bytes, as in a real store. Measured are, each in a process of its own:
 *
 * - stowage nix export, into a layout that is not there yet, and again into the one that is there then; with gzip and without;
 * - the hash of the uncompressed tar of each layer, as nix2container makes it: nothing is stored, and what a registry lacks is
 *   made again to be sent (GNU tar into sha256sum, in up to 100 layers);
 * - tar and gzip -6 of up to 100 layers, as dockerTools does it with its streamed layers.
 *
 * GNU tar is needed.
 */
import { createHash } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hashNar, readTree } from "@stowage/nix";
import { bench, benchOptions, inTurn, row, scratch, stowage, timed, toolEnvironment } from "./measure.js";

const options = benchOptions({
  runs: { type: "string", default: "1" },
  size: { type: "string", default: "1000" },
  paths: { type: "string", default: "320" },
});
const work = scratch();
const env = toolEnvironment(work);

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

await bench(options, async function* () {
  const infos = await makeClosure(Number(options.paths), Number(options.size) * 1e6);
  const layers = asLayers(infos);
  const script = (name, command) =>
    writeFileSync(join(work, name), layers.map((names, at) => command(names.join(" "), at)).join("\n"));
  script("hash.sh", (names) => `${TAR} ${names} | sha256sum`);
  script("gzip.sh", (names, at) => `${TAR} ${names} | gzip -n -6 > tars/${at}.tar.gz`);
  mkdirSync(join(work, "tars"));
  const inWork = (command) => timed(command, { cwd: work, env });
  const place = ["--from", "graph:graph.json", "--store-root", work];
  const exported = (compression, tag) =>
    inWork([
      ...[...stowage, "nix", "export", ...place, "-q"],
      ...["--to", `oci:${compression}:${tag}`, "--compression", compression],
    ]);
  const what = `${infos.length} store paths, ${Math.round(infos.reduce((sum, { narSize }) => sum + narSize, 0) / 1e6)} MB`;
  for (const [compression, other, command] of [
    ["gzip", "tar and gzip, as dockerTools", ["sh", "gzip.sh"]],
    ["none", "hash by streaming, as nix2container", ["sh", "hash.sh"]],
  ]) {
    const first = await inTurn(
      {
        stowage: () => {
          rmSync(join(work, compression), { recursive: true, force: true });
          return exported(compression, "v1");
        },
        [other]: () => inWork(command),
      },
      options.runs,
    );
    yield row(`export ${what}, ${compression}`, first, { against: other });
    const again = await inTurn({ stowage: (turn) => exported(compression, `again-${turn}`) }, options.runs);
    yield row(`export it again, ${compression}`, { ...again, "the first time": first.stowage }, { target: 0.3 });
    rmSync(join(work, compression), { recursive: true, force: true });
  }
});
