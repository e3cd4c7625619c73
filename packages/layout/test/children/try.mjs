// Reads and changes a layout, and prints how each of it ended.
const [, , packageUrl, path] = process.argv;
const { attach, copy, Layout, MemoryStore, OciError } = await import(packageUrl);

const results = {};
for (const [name, work] of Object.entries({
  open: () => Layout.open(path),
  create: () => Layout.create(path),
  read: async () => {
    const layout = await Layout.open(path);
    return copy(layout, new MemoryStore(), await layout.resolve("v1"));
  },
  write: async () => (await Layout.open(path)).write([Buffer.from("new")], "text/plain"),
  tag: async () => {
    const layout = await Layout.open(path);
    return layout.tag("v2", await layout.resolve("v1"));
  },
  untag: async () => (await Layout.open(path)).untag("v1"),
  attach: async () => {
    const layout = await Layout.open(path);
    return attach(layout, await layout.resolve("v1"), { artifactType: "a/b" });
  },
})) {
  try {
    await work();
    results[name] = "done";
  } catch (error) {
    results[name] = error instanceof OciError ? `${error.code}: ${error.message}` : error.stack;
  }
}
console.log(JSON.stringify(results));
