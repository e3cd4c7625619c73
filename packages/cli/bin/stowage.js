#!/usr/bin/env node
// An import of one of these would load all that its names stand for.
const { existsSync, readFileSync } = process.getBuiltinModule("node:fs");
const { setFlagsFromString } = process.getBuiltinModule("node:v8");

// What moves through here is large and short-lived. With the young generation that Node 24 lets grow, a build takes 50 MB
// more memory and no less time. The flags count for what is loaded after them.
setFlagsFromString("--max-semi-space-size=2");
setFlagsFromString("--semi-space-growth-factor=1");
// The parser of HTTP is WebAssembly, which Node 20 optimises after a few answers, at 80 ms of a processor. This is Node 24's patience.
if (Number.parseInt(process.versions.node, 10) < 24) setFlagsFromString("--wasm-tiering-budget=13000000");

// A reader that has seen enough, such as head, ends neither the command nor what it returns.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error) => {
    if (error.code !== "EPIPE") throw error;
  });
}

// The bundle is what starts fast. Who works on the sources may have only what the compiler made of them.
const bundle = new URL("../bundle/main.js", import.meta.url);
const program = existsSync(bundle) ? bundle : new URL("../dist/main.js", import.meta.url);

const args = process.argv.slice(2);
if (args.length === 1 && args[0] === "--version") {
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  process.stdout.write(`${version}\n`);
} else {
  const { main } = await import(program.href);
  process.exitCode = await main(args);
}
