/**
 * An image of many small layers, with and without many referrers, over a link with a round trip of 30 ms, beside oras, regctl,
 * crane and skopeo: push, pull, and push again. Requests on the wire are counted by the link.
 *
 *   node test/bench/distance.mjs [--runs 3] [--layers 30] [--referrers 20] [--trip 30] [--json FILE]
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { makeImage } from "./images.js";
import { bench, benchOptions, inTurn, row, scratch, timed, toolEnvironment } from "./measure.js";
import { link, startOlareg } from "./registries.js";
import { tools } from "./tools.js";

const options = benchOptions({
  layers: { type: "string", default: "30" },
  referrers: { type: "string", default: "20" },
  trip: { type: "string", default: "30" },
});

await bench(options, async function* () {
  const directory = scratch();
  const [layers, referrers] = [Number(options.layers), Number(options.referrers)];
  const { host: registry } = await startOlareg();
  const far = await link(registry, Number(options.trip) / 2);
  const env = toolEnvironment(directory);
  const words = `${layers} layers, ${options.trip} ms round trip`;

  for (const [withReferrers, what] of [
    [true, `with ${referrers} referrers`],
    [false, "without referrers"],
  ]) {
    const image = join(directory, withReferrers ? "all" : "image");
    await makeImage(image, { layers, bytes: 100_000, referrers: withReferrers ? referrers : 0 });
    const all = tools({ referrers: withReferrers, hosts: [far.host], env });
    const pulled = (name) => join(directory, `${name}-pulled`);
    const measure = (commandOf, prepare = () => {}) =>
      inTurn(
        Object.fromEntries(
          Object.entries(all).map(([name, verbs]) => [
            name,
            async (turn) => {
              prepare(name);
              await far.requests();
              return { ...(await timed(commandOf(name, verbs, turn), { env })), requests: await far.requests() };
            },
          ]),
        ),
        options.runs,
      );
    const repository = (name, turn) => `${far.host}/${withReferrers ? "all" : "image"}/${name}/${turn}:v1`;
    const target = withReferrers ? { target: 0.5 } : {};
    const push = (name, verbs, turn) => verbs.push(image, repository(name, turn));
    yield row(`push ${what}, ${words}`, await measure(push), target);
    yield row(`push again ${what}, ${words}`, await measure((name, verbs) => push(name, verbs, 0)), target);
    const remove = (name) => rmSync(pulled(name), { recursive: true, force: true });
    const pull = (name, verbs) => verbs.pull(repository(name, 0), pulled(name));
    yield row(
      `pull ${what}, ${words}`,
      await measure(pull, remove),
      withReferrers ? target : { target: 1, against: "crane" },
    );
    yield row(`pull again ${what}, ${words}`, await measure(pull), target);
    for (const name of Object.keys(all)) remove(name);
  }
});
