import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { compareBytewise } from "../bytewise-order.js";

/** A bind mount of the runtime-spec: a declared path of the image, and where its files are. */
export interface BindMount {
  readonly destination: string;
  readonly type: "bind";
  readonly source: string;
  readonly options: readonly string[];
}

/** The part of a runtime configuration that puts an image together. runtime-spec v1.2.0, config.md "Mounts" and config-linux.md "Readonly Paths". */
export interface BindPlan {
  readonly ociVersion: string;
  /** Relative to the file. */
  readonly root: { readonly path: string };
  readonly mounts: readonly BindMount[];
  readonly linux: { readonly readonlyPaths: readonly string[] };
}

/** The file of a {@link BindPlan}, and the directory of the root beside it. */
export const PLAN_FILE = "mounts.json";
export const PLAN_ROOT = "rootfs";

/** The plan for these mounts. Always read-only: other images share the files. */
export function bindPlan(
  mounts: readonly { readonly destination: string; readonly source: string }[],
  readonlyPaths: readonly string[],
): BindPlan {
  return {
    ociVersion: "1.0.2",
    root: { path: PLAN_ROOT },
    mounts: [...mounts]
      .sort((one, other) => compareBytewise(one.destination, other.destination))
      .map(({ destination, source }) => ({ destination, type: "bind", source, options: ["rbind", "ro"] })),
    linux: { readonlyPaths: [...readonlyPaths].sort(compareBytewise) },
  };
}

/** Writes the plan into a directory. */
export function writeBindPlan(directory: string, plan: BindPlan): void {
  writeFileSync(join(directory, PLAN_FILE), `${JSON.stringify(plan, undefined, 2)}\n`);
}
