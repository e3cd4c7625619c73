// Holds the lock of a layout until it is told to go on, and then adds a tag.
const [, , packageUrl, path] = process.argv;
const { Layout } = await import(packageUrl);
const layout = await Layout.open(path);
const base = await layout.resolve("base");
await layout.update(async (index) => {
  console.log(`holding ${process.pid}`);
  await new Promise((resolve) => process.stdin.once("data", resolve));
  return index;
});
await layout.tag("holder", base);
process.exit(0);
