import { chmodSync, mkdirSync, realpathSync } from "node:fs";
import { join, relative } from "node:path";
import { forEachParallel } from "@stowage/layout";
import { aroundRoot } from "./around-root.js";
import { bindPlan, writeBindPlan } from "./bind-plan.js";
import type { DeclaredLayer } from "./disjoint-image.js";
import type { DisjointRun } from "./disjoint-run.js";
import { extractLayer } from "./extract-layer.js";
import { LayerStore, type StoreKey } from "./layer-store.js";
import { makeMountPoints, placeLayer } from "./place-layer.js";
import { removeTree } from "./remove-tree.js";
import { ChangedInStore, describeEntry, isWhole, listEntries, type StoreEntry, treeOf } from "./store-entry.js";
import { PARALLEL_LAYERS } from "./verify.js";

/** Puts the files of an image together from a store, which gets the layers that it lacks. */
export async function unpackFromStore(run: DisjointRun, directory: string): Promise<void> {
  const { options } = run;
  const store = await LayerStore.open(directory, { create: true });
  try {
    const entries = await obtainAll(run, store);
    if (options.mode !== "bind-plan") {
      await aroundRoot(run, async () => {
        for (const [layer, entry] of entries) await place(run, store, layer, entry);
      });
      return;
    }
    mkdirSync(run.root);
    chmodSync(run.staging.root, 0o755);
    const realStore = realpathSync(store.directory);
    const mounts: { destination: string; source: string }[] = [];
    const readonlyPaths: string[] = [];
    await aroundRoot(run, async () => {
      for (const [layer, entry] of entries) {
        const tree = join(realStore, relative(store.directory, entry.tree));
        const points = await makeMountPoints(entry, layer.declaration.paths, run.root, options);
        for (const path of points) mounts.push({ destination: path, source: tree + path });
        if (layer.declaration.readonly) for (const path of points) readonlyPaths.push(path);
      }
    });
    run.mounts = mounts.length;
    writeBindPlan(run.staging.root, bindPlan(mounts, readonlyPaths));
  } finally {
    await store.release();
  }
}

/** The layers in the store, where those that were missing are now. */
async function obtainAll(run: DisjointRun, store: LayerStore): Promise<Map<DeclaredLayer, StoreEntry>> {
  const { found, options } = run;
  const there = await store.use(
    found.disjoint.map((layer) => keyOf(run, layer)),
    options,
  );
  const entries = new Map<DeclaredLayer, StoreEntry>();
  const wanted = found.disjoint.map((layer, at) => ({ layer, known: there[at] }));
  await forEachParallel(wanted, PARALLEL_LAYERS, async ({ layer, known }) => {
    if (known === undefined) {
      entries.set(layer, await obtain(run, store, layer));
    } else if (options.checkStore === true && !(await isWhole(known))) {
      await store.discard(keyOf(run, layer));
      entries.set(layer, await obtain(run, store, layer));
    } else entries.set(layer, reuse(run, layer, known));
  });
  return entries;
}

async function obtain(run: DisjointRun, store: LayerStore, layer: DeclaredLayer): Promise<StoreEntry> {
  const { source, found, options, counters } = run;
  const extract = async (directory: string): Promise<void> => {
    const tree = treeOf(directory);
    mkdirSync(tree, 0o700);
    const list = listEntries(directory);
    let listed = "";
    const finish = (): void => {
      listed = list.end();
    };
    const extracted = await extractLayer(source, layer, found, tree, { ...options, counters }, list.add).finally(
      finish,
    );
    run.written.push(extracted.written);
    describeEntry(directory, extracted, listed);
  };
  const { entry, reused } = await store.obtain(keyOf(run, layer), extract, options);
  return reused ? reuse(run, layer, entry) : entry;
}

/** What was verified when it came into the store; what its directories are is compared with this image. */
function reuse(run: DisjointRun, layer: DeclaredLayer, entry: StoreEntry): StoreEntry {
  for (const ancestor of entry.ancestors) run.found.ancestors.add(ancestor, layer.name);
  run.written.push({ ...entry.written, bytes: 0 });
  run.reused++;
  return entry;
}

async function place(run: DisjointRun, store: LayerStore, layer: DeclaredLayer, entry: StoreEntry): Promise<void> {
  const { options, root, files } = run;
  const how = options.mode === "hardlink" ? "hardlink" : "reflink";
  try {
    await placeLayer(entry, root, how, options, files);
  } catch (error) {
    if (!(error instanceof ChangedInStore)) throw error;
    // Somebody wrote into it, through another directory that has it perhaps.
    for (const path of layer.declaration.paths) await removeTree(root + path);
    await store.discard(keyOf(run, layer));
    await placeLayer(await obtain(run, store, layer), root, how, options, files);
  }
}

function keyOf({ options }: DisjointRun, { diffId, declaration }: DeclaredLayer): StoreKey {
  return { diffId, paths: declaration.paths, options };
}
