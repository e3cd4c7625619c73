/**
 * Push and pull of a large image, and the same again when all is there, beside crane, oras, regctl and skopeo.
 *
 *   node test/bench/transfer.mjs [--runs 5] [--layers 12] [--mebibytes 64] [--json FILE]
 *
 * Layers of random bytes, docker-registry on loopback. Each tool pushes into a repository of its own that does not hold the image
 * and pulls into a layout that is not there. Requests are counted in one more run, through a link that counts them.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { makeImage } from "./images.js";
import { bench, benchOptions, inTurn, row, scratch, timed, toolEnvironment } from "./measure.js";
import { link, startDockerRegistry } from "./registries.js";
import { tools } from "./tools.js";

const options = benchOptions({
  layers: { type: "string", default: "12" },
  mebibytes: { type: "string", default: "64" },
});

// skopeo mounts what its cache says it has pushed to another repository before.
const against = ["crane", "oras", "regctl"];

await bench(options, async function* () {
  const directory = scratch();
  const env = toolEnvironment(directory);
  const image = join(directory, "image");
  await makeImage(image, { layers: Number(options.layers), bytes: Number(options.mebibytes) << 20 });
  const size = `${options.layers} layers of ${options.mebibytes} MiB`;
  const { host: registry } = await startDockerRegistry();
  const counter = await link(registry);
  const all = tools({ hosts: [registry, counter.host], env });
  const pulled = (name) => join(directory, `${name}-pulled`);

  const count = async (results, commandOf) => {
    for (const [name, verbs] of Object.entries(all)) {
      if (results[name] === undefined) continue;
      await counter.requests();
      await timed(commandOf(name, verbs), { env });
      results[name].requests = await counter.requests();
    }
    return results;
  };
  const measure = async (commandOf, prepare = () => {}) =>
    inTurn(
      Object.fromEntries(
        Object.entries(all).map(([name, verbs]) => [
          name,
          (turn) => {
            prepare(name, turn);
            return timed(commandOf(name, verbs, registry, turn), { env });
          },
        ]),
      ),
      options.runs,
    );

  // A repository that was pushed to before is one to push to again; docker-registry links blobs of others only where asked.
  const push = (name, verbs, host, turn) => verbs.push(image, `${host}/${name}/${turn}:v1`);
  const first = await measure(push);
  yield row(`push, ${size}`, await count(first, (name, verbs) => push(name, verbs, counter.host, "counted")), {
    target: 1.2,
    most: { memory: 150 },
    against,
  });
  const pushAgain = (name, verbs, host) => push(name, verbs, host, 0);
  const again = await measure(pushAgain);
  yield row("push again, all is there", await count(again, (name, verbs) => pushAgain(name, verbs, counter.host)), {
    most: { ms: 120, requests: 3 },
    against,
  });
  const remove = (name) => rmSync(pulled(name), { recursive: true, force: true });
  const pull = (name, verbs, host) => verbs.pull(`${host}/${name}/0:v1`, pulled(name));
  const pulls = await measure(pull, remove);
  yield row(
    `pull, ${size}`,
    await count(pulls, (name, verbs) => {
      remove(name);
      return pull(name, verbs, counter.host);
    }),
    { target: 1.2, most: { memory: 150 }, against },
  );
  const pullAgain = await measure(pull);
  yield row("pull again, all is there", await count(pullAgain, (name, verbs) => pull(name, verbs, counter.host)), {
    most: { ms: 120, requests: 3 },
    against,
  });
});
