import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  type Descriptor,
  type Digest,
  digestOf,
  isDigest,
  isJsonObject,
  isOciError,
  OciError,
  parseDescriptor,
  parseJsonObject,
  systemError,
} from "@stowage/layout";
import type { SyncFile } from "./sync-file.js";

/** One image of a lock. */
export interface LockedImage {
  /** The number of the item in the file, from 0. */
  readonly item: number;
  /** The full name of its repository; empty where it has only a tag. */
  readonly name: string;
  readonly tag?: string;
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes of the manifest. */
  readonly size: number;
  /** Every manifest that belongs to it, itself, its platforms, and referrers included, sorted. */
  readonly manifests: readonly Digest[];
}

/** What a sync file came to at some moment. */
export interface SyncLock {
  /** For each item of the file what it asked for; where that differs, the lock is of another file. */
  readonly items: readonly Digest[];
  readonly images: readonly LockedImage[];
}

/** A lock file, and the digest of its bytes, which is the key of a cache that holds what it names. */
export interface LockFile {
  readonly path: string;
  readonly digest: Digest;
}

const VERSION = 1;
/** Bytes. */
const MAXIMUM_SIZE = 64 * 1024 * 1024;

/** Where the lock of a sync file is unless somebody says otherwise: `stowage.lock` beside it. */
export function lockPath(file: SyncFile): string {
  return join(dirname(file.path), "stowage.lock");
}

/**
 * Reads the lock of a sync file. Fails with `NOT_FOUND` where there is none, with `INVALID` where it is no lock, and with
 * `CONFLICT`, naming the item, where the file has been changed since.
 */
export async function readLock(path: string, file: SyncFile): Promise<LockFile & { readonly lock: SyncLock }> {
  const update = `Run stowage sync ${file.path} --update to write it.`;
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    const error = systemError(cause, `cannot read the lock ${path}`);
    throw isOciError(error, "NOT_FOUND") ? new OciError("NOT_FOUND", error.message, { hint: update, cause }) : error;
  }
  if (bytes.byteLength > MAXIMUM_SIZE)
    throw new OciError("LIMIT", `the lock ${path} has more than ${MAXIMUM_SIZE} bytes`);
  const lock = parseLock(bytes, path);
  checkAgreement(lock, file, path);
  return { path, digest: digestOf(bytes), lock };
}

/** Fails with `CONFLICT` where the lock is not of this file as it is now. */
function checkAgreement(lock: SyncLock, file: SyncFile, path: string): void {
  const hint = `Run stowage sync ${file.path} --update and commit the lock together with the file.`;
  const changed = file.items.find((item, at) => item.digest !== lock.items[at]);
  if (changed !== undefined)
    throw new OciError(
      "CONFLICT",
      `${path} was not written for ${file.path} as it is: the item at ${changed.where} is new or has been changed`,
      { hint },
    );
  if (lock.items.length !== file.items.length)
    throw new OciError(
      "CONFLICT",
      `${path} was not written for ${file.path} as it is: it has ${lock.items.length} items, the file ${file.items.length}`,
      { hint },
    );
}

/** Writes the lock, whole or not at all. The same content makes the same bytes. */
export async function writeLock(path: string, lock: SyncLock): Promise<LockFile> {
  const bytes = encodeLock(lock);
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    await writeFile(temporary, bytes, { flag: "wx" });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw systemError(error, `cannot write the lock ${path}`);
  }
  return { path, digest: digestOf(bytes) };
}

/** The bytes of a lock: sorted, one image after the other, so that a change of one is a change of a few lines. */
export function encodeLock({ items, images }: SyncLock): Uint8Array {
  const key = ({ item, name, tag, digest }: LockedImage): string =>
    [String(item).padStart(6, "0"), name, tag ?? "", digest].join("\n");
  const sorted = [...images].sort((a, b) => (key(a) < key(b) ? -1 : 1));
  const rows = sorted.map(({ item, name, tag, mediaType, digest, size, manifests }) => ({
    item,
    name,
    ...(tag === undefined ? {} : { tag }),
    mediaType,
    digest,
    size,
    manifests: [...manifests].sort(),
  }));
  return new TextEncoder().encode(`${JSON.stringify({ lockVersion: VERSION, items, images: rows }, null, 2)}\n`);
}

function parseLock(bytes: Uint8Array, path: string): SyncLock {
  const where = `the lock ${path}`;
  const value = parseJsonObject(bytes, where);
  if (value.lockVersion !== VERSION)
    throw new OciError("INVALID", `${where} has lockVersion ${JSON.stringify(value.lockVersion)}, not ${VERSION}`, {
      hint: "It was written by another version of this program; write it anew with --update.",
    });
  if (!Array.isArray(value.items) || !Array.isArray(value.images))
    throw new OciError("INVALID", `${where} has no lists of items and images`);
  const items = value.items.map((digest) => parseLockedDigest(digest, where));
  return { items, images: value.images.map((image: unknown) => parseImage(image, items.length, where)) };
}

function parseImage(value: unknown, items: number, where: string): LockedImage {
  if (!isJsonObject(value)) throw new OciError("INVALID", `${where} has an image that is no object`);
  const { item, name, tag, manifests } = value;
  const { mediaType, digest, size }: Descriptor = parseDescriptor(value, `an image of ${where}`);
  const isItem = typeof item === "number" && Number.isInteger(item) && item >= 0 && item < items;
  if (
    !isItem ||
    typeof name !== "string" ||
    (tag !== undefined && typeof tag !== "string") ||
    !Array.isArray(manifests)
  )
    throw new OciError("INVALID", `${where} has an image without item, name or manifests`);
  const all = manifests.map((one: unknown) => parseLockedDigest(one, where));
  return { item, name, ...(tag === undefined ? {} : { tag }), mediaType, digest, size, manifests: all };
}

function parseLockedDigest(value: unknown, where: string): Digest {
  if (typeof value === "string" && isDigest(value)) return value;
  throw new OciError("INVALID", `${where} has ${JSON.stringify(value)} where a digest belongs`);
}
