import * as core from "@actions/core";
import { gc, isOciError, Layout, type Location } from "@stowage/layout";
import {
  type LockFile,
  lockPath,
  readLock,
  type SyncedImage,
  type SyncFile,
  type SyncOptions,
  type SyncReport,
  sync,
  targetLayouts,
} from "@stowage/registry";
import { cacheKeys } from "./cache-key.js";
import { type AccountInputs, type Login, loginFor, readAccount } from "./credentials.js";
import { flag, hosts, InputError, required, text, wholeNumber } from "./inputs.js";
import { registries } from "./locations.js";
import { count, formatSize, info } from "./log.js";
import { setOutputs } from "./outputs.js";
import { type ActionContext, run } from "./run.js";
import { writeSummary } from "./summary.js";
import { syncFileOf } from "./sync-file.js";
import { Tally } from "./tally.js";
import { insidePath } from "./workspace.js";

await run("sync", async (context) => {
  const inputs = await readInputs();
  const { file, lock } = inputs;
  if (inputs.lockDigest && lock !== undefined) return reportKeys(await readLock(lock, file), file);
  const reach = registries(context.signal, inputs.login);
  const tally = new Tally();
  try {
    const report = await core.group("Syncing", () =>
      sync(file, { ...inputs.options, ...reach.open, onEvent: tally.onEvent }),
    );
    const complete = tell(report, inputs, context);
    setOutputs({
      "cache-hit": String(complete && !tally.moved && report.salvaged.length === 0),
      complete: String(complete),
      images: report.images.filter(({ error }) => error === undefined).map(imageOutput),
      ...(await keysOf(report.lock, inputs)),
      layout: targetLayouts(file)[0] ?? "",
      ...tally.outputs(),
    });
    if (inputs.gc && complete) await collect(file);
    if (inputs.summary) await summarize(report, tally);
  } finally {
    await reach.close();
  }
});

interface SyncInputs {
  readonly file: SyncFile;
  readonly fromFile: boolean;
  /** Undefined where there is no file that one could be for. */
  readonly lock: string | undefined;
  readonly lockDigest: boolean;
  readonly options: SyncOptions;
  readonly gc: boolean;
  /** Whether what is missing in the end fails the step. */
  readonly required: boolean;
  readonly login: Login | undefined;
  readonly summary: boolean;
}

async function readInputs(): Promise<SyncInputs> {
  const account = readAccount();
  const source = required("source");
  const { file, fromFile } = await syncFileOf(source);
  const named = text("lock");
  const frozen = flag("frozen", false);
  const update = flag("update", false);
  if (frozen && update)
    throw new InputError("frozen", "frozen follows the lock and update writes it", { hint: "Set one of them." });
  const lockDigest = flag("lock-digest", false);
  if (!fromFile && (frozen || update || lockDigest || named !== undefined))
    throw new InputError("lock", "a lock is for a sync file, and this run has none", {
      hint: "Write what is synced into a file, and name it in source, without a target.",
    });
  const isCache = file.items.every(({ target }) => target?.kind === "layout");
  return {
    file,
    fromFile,
    lock: !fromFile ? undefined : named === undefined ? lockPath(file) : insidePath("lock", named),
    lockDigest,
    options: {
      dryRun: flag("dry-run", false),
      prune: flag("prune", false),
      ...(frozen ? { lock: "frozen" as const } : update ? { lock: "update" as const } : {}),
      ...(named === undefined ? {} : { lockPath: named }),
      offline: flag("offline", false),
      allowedHosts: hosts("allow-host"),
      salvage: flag("salvage", true),
      concurrency: wholeNumber("concurrency"),
    },
    gc: flag("gc", false),
    required: flag("required", !isCache),
    login: syncLogin(account, file),
    summary: flag("summary", true),
  };
}

function syncLogin(account: AccountInputs, { items }: SyncFile): Login | undefined {
  const locations = (
    places: readonly (Location | { readonly kind: "registry-prefix"; readonly host: string } | undefined)[],
  ) =>
    places.flatMap((place): Location[] => {
      if (place?.kind !== "registry-prefix") return place === undefined ? [] : [place];
      return [{ kind: "registry", reference: { host: place.host, repository: "any" } }];
    });
  return loginFor(account, locations(items.map(({ target }) => target)), locations(items.map(({ source }) => source)));
}

/** Only the keys: what they name is brought by a later step. */
function reportKeys(lock: LockFile, { path }: SyncFile): void {
  const keys = cacheKeys(lock.digest, path);
  setOutputs({ ...keys, "lock-digest": lock.digest });
  info(`the key of the cache is ${keys.key}`);
}

async function keysOf(followed: LockFile | undefined, { lock, file }: SyncInputs): Promise<Record<string, string>> {
  const none = { key: "", "restore-key": "", "lock-digest": "" };
  if (lock === undefined) return none;
  try {
    const { digest } = followed ?? (await readLock(lock, file));
    return { ...cacheKeys(digest, file.path), "lock-digest": digest };
  } catch (error) {
    // There need not be one where none is followed.
    if (!isOciError(error)) throw error;
    return none;
  }
}

/** Tells what was damaged, what failed and what was not pruned. True where all is there that was asked for. */
function tell(report: SyncReport, { required, fromFile }: SyncInputs, { fail, warn }: ActionContext): boolean {
  for (const { path, blobs, entries, index } of report.salvaged) {
    const parts = [
      ...(index === undefined ? [] : ["its index"]),
      ...(blobs.length === 0 ? [] : [count(blobs.length, "blob")]),
      ...(entries.length === 0 ? [] : [`${entries.join(", ")} in its index`]),
    ];
    core.warning(`oci:${path} was damaged: ${parts.join(" and ")}. That counts as not cached.`, {
      title: "stowage sync: Damaged cache",
    });
  }
  const problems = [
    ...[...report.failures, ...report.images].flatMap(({ where, source, error }) =>
      error === undefined ? [] : [{ what: `not synced: ${fromFile ? `${where}: ` : ""}${source}`, error }],
    ),
    ...report.images.flatMap(({ source, report: copied }) =>
      (copied?.failures ?? []).map(({ path, error }) => ({
        what: `not synced: ${source}: ${path.join(" > ")}`,
        error,
      })),
    ),
    ...report.pruned.flatMap(({ target, tag, error }) =>
      error === undefined ? [] : [{ what: `not pruned: ${target}: ${tag}`, error }],
    ),
  ];
  for (const { what, error } of problems) (required ? fail : warn)(error, what);
  for (const group of report.notPruned) info(`not pruned: ${group}, since something failed that decides about it`);
  for (const { change, source, target, descriptor, error } of report.images)
    if (error === undefined) info(`${change ?? "copied"} ${source} -> ${target} ${descriptor.digest}`);
  return problems.length === 0;
}

function imageOutput({ source, target, descriptor, change }: SyncedImage): Record<string, string> {
  return { source, target, digest: descriptor.digest, change: change ?? "" };
}

/** So that a cache that begins with an older one does not grow without end. */
async function collect(file: SyncFile): Promise<void> {
  for (const path of targetLayouts(file)) {
    const { removed, freed } = await gc(await Layout.open(path));
    info(`collected ${count(removed.length, "blob")} of oci:${path}, ${formatSize(freed)}`);
  }
}

async function summarize({ images, failures, pruned }: SyncReport, tally: Tally): Promise<void> {
  const failed = (error: unknown): string => `failed: ${error instanceof Error ? error.message : String(error)}`;
  await writeSummary({
    heading: `Images synced: ${tally}`,
    columns: ["Source", "Target", "Digest", "Content", "Referrers"],
    rows: [
      ...failures.map(({ source, error }) => [source, "", "", failed(error), ""]),
      ...images.map(({ source, target, descriptor, change, report, error }) => [
        source,
        target,
        descriptor.digest,
        error === undefined ? `${change ?? "copied"}, ${formatSize(report?.bytes ?? 0)} sent` : failed(error),
        report === undefined ? "" : String(report.referrers.copied),
      ]),
      ...pruned.map(({ target, tag, error }) => ["", `${target} ${tag}`, "", error ? failed(error) : "pruned", ""]),
    ],
  });
}
