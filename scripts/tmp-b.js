// Bundles programs of this repository with all they import, for who has no package manager at run time or no time to load a
// thousand files. The same sources give the same bytes on every machine.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = "/work/wt-start";

/**
 * Writes the bundle of `entryPoints` (name -> source, from the root of the repository) into `directory`, in place of all that is
 * there, with the licences of what is in it. It is named as in `home`, wherever it is written. `options` are esbuild's.
 * Returns what esbuild tells of it.
 */
export async function bundle({ entryPoints, home, directory = home, plugins = [], ...options }) {
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    // The layers of build are compressed in worker threads, whose program is looked for under this name.
    entryPoints: { ...entryPoints },
    outdir: home,

    bundle: true,
    define: { "import.meta.url": "__url" },
    platform: "node",
    format: "cjs",
    target: "node20",
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: "none",
    // Packages that are CommonJS inside call require for Node's own modules.
    banner: {
      js: `
const __req=require;const __url=require("url").pathToFileURL(__filename).href;
const __lazy=new Map();
function __lz(name){const n=name.replace(/^node:/,"");let m=__lazy.get(n);if(m)return m;
 let real;const get=()=>real??=__req(n);
 if(["assert","events","stream","util","path","fs"].includes(n))return __req(n);m=new Proxy({}, {get:(_,k)=>get()[k],has:(_,k)=>k in get(),ownKeys:()=>Reflect.ownKeys(get()),apply:(_,t,a)=>Reflect.apply(get(),t,a),construct:(_,a)=>Reflect.construct(get(),a),getOwnPropertyDescriptor:(_,k)=>{const d=Object.getOwnPropertyDescriptor(get(),k);if(d)d.configurable=true;return d},getPrototypeOf:()=>Object.getPrototypeOf(get())});
 __lazy.set(n,m);return m;}
require=process.env.EAGER?__req:(n)=>__lz(n);
`,
    },
    plugins: [ownPackages(), undiciInPart(), ...plugins],
    metafile: true,
    write: false,
    logLevel: "warning",
    ...options,
  });
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
      onLoad({ filter: /.*/, namespace: "plain-width" }, () => ({ contents: "export default (text) => text.length;" }));
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
      onLoad({ filter: /.*/, namespace: "undici-in-part" }, () => ({ contents, resolveDir: importer }));
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
