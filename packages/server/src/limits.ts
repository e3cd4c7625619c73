import { MAXIMUM_MANIFEST_SIZE } from "@stowage/layout";

/** What one client may ask of a server. */
export interface Limits {
  /** The largest manifest that is taken in, in bytes; a larger one is answered with 413. Default, and at most: 8 MiB. */
  readonly manifestSize: number;
  /** The largest blob that is taken in, in bytes. Default: no limit. */
  readonly blobSize: number;
  /** The request line and headers of one request, in bytes. Default: 32 KiB. */
  readonly headerSize: number;
  /** Uploads that are open at once; one more is answered with 429. Default: 1000. */
  readonly uploads: number;
  /** How long an upload stays open after the last request for it, in ms. Default: 10 minutes. */
  readonly uploadIdle: number;
  /** How long a client may neither send what it announced nor read what it asked for, in ms; then its connection is cut. Default: 1 minute. */
  readonly stall: number;
  /** Connections at once. Default: 1000. */
  readonly connections: number;
  /** Tags, repositories or tag parameters in one answer or request. A longer list is paged. Default: 10,000. */
  readonly listLength: number;
}

const DEFAULTS: Limits = {
  manifestSize: MAXIMUM_MANIFEST_SIZE,
  blobSize: Number.MAX_SAFE_INTEGER,
  headerSize: 32 * 1024,
  uploads: 1000,
  uploadIdle: 10 * 60_000,
  stall: 60_000,
  connections: 1000,
  listLength: 10_000,
};

/** The limits with the defaults filled in. Fails with a `TypeError` where one is not a positive integer. */
export function completeLimits(limits: Partial<Limits> = {}): Limits {
  const complete = { ...DEFAULTS, ...limits };
  for (const [name, value] of Object.entries(complete)) {
    if (!Number.isSafeInteger(value) || value <= 0) throw new TypeError(`the limit ${name} must be a positive integer`);
  }
  return { ...complete, manifestSize: Math.min(complete.manifestSize, MAXIMUM_MANIFEST_SIZE) };
}
