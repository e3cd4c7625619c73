import { join } from "node:path";
import {
  type Abortable,
  type Descriptor,
  forEachParallel,
  OciError,
  type Platform,
  type Source,
} from "@stowage/layout";
import { readImage } from "../image.js";
import type { LayerLimits } from "../open-layer.js";
import { counter } from "../read-layers.js";
import type { Written } from "../unpack/file-writer.js";
import type { LayerWriterOptions } from "../unpack/layer-writer.js";
import { aroundRoot } from "./around-root.js";
import { PLAN_ROOT } from "./bind-plan.js";
import { type DeclaredLayer, declaredLayers } from "./disjoint-image.js";
import type { DisjointRun } from "./disjoint-run.js";
import { extractLayer, refusal } from "./extract-layer.js";
import { unpackFromStore } from "./from-store.js";
import { moveLayer, type PlacedFiles } from "./place-layer.js";
import { prepareStaging } from "./staging.js";
import { entryCounter, PARALLEL_LAYERS } from "./verify.js";

/**
 * How disjoint layers become a directory: `merge` extracts them into it; `hardlink` makes names in it for the files of a store;
 * `reflink` makes files that share blocks with those of a store; `bind-plan` leaves them in a store and says what to mount.
 */
export type DisjointMode = "merge" | "hardlink" | "reflink" | "bind-plan";

/** All values of {@link DisjointMode}. */
export const disjointModes: readonly DisjointMode[] = ["merge", "hardlink", "reflink", "bind-plan"];

/** The options of {@link unpackDisjoint}. */
export interface UnpackDisjointOptions extends LayerWriterOptions, LayerLimits, Abortable {
  readonly mode: DisjointMode;
  /** The directory of the store, for all modes but `merge`. */
  readonly store?: string | undefined;
  /** Read the files of a layer that is in the store already, and extract it anew where one is not what it was. Default: false. */
  readonly checkStore?: boolean | undefined;
  /** Which image of an index. Default: Linux on this machine's processor. */
  readonly platform?: Platform | undefined;
  /** Told of bytes of tar that were taken in. */
  readonly onBytes?: ((count: number) => void) | undefined;
}

/** What {@link unpackDisjoint} did. */
export interface UnpackDisjointResult extends Readonly<Omit<Written, "entries" | "bytes">> {
  /** Of the image itself, also where it was found through an index. */
  readonly descriptor: Descriptor;
  readonly directory: string;
  readonly mode: DisjointMode;
  readonly layers: number;
  /** How many of them declare what they own. */
  readonly disjoint: number;
  /** How many layers were in the store. */
  readonly reused: number;
  /** Bytes in files that were written, to the directory or the store. */
  readonly bytesWritten: number;
  readonly files: Readonly<PlacedFiles>;
  /** How many mounts the plan has. */
  readonly mounts: number;
}

/**
 * Unpacks an image whose layers declare what they own (docs/disjoint-layers.md), in parallel and in any order; ordinary layers
 * among them go one onto the other. What a layer holds is held against what it declares, and until all layers have passed, nothing
 * of the image is in the directory, which must be missing or empty. The files are those that `unpack` makes. Fails with
 * `INVALID` where the layers are not disjoint and otherwise as `unpack` does.
 */
export async function unpackDisjoint(
  source: Source,
  reference: string | Descriptor,
  directory: string,
  options: UnpackDisjointOptions,
): Promise<UnpackDisjointResult> {
  const { mode } = options;
  if ((mode === "merge") !== (options.store === undefined)) throw new TypeError(`${mode} and a store`);
  const image = await readImage(source, reference, options.platform, options);
  const found = declaredLayers(image, (violation) => {
    throw refusal(violation);
  });
  if (found.disjoint.length === 0)
    throw new OciError("INVALID", `no layer of ${image.descriptor.digest} declares what it owns`, {
      hint: "stowage disjoint annotate finds out, where the layers are disjoint.",
    });
  const staging = prepareStaging(directory);
  const counters = { bytes: counter(options), entries: entryCounter(options) };
  const files = { linked: 0, cloned: 0, copied: 0, copiedBytes: 0 };
  const root = mode === "bind-plan" ? join(staging.root, PLAN_ROOT) : staging.root;
  const run: DisjointRun = {
    source,
    found,
    staging,
    root,
    counters,
    options,
    written: [],
    files,
    reused: 0,
    mounts: 0,
  };
  try {
    if (options.store === undefined) await merge(run);
    else await unpackFromStore(run, options.store);
    await staging.commit();
  } catch (error) {
    await staging.abandon();
    throw error;
  }
  const sum = (key: "bytes" | "otherOwners" | "withoutXattrs"): number =>
    run.written.reduce((total, written) => total + written[key], 0);
  return {
    descriptor: image.descriptor,
    directory,
    mode,
    layers: image.layers.length,
    disjoint: found.disjoint.length,
    reused: run.reused,
    bytesWritten: sum("bytes") + files.copiedBytes,
    files,
    mounts: run.mounts,
    otherOwners: sum("otherOwners"),
    withoutXattrs: sum("withoutXattrs"),
    skipped: run.written.flatMap(({ skipped }) => skipped),
  };
}

async function merge(run: DisjointRun): Promise<void> {
  const { found, staging } = run;
  const trees = new Map<DeclaredLayer, string>();
  await forEachParallel(found.disjoint, PARALLEL_LAYERS, async (layer) => {
    const tree = staging.layer(layer.at);
    trees.set(layer, tree);
    const { written } = await extractLayer(run.source, layer, found, tree, { ...run.options, counters: run.counters });
    run.written.push(written);
  });
  await aroundRoot(run, async () => {
    for (const [layer, tree] of trees) moveLayer(tree, layer.declaration.paths, run.root);
  });
}
