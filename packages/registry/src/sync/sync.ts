import { setMaxListeners } from "node:events";
import { type Abortable, type CopyEvent, type LayoutOptions, type SalvageReport, salvage } from "@stowage/layout";
import { RegistryClient } from "../client.js";
import type { SyncFailure } from "./find-images.js";
import type { LockFile } from "./lock.js";
import { Places } from "./places.js";
import type { PrunedTag } from "./prune.js";
import type { SyncFile } from "./sync-file.js";
import type { SyncedImage } from "./sync-image.js";

/** The options of {@link sync}. */
export interface SyncOptions extends Abortable {
  /** What talks to registries. Default: a new one. */
  readonly client?: RegistryClient | undefined;
  readonly layout?: LayoutOptions | undefined;
  /** Say what would be done, and do nothing. Default: false. */
  readonly dryRun?: boolean | undefined;
  /** Prune also where the file does not ask for it. Default: false. */
  readonly prune?: boolean | undefined;
  /** `frozen`: bring exactly what the lock names, and ask no source what a tag stands for. `update`: write what was found into the lock. Default: neither. */
  readonly lock?: "frozen" | "update" | undefined;
  /** Default: `stowage.lock` beside the file. */
  readonly lockPath?: string | undefined;
  /** Ask no registry: what is wanted has to be in the layout it goes to. Default: false. */
  readonly offline?: boolean | undefined;
  /** The registries, with port, that may be asked even so. */
  readonly allowedHosts?: readonly string[] | undefined;
  /** First take out what is damaged in the layouts at the targets, see `salvage`; then it is brought again. Default: false. */
  readonly salvage?: boolean | undefined;
  /** How many images move at once. Default: what the file says. */
  readonly concurrency?: number | undefined;
  /** Told what happens. */
  readonly onEvent?: ((event: CopyEvent) => void) | undefined;
}

/** What a {@link sync} did, or in a dry run would do. */
export interface SyncReport {
  /** In the order of their items, then of their targets. */
  readonly images: readonly SyncedImage[];
  /** What could not be found out: an item whose source does not answer, a tag that is not there. */
  readonly failures: readonly SyncFailure[];
  readonly pruned: readonly PrunedTag[];
  /** Repositories at targets that were not pruned although it was asked for, because something failed that they depend on. */
  readonly notPruned: readonly string[];
  /** The lock that was followed or written. */
  readonly lock?: LockFile;
  /** Layouts in which something was damaged and has been taken out. */
  readonly salvaged: readonly SalvageReport[];
}

/**
 * Brings what a file selects to where it says, items that read what others write after these. What fails does not stop the
 * rest; it is told of in the report. Tags that are no longer selected are removed where the file or `prune` asks for it, and
 * never where something failed that decides about them. Fails with the signal's reason, and with `NOT_FOUND`, `INVALID` or
 * `CONFLICT` where a lock is to be followed and is missing, no lock, or not of this file.
 */
export async function sync(file: SyncFile, options: SyncOptions = {}): Promise<SyncReport> {
  const client = options.client ?? new RegistryClient();
  const signal = ownSignal(options.signal);
  const places = new Places({
    client,
    layout: options.layout,
    dryRun: options.dryRun ?? false,
    offline: options.offline ?? false,
    allowedHosts: options.allowedHosts ?? [],
    signal,
  });
  try {
    // What knows versions and patterns takes a while to load, and only this verb needs it.
    const { SyncRun } = await import("./sync-run.js");
    const wanted = options.salvage === true && options.dryRun !== true;
    const { salvaged, failures } = wanted ? await salvageTargets(file, options) : { salvaged: [], failures: [] };
    const report = await new SyncRun(file, { ...options, signal }, places).run();
    return { ...report, failures: [...failures, ...report.failures], salvaged };
  } catch (error) {
    await places.discard();
    throw error;
  } finally {
    if (options.client === undefined) await client.close();
  }
}

/** Before anything is opened: what a layout holds is remembered. What cannot be salvaged is no reason to stop: other targets may be fine. */
async function salvageTargets(
  file: SyncFile,
  options: SyncOptions,
): Promise<{ readonly salvaged: readonly SalvageReport[]; readonly failures: readonly SyncFailure[] }> {
  const salvaged: SalvageReport[] = [];
  const failures: SyncFailure[] = [];
  for (const path of targetLayouts(file)) {
    try {
      const report = await salvage(path, options);
      if (report.blobs.length + report.entries.length > 0 || report.index !== undefined) salvaged.push(report);
    } catch (error) {
      options.signal?.throwIfAborted();
      failures.push({ where: file.path, source: `oci:${path}`, error });
    }
  }
  return { salvaged, failures };
}

/** The directories of the layouts that a sync of this file may write, each once. */
export function targetLayouts(file: SyncFile): readonly string[] {
  return [...new Set(file.items.flatMap(({ target }) => (target?.kind === "layout" ? [target.path] : [])))];
}

/** Ends with the caller's. Everything that is under way listens to it, which is no leak. */
function ownSignal(signal: AbortSignal | undefined): AbortSignal | undefined {
  if (signal === undefined) return undefined;
  const own = AbortSignal.any([signal]);
  setMaxListeners(0, own);
  return own;
}
