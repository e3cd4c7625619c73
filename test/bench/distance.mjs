/**
 * An image of many small layers, with and without many referrers, over a link with a round trip of 30 ms, beside oras, regctl,
 * crane and skopeo: push, pull, and both again; then how that grows with the number of referrers. Requests on the wire are counted
 * by the link.
 *
 *   node test/bench/distance.mjs [--runs 3] [--layers 30] [--referrers 20] [--trip 30] [--growth 1,10,100] [--json FILE]
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { makeImage } from "./images.js";
import { bench, benchOptions, growth, inTurn, row, scratch, timed, toolEnvironment } from "./measure.js";
import { link, startOlareg } from "./registries.js";
import { tools } from "./tools.js";

const options = benchOptions({
  layers: { type: "string", default: "30" },
  referrers: { type: "string", default: "20" },
  trip: { type: "string", default: "30" },
  growth: { type: "string", default: "1,10,100" },
});

const whys = {
  "push again":
    "Two requests are left, of which one waits for a connection and one for the other: 90 ms. The rest is Node, which starts, loads the HTTP library and ends in 120 ms on Node 24 and 160 on Node 20, where the others take 10.",
  pull: "Each referrer is to be asked for its own referrers, and its manifest and blobs are to be fetched: nobody needs fewer requests. They go sixteen at once, in six trips; the start of Node and the work for each request are as much again.",
  "pull again":
    "Each referrer is to be asked for its own referrers, which is 22 of the 23 requests, in two trips beside that for the tag; the start and end of Node take 120 to 160 ms.",
};

await bench(options, async function* () {
  const directory = scratch();
  const { host: registry } = await startOlareg();
  const far = await link(registry, Number(options.trip) / 2);
  const env = toolEnvironment(directory);

  /** What push, push again, pull and pull again take of each tool. */
  async function measured(name, { layers, referrers, runs }) {
    const image = join(directory, name);
    await makeImage(image, { layers, bytes: 100_000, referrers });
    const all = tools({ referrers: referrers > 0, hosts: [far.host], env });
    const pulled = (tool) => join(directory, `${name}-${tool}-pulled`);
    const remove = (tool) => rmSync(pulled(tool), { recursive: true, force: true });
    const repository = (tool, turn) => `${far.host}/${name}/${tool}/${turn}:v1`;
    const measure = (commandOf, prepare = () => {}) =>
      inTurn(
        Object.fromEntries(
          Object.entries(all).map(([tool, verbs]) => [
            tool,
            async (turn) => {
              prepare(tool);
              await far.requests();
              return { ...(await timed(commandOf(tool, verbs, turn), { env })), requests: await far.requests() };
            },
          ]),
        ),
        runs,
      );
    const push = (tool, verbs, turn) => verbs.push(image, repository(tool, turn));
    const pull = (tool, verbs) => verbs.pull(repository(tool, 0), pulled(tool));
    const results = {
      push: await measure(push),
      "push again": await measure((tool, verbs) => push(tool, verbs, 0)),
      pull: await measure(pull, remove),
      "pull again": await measure(pull),
    };
    for (const tool of Object.keys(all)) remove(tool);
    return results;
  }

  const [layers, referrers, { runs }] = [Number(options.layers), Number(options.referrers), options];
  const words = `${layers} layers, ${options.trip} ms round trip`;
  const signed = Object.entries(await measured("all", { layers, referrers, runs }));
  for (const [verb, results] of signed)
    yield row(`${verb} with ${referrers} referrers, ${words}`, results, { target: 0.5, why: whys[verb] });
  const alone = Object.entries(await measured("image", { layers, referrers: 0, runs }));
  for (const [verb, results] of alone)
    yield row(
      `${verb} without referrers, ${words}`,
      results,
      verb === "pull"
        ? { target: 1, against: "crane", why: "It is three trips for both; what is left is the start of Node." }
        : {},
    );

  const counts = options.growth.split(",").filter(Boolean).map(Number);
  const grown = [];
  for (const count of counts) grown.push(await measured(`of-${count}`, { layers: 1, referrers: count, runs: 1 }));
  for (const verb of counts.length === 0 ? [] : ["push", "push again", "pull", "pull again"]) {
    const points = grown.map((results, at) => [counts[at], results[verb]]);
    yield growth(`${verb} over ${options.trip} ms`, "referrers", points);
  }
});
