import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BuildDestination, BuildTarget } from "@stowage/image";
import { copy, type Descriptor, Layout, type LayoutOptions, readManifest, type Source } from "@stowage/layout";
import { nixKeys } from "../layer/annotations.js";
import type { Closure } from "../sources/closure.js";
import {
  type ClosureOptions,
  type ExportOptions,
  type ExportResult,
  exportClosure,
  type ImportResult,
  importClosure,
} from "./export-closure.js";
import { tagPaths } from "./tag-paths.js";

/** Where the layout is that stands between a closure and what is no layout. */
export interface ScratchOptions {
  /** The directory for a layout that is removed again. Default: the system's. */
  readonly scratch?: string | undefined;
  /** How that layout is opened. */
  readonly layout?: LayoutOptions | undefined;
}

/** As {@link exportClosure}, to any destination; to one that is no layout by way of a layout that is removed again. */
export async function exportInto(
  destination: BuildDestination,
  closure: Closure,
  options: Omit<ExportOptions, "tags"> & ScratchOptions,
): Promise<ExportResult> {
  return into(
    destination,
    options,
    (target, tags) => exportClosure(target, closure, { ...options, tags }),
    (result) => result.closure,
  );
}

/** As {@link importClosure}, to any destination; to one that is no layout by way of a layout that is removed again. */
export async function importInto(
  destination: BuildDestination,
  closure: Closure,
  options: Omit<ClosureOptions, "tags"> & ScratchOptions,
): Promise<ImportResult> {
  return into(
    destination,
    options,
    (target, tags) => importClosure(target, closure, { ...options, tags }),
    (result) => result.descriptor,
  );
}

async function into<Result extends ImportResult>(
  { isLayout, tags, use }: BuildDestination,
  options: ClosureOptions & ScratchOptions,
  make: (target: BuildTarget, tags: readonly string[]) => Promise<Result>,
  closureIndex: (result: Result) => Descriptor | undefined,
): Promise<Result> {
  const { signal } = options;
  if (isLayout) return use((target) => make(target as BuildTarget, tags));
  const directory = await mkdtemp(join(options.scratch ?? tmpdir(), "stowage-nix-"));
  try {
    const layout = await Layout.create(directory, options.layout);
    const result = await make(layout, []);
    const index = closureIndex(result);
    const paths = index === undefined ? undefined : await pathsOf(layout, index);
    await use(async (target) => {
      await copy(layout, target, result.descriptor, { signal, tags, referrers: "all" });
      if (paths !== undefined) await tagPaths(target, paths, { signal });
    });
    return { ...result, tags };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** The manifests of the paths of a closure, by path. */
async function pathsOf(source: Source, index: Descriptor): Promise<Map<string, Descriptor>> {
  const { manifest } = await readManifest(source, index);
  const manifests = manifest.kind === "index" ? manifest.manifests : [];
  return new Map(
    manifests.flatMap((child): [string, Descriptor][] => {
      const path = child.annotations?.[nixKeys.storePath];
      return path === undefined ? [] : [[path, child]];
    }),
  );
}
