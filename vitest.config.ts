import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const source = (name: string, entry = "index"): string =>
  fileURLToPath(new URL(`./packages/${name}/src/${entry}.ts`, import.meta.url));

export default defineConfig({
  // The sources, not dist: a test that imports a package and one of its inner files then sees one module, not two.
  resolve: {
    alias: {
      "@stowage/server/testing": source("server", "testing"),
      ...Object.fromEntries(
        ["layout", "image", "nix", "registry", "server"].map((name) => [`@stowage/${name}`, source(name)]),
      ),
    },
  },
  test: {
    include: ["packages/*/test/**/*.test.ts", "actions/test/**/*.test.ts", "test/**/*.test.ts"],
    setupFiles: ["test/fixed-seed.ts"],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    pool: "forks",
  },
});
