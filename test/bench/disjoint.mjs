/**
 * What it takes to unpack two images that share most of their layers, the second after the first, with disjoint layers and without.
 *
 *   node test/bench/disjoint.mjs [--layers 200] [--files 100] [--shared 0.9] [--runs 3] [--json FILE]
 *
 * Each layer is a package of `--files` files of 1 to 20 kB; the two images share `--shared` of them. Each way unpacks the first image and then
 * the second, each in a process of its own into a directory that is not there yet; the ways take turns.
 */
import { mkdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  bench,
  benchOptions,
  findTool,
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
  layers: { type: "string", default: "200" },
  files: { type: "string", default: "100" },
  shared: { type: "string", default: "0.9" },
});
const [layers, files, shared] = [Number(options.layers), Number(options.files), Number(options.shared)];
const work = scratch();
const env = toolEnvironment(work);
const cli = (...args) => run(stowage[0], [...stowage.slice(1), ...args, "-q"], { cwd: work, env });

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
  run("tar", ["--owner=0", "--group=0", "--sort=name", "-czf", `${name}.tgz`, "-C", root, "opt"], { cwd: work });
  rmSync(root, { recursive: true });
  return `${name}.tgz`;
}

function makeImage(tag, tars) {
  cli("build", ...tars.flatMap((tar) => ["--layer", tar]), "-t", `oci:image:${tag}`);
  cli("disjoint", "annotate", `oci:image:${tag}`);
}

const WAYS = ["merge", "hardlink", "reflink", "bind-plan"];

/** How each tool unpacks an image. What shares has a store of its own. */
function commands(tag) {
  const out = `out-${tag}`;
  const found = { stowage: [...stowage, "unpack", `oci:image:${tag}`, out, "-q"] };
  for (const way of WAYS) {
    const store = way === "merge" ? [] : ["--store", `store-${way}`];
    found[`--disjoint ${way}`] = [...found.stowage, "--disjoint", way, ...store];
  }
  const umoci = findTool("umoci");
  const rootless = process.getuid() === 0 ? [] : ["--rootless"];
  if (umoci !== undefined) found.umoci = [umoci, "raw", "unpack", ...rootless, "--image", `image:${tag}`, out];
  return found;
}

await bench(options, async function* () {
  const count = Math.round(layers * shared);
  const common = Array.from({ length: count }, (_, at) => makePackage(`common-${at}`, at));
  for (const [seed, tag] of ["one", "two"].entries())
    makeImage(tag, [
      ...common,
      ...Array.from({ length: layers - count }, (_, at) => makePackage(`${tag}-${at}`, 1000 * (seed + 1) + at)),
    ]);
  const remove = (name) => rmSync(join(work, name), { recursive: true, force: true });
  for (const [tag, what] of [
    ["one", `unpack ${layers} layers`],
    ["two", `unpack ${layers} layers, of which ${Math.round(shared * 100)} % were unpacked before`],
  ]) {
    const contenders = Object.entries(commands(tag)).map(([name, command]) => [
      name,
      () => {
        remove(`out-${tag}`);
        // The first image finds nothing in the store; the second what the first has left there.
        if (tag === "one") remove(`store-${name.split(" ")[1]}`);
        else {
          const way = name.split(" ")[1];
          remove(`store-${way}`);
          if (way !== undefined && way !== "merge") {
            remove("out-one");
            run(command[0], commands("one")[name].slice(1), { cwd: work, env });
          }
        }
        return timed(command, { cwd: work, env });
      },
    ]);
    yield row(what, await inTurn(Object.fromEntries(contenders), options.runs), { against: "umoci" });
  }
});
