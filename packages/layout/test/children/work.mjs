// Does one random step after the other to a layout until it is killed, and says when each begins and ends.
import { writeSync } from "node:fs";
import { contents, perform } from "./steps.js";

const [, , packageUrl, path, seed] = process.argv;
const library = await import(packageUrl);
const known = contents(library);
const layout = await library.Layout.open(path);
const manifests = Object.keys(known).filter((name) => !/^(?:empty|layer|config)/.test(name));
const tags = ["v1", "v2", "latest"];

let state = Number(seed);
/** A number from 0 up to `end`, the same for the same seed: Park and Miller's generator. */
function next(end) {
  state = ((state + 1) * 48271) % 2147483647;
  return state % end;
}

function draw() {
  const [content, tag] = [manifests[next(manifests.length)], tags[next(tags.length)]];
  const steps = [
    { kind: "push", content },
    { kind: "tag", content, tag },
    { kind: "tag", content, tag },
    { kind: "untag", tag },
    { kind: "gc", grace: 0 },
    { kind: "annotate", text: String(next(1000)) },
  ];
  return steps[next(steps.length)];
}

for (;;) {
  const step = draw();
  writeSync(1, `begin ${JSON.stringify(step)}\n`);
  await perform(library, layout, known, step);
  writeSync(1, "end\n");
}
