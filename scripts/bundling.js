// Bundles programs of this repository with all they import, for who has no package manager at run time or no time to load a
// thousand files. The same sources give the same bytes on every machine.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/**
 * Writes the bundle of `entryPoints` (name -> source, from the root of the repository) into `directory`, in place of all that is
 * there, with the licences of what is in it. It is named as in `home`, wherever it is written. `options` are esbuild's.
 * Returns what esbuild tells of it.
 */
export async function bundle({ entryPoints, home, directory = home, plugins = [], ...options }) {
  const settings = {
    absWorkingDir: root,
    // The layers of build are compressed in worker threads, whose program is looked for under this name.
    entryPoints: { ...entryPoints, "gzip-worker": "packages/image/src/gzip-worker.ts" },
    outdir: home,
    chunkNames: "chunk-[hash]",
    bundle: true,
    splitting: true,
    platform: "node",
    format: "esm",
    target: "node20",
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: "none",
    // Packages that are CommonJS inside call require for Node's own modules.
    banner: { js: 'const require=process.getBuiltinModule("module").createRequire(import.meta.url);' },
    metafile: true,
    write: false,
    logLevel: "warning",
    ...options,
  };
  const all = [ownPackages(), undiciInPart(), ...plugins];
  const names = importedNames(await build({ ...settings, plugins: all }));
  const { outputFiles, metafile } = await build({ ...settings, plugins: [...all, builtinModulesAsTheyAre(names)] });
  mkdirSync(directory, { recursive: true });
  for (const name of readdirSync(directory)) rmSync(join(directory, name), { recursive: true });
  for (const { path, contents } of outputFiles)
    writeFileSync(join(directory, relative(join(root, home), path)), contents);
  writeFileSync(join(directory, "licenses.txt"), licences(bundledFiles(metafile)));
  return metafile;
}

/**
 * The package that yargs measures the text of its help with compiles patterns for all of Unicode whenever it is loaded, and
 * that takes longer than many a command. This program's help is ASCII.
 */
export function plainWidth() {
  return {
    name: "plain-width",
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^string-width$/ }, () => ({
        path: "string-width",
        namespace: "plain-width",
        sideEffects: false,
      }));
      onLoad({ filter: /.*/, namespace: "plain-width" }, () => ({
        // It is imported and required.
        contents: "module.exports = (text) => text.length; module.exports.default = module.exports;",
      }));
    },
  };
}

/** This repository's packages come from their sources, so that no older build of them can get in. */
function ownPackages() {
  return {
    name: "own-packages",
    setup({ onResolve }) {
      onResolve({ filter: /^@stowage\/[a-z]+(\/testing)?$/ }, ({ path }) => {
        const [, name, entry = "index"] = path.split("/");
        return { path: join(root, "packages", name, "src", `${entry}.ts`), sideEffects: false };
      });
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
      onLoad({ filter: /^undici$/, namespace: "undici-in-part" }, () => ({ contents, resolveDir: importer }));
      // The transport speaks HTTP/1.1 only, and Node's HTTP/2 takes longer to load than a request on it.
      onResolve({ filter: /^\.\/client-h2\.js$/ }, () => ({ path: "client-h2", namespace: "undici-in-part" }));
      onLoad({ filter: /^client-h2$/, namespace: "undici-in-part" }, () => ({
        contents: 'module.exports = () => { throw new Error("HTTP/2 is not spoken here"); };',
      }));
    },
  };
}

/** The names that a bundle imports of each of Node's own modules; nothing of one that somebody imports as a whole. */
function importedNames({ outputFiles }) {
  const names = new Map();
  const asWhole = new Set();
  for (const { path, text } of outputFiles) {
    if (!/\.m?js$/.test(path)) continue;
    for (const [, list, module] of text.matchAll(/\bimport\s*(?:\w+,)?\{([^{}"]*)\}from"(?:node:)?([a-z_/]+)"/g)) {
      const known = names.get(module) ?? new Set();
      for (const item of list.split(",")) known.add(item.split(" as ")[0].trim());
      names.set(module, known);
    }
    for (const [, module] of text.matchAll(/\bimport\s*(?:\w+,)?\*\s*as \w+ from"(?:node:)?([a-z_/]+)"/g))
      asWhole.add(module);
  }
  for (const module of asWhole) names.delete(module);
  return names;
}

/**
 * For an import of one of its own modules Node makes a module with all of its names and looks at each of them, which loads what nobody
 * asked for. Here only `names` are looked at.
 */
function builtinModulesAsTheyAre(names) {
  return {
    name: "builtin-modules-as-they-are",
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^(node:)?[a-z_]+(\/[a-z]+)?$/ }, ({ path, kind }) => {
        const module = path.replace(/^node:/, "");
        return kind === "import-statement" && isBuiltin(path) && names.has(module)
          ? { path: module, namespace: "builtin", sideEffects: false }
          : undefined;
      });
      onLoad({ filter: /.*/, namespace: "builtin" }, ({ path }) => {
        const whole = `const whole=/* @__PURE__ */process.getBuiltinModule(${JSON.stringify(path)});`;
        const each = [...names.get(path)]
          .sort()
          .filter((name) => name !== "default")
          .map((name) => `export const ${name}=/* @__PURE__ */(()=>whole.${name})();`);
        return { contents: [whole, ...each, "export default whole;"].join("\n") };
      });
    },
  };
}

/** The files of which something is in the bundle. */
function bundledFiles(metafile) {
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
