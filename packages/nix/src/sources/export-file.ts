import type { Abortable } from "@stowage/layout";
import { type ExportedPath, readExport, readExportedTree } from "../formats/export-archive.js";
import { type Closure, closureOf, findPath } from "./closure.js";
import { readFileFrom } from "./read-tree.js";

/**
 * The closure of some paths in an archive of `nix-store --export`; without roots that of all it has. The archive is read once to hash what is
 * in it, and a second time by whoever wants the content. Fails as `readExport` and `closureOf` do.
 */
export async function readExportFile(
  file: string,
  roots: readonly string[],
  options: Abortable = {},
): Promise<Closure> {
  const name = `the export ${file}`;
  const infos = new Map<string, ExportedPath>();
  for await (const { offset, ...info } of readExport(readFileFrom(file, 0, options), name, options))
    infos.set(info.path, { ...info, offset });
  return closureOf({
    name,
    infos,
    roots: roots.map((root) => findPath(infos.keys(), root, name)),
    object: ({ offset, ...info }) => ({
      info,
      tree: () => readExportedTree(readFileFrom(file, offset, options), `${info.path} in ${name}`),
    }),
  });
}
