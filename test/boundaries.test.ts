import { readdirSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));

/** What each folder of sources may import beside Node's own modules; a list names the files that may. */
const allowed: Readonly<Record<string, Readonly<Record<string, true | readonly string[]>>>> = {
  "packages/layout/src": {
    fzstd: ["compression/zstd.ts"],
    "tar-stream": ["archive/tar-writer.ts"],
    yauzl: ["archive/zip-files.ts"],
  },
  "packages/image/src": {
    "@stowage/layout": true,
    "fast-glob": ["mapping.ts"],
    fflate: ["gzip.ts", "gzip-worker.ts"],
  },
  "packages/nix/src": {
    "@stowage/image": true,
    "@stowage/layout": true,
    "xz-decompress": ["compression/xz.ts"],
  },
  "packages/registry/src": {
    "@stowage/layout": true,
    re2js: ["sync/pattern.ts"],
    semver: ["sync/selection.ts"],
    tldts: ["auth/realm.ts"],
    undici: ["transport.ts", "http/proxy.ts", "http/connection-error.ts"],
    yaml: ["sync/shape.ts", "sync/parse-file.ts"],
  },
  "packages/server/src": { "@stowage/layout": true, bcryptjs: ["htpasswd.ts"] },
  "packages/cli/src": {
    "@stowage/image": true,
    "@stowage/layout": true,
    "@stowage/nix": true,
    "@stowage/registry": true,
    "@stowage/server": true,
    "@stowage/server/testing": ["commands/serve.ts"],
    "cli-progress": ["progress.ts"],
    yargs: true,
  },
  "actions/src": {
    "@actions/core": true,
    "@actions/tool-cache": ["setup.ts", "command-line.ts"],
    "@stowage/image": true,
    "@stowage/layout": true,
    "@stowage/registry": true,
    "@stowage/nix": ["nix-export.ts"],
    "@stowage/server": ["serve-process.ts"],
  },
};

const builtins = new Set(builtinModules);

describe("the house", () => {
  for (const [folder, imports] of Object.entries(allowed)) {
    it(`${folder} imports only what it may`, () => {
      const offenders = sources(join(root, folder)).flatMap((file) =>
        importsOf(file)
          .filter((name) => !mayImport(relative(join(root, folder), file), name, imports))
          .map((name) => `${relative(root, file)} imports ${name}`),
      );
      expect(offenders).toEqual([]);
    });
  }

  it("no source imports a module of Node as a whole: in a bundle it would have the names of the Node that made the bundle", () => {
    const offenders = Object.keys(allowed)
      .flatMap((folder) => sources(join(root, folder)))
      .filter((file) => /^import \* as \w+ from "node:/m.test(readFileSync(file, "utf8")));
    expect(offenders).toEqual([]);
  });

  it("every dependency that a package declares is imported by it", () => {
    const unused = Object.keys(allowed).flatMap((folder) => {
      const manifest = JSON.parse(readFileSync(join(root, folder, "..", "package.json"), "utf8"));
      const used = new Set(sources(join(root, folder)).flatMap(importsOf));
      return Object.keys(manifest.dependencies ?? {})
        .filter((name) => !used.has(name))
        .map((name) => `${manifest.name} does not import ${name}`);
    });
    expect(unused).toEqual([]);
  });
});

function sources(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => join(folder, name));
}

function importsOf(file: string): string[] {
  const text = readFileSync(file, "utf8");
  return [
    ...text.matchAll(
      /(?:^|\n)\s*(?:import|export)\s[^"';]*?from\s+"([^"]+)"|import\(\s*"([^"]+)"\s*\)|^import\s+"([^"]+)"/gm,
    ),
  ].map((match) => match[1] ?? match[2] ?? (match[3] as string));
}

function mayImport(file: string, name: string, imports: (typeof allowed)[string]): boolean {
  if (name.startsWith("node:") || builtins.has(name)) return name.startsWith("node:");
  // A relative import may not leave the package: it would reach around the public entry of another one.
  if (name.startsWith(".")) return !relative(".", join(file, "..", name)).startsWith("..");
  const where = imports[name];
  return where === true || (where?.includes(file.replaceAll("\\", "/")) ?? false);
}
