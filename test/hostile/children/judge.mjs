// Does with the tag v1 of the layout `in` what one can do, and then with the layout as a whole, and prints how each of it
// ended, and which entries of index.json have lost the file they led to.
import { existsSync, lstatSync, readFileSync } from "node:fs";
import { join } from "node:path";

const [, , packageUrl, directory] = process.argv;
const library = await import(packageUrl);
const { attach, copy, inspect, Layout, list, OciError, tree, verify } = library;

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

const upkeep = {
  dangling: (layout) => library.danglingReferrers(layout),
  verifyLayout: (layout) => library.verifyLayout(layout),
  du: (layout) => library.du([layout]),
  related: (layout) => library.allRelated(layout),
  convert: async (layout) => library.convertAttestations(layout, new library.MemoryStore(), await layout.resolve("v1")),
  reconcile: (layout) => library.reconcile(layout),
  normalize: (layout) => library.normalize(layout),
  repair: (layout) => library.repair(layout, []),
  gc: (layout) => library.gc(layout, { grace: 0 }),
};

function failed(code, messages) {
  const message = messages.filter((text) => text !== undefined).join("\n");
  if (message !== "") throw new OciError(code, message);
}

const results = {};
const path = join(directory, "in");
const open = () => Layout.open(path);
// A layout that does not open fails each verb in the same way.
const unopened = await ended(open);
for (const [verb, run] of Object.entries(verbs))
  results[verb] = await unlessUnopened(async (layout) => run(layout, await layout.resolve("v1")));
const before = files();
for (const [verb, run] of Object.entries(upkeep)) results[verb] = await unlessUnopened(run);
const after = new Set(files());
results.lost = before.filter((file) => !after.has(file));
console.log(JSON.stringify(results));

async function unlessUnopened(run) {
  return unopened.code === "done" ? ended(async () => run(await open())) : unopened;
}

/** The files that the entries lead to, where there is anything at all to be read. */
function files() {
  if (unopened.code !== "done" || !lstatSync(join(path, "index.json")).isFile()) return [];
  const { manifests } = JSON.parse(readFileSync(join(path, "index.json"), "utf8"));
  return manifests
    .map(({ digest }) => digest.replace(":", "/"))
    .filter((name) => existsSync(join(path, "blobs", name)));
}

async function ended(work) {
  try {
    await work();
    return { code: "done" };
  } catch (error) {
    const { code, message, stack } = error;
    return error instanceof OciError ? { code, message } : { code: "crashed", message: stack };
  }
}
