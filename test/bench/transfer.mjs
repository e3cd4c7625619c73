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

const AGAIN =
  "It is one request. Node itself takes 25 ms to start on Node 24 and 60 on Node 20; reading and compiling the command 30, Node's modules for HTTP and files 25, the command line 15, the request 10, and the end 10.";

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
    why: "The registry takes 2.8 s of the two processors for this image, and crane 0.1, since it leaves its files to the kernel to send and checks nothing. Stowage takes 1.8: 0.6 for the digests of what it sends, 0.5 in the kernel, 0.2 to start, and the rest for bringing it through Node's streams, a megabyte at a time.",
  });
  const pushAgain = (name, verbs, host) => push(name, verbs, host, 0);
  const again = await measure(pushAgain);
  yield row("push again, all is there", await count(again, (name, verbs) => pushAgain(name, verbs, counter.host)), {
    most: { ms: 120, requests: 3 },
    why: AGAIN,
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
    {
      target: 1.2,
      most: { memory: 150 },
      against,
      why: "It takes 2.4 s of processor time where crane takes 1.2, on two processors of which the registry has its part. Node reads a socket in pieces of 64 KiB, each into new memory: that is 0.5 s in the kernel, and 0.5 to parse, hand on and gather them and to collect that memory. SHA-256 takes 0.6 and writing 0.2, in another thread; compiling what is run often 0.3, the start 0.2.",
    },
  );
  const pullAgain = await measure(pull);
  yield row("pull again, all is there", await count(pullAgain, (name, verbs) => pull(name, verbs, counter.host)), {
    most: { ms: 120, requests: 3 },
    why: AGAIN,
    against,
  });
});
