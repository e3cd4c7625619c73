// Bundles the actions, with all they import, into dist/, or into the directory that is given: what a runner downloads is
// what it runs. The same sources give the same bytes on every machine.
import { join, resolve } from "node:path";
import { bundle } from "../scripts/bundling.js";

await bundle({
  entryPoints: {
    build: "actions/src/build.ts",
    attach: "actions/src/attach.ts",
    publish: "actions/src/publish.ts",
  },
  home: "actions/dist",
  directory: resolve(process.argv[2] ?? join(import.meta.dirname, "dist")),
  outExtension: { ".js": ".mjs" },
  minify: true,
  keepNames: true,
  plugins: [withoutTokens()],
});

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
