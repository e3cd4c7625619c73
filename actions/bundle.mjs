// Bundles the actions, with all they import, into dist/, or into the directory that is given: what a runner downloads is
// what it runs. The same sources give the same bytes on every machine.
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(here);
const directory = resolve(process.argv[2] ?? join(here, "dist"));
const { version } = JSON.parse(readFileSync(join(root, "packages", "cli", "package.json"), "utf8"));

const { outputFiles, metafile } = await build({
  absWorkingDir: root,
  entryPoints: {
    attach: "actions/src/attach.ts",
    build: "actions/src/build.ts",
    load: "actions/src/load.ts",
    merge: "actions/src/merge.ts",
    publish: "actions/src/publish.ts",
    serve: "actions/src/serve.ts",
    setup: "actions/src/setup.ts",
    sync: "actions/src/sync.ts",
    // What serve leaves running.
    "serve-process": "actions/src/serve-process.ts",
    // What setup installs.
    stowage: "packages/cli/bin/stowage.js",
    // The layers of build are compressed in worker threads, whose program is looked for under this name.
    "gzip-worker": "packages/image/src/gzip-worker.ts",
  },
  outdir: "actions/dist",
  outExtension: { ".js": ".mjs" },
  chunkNames: "chunk-[hash]",
  bundle: true,
  splitting: true,
  platform: "node",
  format: "esm",
  target: "node20",
  minify: true,
  keepNames: true,
  legalComments: "none",
  // Packages that are CommonJS inside call require for Node's own modules.
  banner: {
    js: 'import{createRequire as __createRequire}from"node:module";const require=__createRequire(import.meta.url);',
  },
  define: { STOWAGE_VERSION: JSON.stringify(version) },
  plugins: [ownPackages(), commandLine(), withoutTokens(), undiciInPart(), proxyAlone()],
  metafile: true,
  write: false,
  logLevel: "warning",
});

mkdirSync(directory, { recursive: true });
for (const name of readdirSync(directory)) rmSync(join(directory, name), { recursive: true });
const written = new Map(
  outputFiles.map(({ path, contents }) => [relative(join(root, "actions", "dist"), path), contents]),
);
for (const [name, contents] of written) writeFileSync(join(directory, name), contents);
writeFileSync(join(directory, "licenses.txt"), licences(bundled()));
writeFileSync(join(directory, "tool.json"), `${JSON.stringify(tool(), null, 1)}\n`);

/**
 * The files of the command line as setup installs it: those that are beside this list by their SHA-256, and the text of the
 * others.
 */
function tool() {
  const needed = new Set();
  const add = (name) => {
    if (needed.has(name)) return;
    needed.add(name);
    for (const { path, external } of metafile.outputs[`actions/dist/${name}`].imports)
      if (!external) add(path.slice("actions/dist/".length));
  };
  add("stowage.mjs");
  add("gzip-worker.mjs");
  const sum = (bytes) => createHash("sha256").update(bytes).digest("hex");
  const texts = {
    "package.json": `${JSON.stringify({ name: "@stowage/cli", version, license: "Apache-2.0", type: "module" })}\n`,
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's.
    "bin/stowage": '#!/bin/sh\nexec "${STOWAGE_NODE:-node}" "$(dirname "$0")/../lib/stowage.mjs" "$@"\n',
    "bin/stowage.cmd":
      '@if not defined STOWAGE_NODE set STOWAGE_NODE=node\r\n@"%STOWAGE_NODE%" "%~dp0..\\lib\\stowage.mjs" %*\r\n',
  };
  const libraries = [
    ...[...needed].sort().map((name) => [`lib/${name}`, sum(written.get(name))]),
    ["licenses.txt", sum(readFileSync(join(directory, "licenses.txt")))],
  ];
  const files = [...libraries, ...Object.entries(texts).map(([name, text]) => [name, sum(text)])];
  return {
    ...Object.fromEntries(libraries),
    ...texts,
    "files.json": `${JSON.stringify(Object.fromEntries(files), null, 1)}\n`,
  };
}

/** The command line comes from its sources, too. */
function commandLine() {
  return {
    name: "command-line",
    setup({ onResolve }) {
      onResolve({ filter: /^\.\.\/dist\/(?:main|version)\.js$/ }, ({ path }) => ({
        path: join(root, "packages", "cli", "src", path.slice("../dist/".length).replace(/\.js$/, ".ts")),
      }));
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

/** This repository's packages come from their sources, so that no older build of them can get in. */
function ownPackages() {
  return {
    name: "own-packages",
    setup({ onResolve }) {
      onResolve({ filter: /^@stowage\/[a-z]+$/ }, ({ path }) => ({
        path: join(root, "packages", path.slice("@stowage/".length), "src", "index.ts"),
        sideEffects: false,
      }));
      onResolve({ filter: /^@stowage\/server\/testing$/ }, () => ({
        path: join(root, "packages", "server", "src", "testing.ts"),
        sideEffects: false,
      }));
    },
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

/**
 * The whole of undici (fetch, WebSocket, caches, mocks) takes longer to load than an action to run. This is its index.js
 * without what the transport does not import; an import of anything else fails while bundling.
 */
function undiciInPart() {
  const contents = `
    import api from "undici/lib/api/index.js";
    import Dispatcher from "undici/lib/dispatcher/dispatcher.js";
    Object.assign(Dispatcher.prototype, api);
    export { default as Pool } from "undici/lib/dispatcher/pool.js";
    export { default as ProxyAgent } from "undici/lib/dispatcher/proxy-agent.js";
    export { default as buildConnector } from "undici/lib/core/connect.js";
  `;
  const importer = join(root, "packages", "registry", "src");
  return {
    name: "undici-in-part",
    setup({ onResolve, onLoad }) {
      // Others may import another version, by the same name.
      onResolve({ filter: /^undici$/ }, ({ resolveDir }) =>
        resolveDir === importer ? { path: "undici", namespace: "undici-in-part", sideEffects: false } : undefined,
      );
      onLoad({ filter: /.*/, namespace: "undici-in-part" }, () => ({ contents, resolveDir: importer }));
    },
  };
}

/** The files of which something is in the bundle. */
function bundled() {
  return Object.values(metafile.outputs).flatMap(({ inputs }) =>
    Object.entries(inputs).flatMap(([path, { bytesInOutput }]) => (bytesInOutput > 0 ? [path] : [])),
  );
}

/** The licences of the packages whose code is in the bundle. */
function licences(inputs) {
  const folders = new Set(inputs.map((input) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(input)?.[0]));
  folders.delete(undefined);
  const packages = [...folders].map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(root, folder, "package.json"), "utf8"));
    const file = readdirSync(join(root, folder)).find((entry) => /^licen[cs]e(\.(md|txt))?$/i.test(entry));
    if (file === undefined && license === undefined) throw new Error(`${name} ${version} comes without a licence`);
    const text =
      file === undefined
        ? ""
        : readFileSync(join(root, folder, file), "utf8")
            .replaceAll("\r\n", "\n")
            .trim();
    return { title: `${name} ${version} (${license})`, text };
  });
  packages.sort((a, b) => (a.title < b.title ? -1 : 1));
  const unique = new Map(packages.map((item) => [item.title, item.text]));
  return [...unique]
    .map(([title, text]) => `${title}\n\n${text}`.trim())
    .join(`\n\n${"-".repeat(80)}\n\n`)
    .concat("\n");
}
