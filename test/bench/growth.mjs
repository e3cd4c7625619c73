/**
 * How the cost of moving an image grows with the number of its blobs and with their size: push, pull, and a copy from layout to
 * layout, beside crane, oras and regctl, and cp.
 *
 *   node test/bench/growth.mjs [--runs 1] [--json FILE]
 *
 * Blobs of random bytes, docker-registry on loopback; nothing is there before.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { makeImage } from "./images.js";
import { bench, benchOptions, findTool, growth, inTurn, scratch, stowage, timed, toolEnvironment } from "./measure.js";
import { startDockerRegistry } from "./registries.js";
import { tools } from "./tools.js";

const KILOBYTE = 1000;
const MEBIBYTE = 1024 * 1024;
const series = [
  { unit: "blobs of 10 kB", shapes: [10, 100, 1000].map((count) => ({ count, layers: count, bytes: 10 * KILOBYTE })) },
  {
    unit: "MiB in each of 4 blobs",
    shapes: [1, 16, 128].map((count) => ({ count, layers: 4, bytes: count * MEBIBYTE })),
  },
];

const options = benchOptions({ runs: { type: "string", default: "1" } });

await bench(options, async function* () {
  const directory = scratch();
  const env = toolEnvironment(directory);
  const { host } = await startDockerRegistry();
  const { skopeo: _, ...all } = tools({ hosts: [host], env });
  const copied = join(directory, "copied");
  const oras = findTool("oras");
  const copies = {
    stowage: (image) => [...stowage, "copy", "-q", `oci:${image}:v1`, `oci:${copied}:v1`],
    cp: (image) => ["cp", "-r", "--reflink=auto", image, copied],
    oras: oras && ((image) => [oras, "cp", "--from-oci-layout", "--to-oci-layout", `${image}:v1`, `${copied}:v1`]),
  };
  const measure = (commands, prepare = () => {}) => {
    const once = (name, command) => async (turn) => {
      prepare();
      return timed(command(name, turn), { env });
    };
    const present = Object.entries(commands).filter(([, command]) => command !== undefined);
    return inTurn(Object.fromEntries(present.map(([name, command]) => [name, once(name, command)])), options.runs);
  };
  const each = (commandOf) => Object.fromEntries(Object.entries(all).map(([name, verbs]) => [name, commandOf(verbs)]));
  const fresh = () => rmSync(copied, { recursive: true, force: true });

  for (const [at, { unit, shapes }] of series.entries()) {
    const [pushes, pulls, locally] = [[], [], []];
    for (const { count, layers, bytes } of shapes) {
      const image = join(directory, "image");
      await makeImage(image, { layers, bytes });
      const repository = (name, turn) => `${host}/${name}/${at}-${count}/${turn}:v1`;
      const push = each((verbs) => (name, turn) => verbs.push(image, repository(name, turn)));
      const pull = each((verbs) => (name) => verbs.pull(repository(name, 0), copied));
      const copy = Object.entries(copies).map(([name, command]) => [name, command && (() => command(image))]);
      pushes.push([count, await measure(push)]);
      pulls.push([count, await measure(pull, fresh)]);
      locally.push([count, await measure(Object.fromEntries(copy), fresh)]);
      rmSync(image, { recursive: true, force: true });
    }
    yield growth("push", unit, pushes);
    yield growth("pull", unit, pulls);
    yield growth("layout to layout", unit, locally);
  }
});
