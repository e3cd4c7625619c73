import { type Digest, digestEncoded } from "@stowage/layout";

/** What actions/cache takes. */
export interface CacheKeys {
  /** Names exactly what a lock names. */
  readonly key: string;
  /** What every key of the same sync file starts with: an older cache has most of what a newer one needs. */
  readonly "restore-key": string;
}

/** The keys of a cache that holds what the lock of a sync file names. */
export function cacheKeys(lock: Digest, file: string): CacheKeys {
  // actions/cache takes no comma, and at most 512 characters.
  const name = file.replace(/[^A-Za-z0-9._-]+/g, "-").slice(-100);
  const restoreKey = `stowage-${name}-`;
  return { key: `${restoreKey}${digestEncoded(lock)}`, "restore-key": restoreKey };
}
