// Bundles the actions, with all they import, into dist/, or into the directory that is given: what a runner downloads is
// what it runs. The same sources give the same bytes on every machine.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { bundle, plainWidth } from "../scripts/bundling.js";

const root = resolve(import.meta.dirname, "..");
const directory = resolve(process.argv[2] ?? join(import.meta.dirname, "dist"));
const { version } = JSON.parse(readFileSync(join(root, "packages", "cli", "package.json"), "utf8"));

const { outputs } = await bundle({
  entryPoints: {
    attach: "actions/src/attach.ts",
    build: "actions/src/build.ts",
    load: "actions/src/load.ts",
    merge: "actions/src/merge.ts",
    "nix-export": "actions/src/nix-export.ts",
    publish: "actions/src/publish.ts",
    serve: "actions/src/serve.ts",
    setup: "actions/src/setup.ts",
    sync: "actions/src/sync.ts",
    // What serve leaves running.
    "serve-process": "actions/src/serve-process.ts",
    // What setup installs.
    stowage: "packages/cli/src/main.ts",
  },
  home: "actions/dist",
  directory,
  outExtension: { ".js": ".mjs" },
  minify: true,
  keepNames: true,
  define: { STOWAGE_VERSION: JSON.stringify(version) },
  plugins: [withoutTokens(), proxyAlone(), plainWidth()],
});
writeFileSync(join(directory, "tool.json"), `${JSON.stringify(tool(), null, 1)}\n`);

/**
 * The files of the command line as setup installs it: those that are beside this list by their SHA-256, and the text of the
 * others.
 */
function tool() {
  const needed = new Set(["gzip-worker.mjs"]);
  const add = (name) => {
    if (needed.has(name)) return;
    needed.add(name);
    for (const { path, external } of outputs[`actions/dist/${name}`].imports)
      if (!external) add(path.slice("actions/dist/".length));
  };
  add("stowage.mjs");
  const sum = (bytes) => createHash("sha256").update(bytes).digest("hex");
  const copied = ["licenses.txt", ...[...needed].sort()].map((name) => [
    name === "licenses.txt" ? name : `bundle/${name === "stowage.mjs" ? "main.js" : name}`,
    sum(readFileSync(join(directory, name))),
  ]);
  const texts = {
    "package.json": `${JSON.stringify({ name: "@stowage/cli", version, license: "Apache-2.0", type: "module" })}\n`,
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's.
    "bin/stowage": '#!/bin/sh\nexec "${STOWAGE_NODE:-node}" "$(dirname "$0")/stowage.js" "$@"\n',
    "bin/stowage.cmd":
      '@if not defined STOWAGE_NODE set STOWAGE_NODE=node\r\n@"%STOWAGE_NODE%" "%~dp0stowage.js" %*\r\n',
    "bin/stowage.js": readFileSync(join(root, "packages", "cli", "bin", "stowage.js"), "utf8"),
  };
  const sums = [...copied, ...Object.entries(texts).map(([name, text]) => [name, sum(text)])];
  return {
    ...Object.fromEntries(copied),
    ...texts,
    "files.json": `${JSON.stringify(Object.fromEntries(sums), null, 1)}\n`,
  };
}

/** Nothing here asks for an OIDC token; without the code for it, a second HTTP client stays out. */
function withoutTokens() {
  return {
    name: "without-tokens",
    setup({ onResolve }) {
      onResolve({ filter: /^\.\/(oidc-utils|platform)\.js$/ }, ({ path, importer, resolveDir }) =>
        importer.includes("@actions/core") || importer.includes("@actions\\core")
          ? { path: join(resolveDir, path), sideEffects: false }
          : undefined,
      );
    },
  };
}

/** Of its HTTP library the client of the tool cache uses the agent for proxies alone. */
function proxyAlone() {
  return {
    name: "proxy-alone",
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^undici$/ }, ({ importer, resolveDir }) =>
        /@actions[\\/]http-client/.test(importer)
          ? { path: "undici", namespace: "proxy-alone", sideEffects: false, pluginData: resolveDir }
          : undefined,
      );
      onLoad({ filter: /.*/, namespace: "proxy-alone" }, ({ pluginData }) => ({
        contents: 'export { default as ProxyAgent } from "undici/lib/dispatcher/proxy-agent.js";',
        resolveDir: pluginData,
      }));
    },
  };
}
