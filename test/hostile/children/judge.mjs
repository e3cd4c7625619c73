// Does with the tag v1 of the layout `in` what one can do, and prints how each of it ended.
import { join } from "node:path";

const [, , packageUrl, directory] = process.argv;
const { attach, copy, inspect, Layout, list, OciError, tree, verify } = await import(packageUrl);

const verbs = {
  inspect: (layout, root) => inspect(layout, root),
  copy: async (layout, root) => copy(layout, await Layout.create(join(directory, "out")), root, { tags: ["v1"] }),
  tree: async (layout, root) => failed("problem", [(await tree(layout, root)).problem]),
  verify: async (layout, descriptor) =>
    failed(
      "finding",
      (await verify(layout, [{ name: "v1", descriptor }])).findings.map(({ state, message }) => `${state}: ${message}`),
    ),
  list: (layout) => list(layout),
  tag: (layout, root) => layout.tag("v2", root),
  attach: (layout, root) => attach(layout, root, { artifactType: "application/x-test" }),
};

function failed(code, messages) {
  const message = messages.filter((text) => text !== undefined).join("\n");
  if (message !== "") throw new OciError(code, message);
}

const results = {};
const open = () => Layout.open(join(directory, "in"));
// A layout that does not open fails each verb in the same way.
const unopened = await ended(open);
for (const [verb, run] of Object.entries(verbs)) {
  results[verb] =
    unopened.code === "done"
      ? await ended(async () => {
          const layout = await open();
          await run(layout, await layout.resolve("v1"));
        })
      : unopened;
}
console.log(JSON.stringify(results));

async function ended(work) {
  try {
    await work();
    return { code: "done" };
  } catch (error) {
    const { code, message, stack } = error;
    return error instanceof OciError ? { code, message } : { code: "crashed", message: stack };
  }
}
