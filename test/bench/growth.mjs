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
import { bench, benchOptions, findTool, inTurn, row, scratch, stowage, timed, toolEnvironment } from "./measure.js";
import { startDockerRegistry } from "./registries.js";
import { tools } from "./tools.js";

const KILOBYTE = 1000;
const MEBIBYTE = 1024 * 1024;
const shapes = [
  { what: "10 blobs of 10 kB", layers: 10, bytes: 10 * KILOBYTE },
  { what: "100 blobs of 10 kB", layers: 100, bytes: 10 * KILOBYTE },
  { what: "1000 blobs of 10 kB", layers: 1000, bytes: 10 * KILOBYTE },
  { what: "4 blobs of 1 MiB", layers: 4, bytes: MEBIBYTE },
  { what: "4 blobs of 16 MiB", layers: 4, bytes: 16 * MEBIBYTE },
  { what: "4 blobs of 128 MiB", layers: 4, bytes: 128 * MEBIBYTE },
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

  for (const [at, { what, layers, bytes }] of shapes.entries()) {
    const image = join(directory, `image${at}`);
    await makeImage(image, { layers, bytes });
    const repository = (name, turn) => `${host}/${name}/shape${at}/${turn}:v1`;
    yield row(
      `push, ${what}`,
      await measure(each((verbs) => (name, turn) => verbs.push(image, repository(name, turn)))),
    );
    yield row(
      `pull, ${what}`,
      await measure(
        each((verbs) => (name) => verbs.pull(repository(name, 0), copied)),
        fresh,
      ),
    );
    const locally = Object.entries(copies).map(([name, command]) => [name, command && (() => command(image))]);
    yield row(`layout to layout, ${what}`, await measure(Object.fromEntries(locally), fresh));
    rmSync(image, { recursive: true, force: true });
  }
});
