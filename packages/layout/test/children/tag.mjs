// Tags the manifest that `base` stands for, a few tags at a time.
const [, , packageUrl, path, prefix, count, atOnce] = process.argv;
const { Layout } = await import(packageUrl);
const layout = await Layout.open(path);
const base = await layout.resolve("base");
console.log("ready");
await new Promise((resolve) => process.stdin.once("data", resolve));
for (let at = 0; at < Number(count); at += Number(atOnce))
  await Promise.all(Array.from({ length: atOnce }, (_, more) => layout.tag(`${prefix}-${at + more}`, base)));
process.exit(0);
