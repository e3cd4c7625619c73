// Attaches referrers, tags them and searches for them, while others do the same; says what it does not find.
const [, , packageUrl, path, name, count] = process.argv;
const { attach, Layout } = await import(packageUrl);
const layout = await Layout.open(path);
const subject = await layout.resolve(`v${name}`);
console.log("ready");
await new Promise((resolve) => process.stdin.once("data", resolve));
const attached = [];
for (let at = 0; at < Number(count); at++) {
  const { descriptor } = await attach(layout, subject, {
    artifactType: "application/vnd.example",
    annotations: { by: `${name} ${at}` },
  });
  attached.push(descriptor.digest);
  await layout.tag(`${name}-${at}`, descriptor);
  // As a process that has just started sees it.
  const fresh = at % 5 === 0 ? await Layout.open(path) : layout;
  const found = new Set();
  for await (const referrer of fresh.referrers(subject)) found.add(referrer.digest);
  for (const digest of attached) if (!found.has(digest)) console.log(`lost ${digest}`);
  if ((await fresh.resolve(`${name}-${at}`)).digest !== descriptor.digest) console.log(`lost tag ${at}`);
}
console.log("done");
process.exit(0);
