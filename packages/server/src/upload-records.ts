import { readFile, rm, writeFile } from "node:fs/promises";
import {
  type Descriptor,
  type DigestAlgorithm,
  isDigest,
  isRepository,
  isVerifiable,
  mediaTypes,
  systemErrorCode,
} from "@stowage/layout";

/** An upload as it is remembered while no server runs. */
export interface UploadRecord {
  readonly id: string;
  readonly repository: string;
  readonly algorithm: DigestAlgorithm;
  /** What has arrived, stored as a blob of its own; undefined where nothing has. */
  readonly part: Descriptor | undefined;
  /** When something happened to it last, in ms since 1970. */
  readonly last: number;
}

/** The largest file of records that is read, in bytes. */
const MAXIMUM_FILE = 16 * 1024 * 1024;

/** Reads the records and takes the file away, so that no second server goes on with the same uploads. What is no record is left out. */
export async function takeUploadRecords(file: string): Promise<readonly UploadRecord[]> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
    await rm(file, { force: true });
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return [];
    throw error;
  }
  if (text.length > MAXIMUM_FILE) return [];
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? value.flatMap(recordIn) : [];
  } catch {
    // Somebody else's file, or one that was cut short: the clients begin anew.
    return [];
  }
}

/** Writes the records for the next server. */
export async function keepUploadRecords(file: string, records: readonly UploadRecord[]): Promise<void> {
  if (records.length > 0) await writeFile(file, JSON.stringify(records), { mode: 0o600 });
}

function recordIn(value: unknown): UploadRecord[] {
  const { id, repository, algorithm, part, last } = (value ?? {}) as Record<string, unknown>;
  if (typeof id !== "string" || !/^[0-9a-f-]{36}$/.test(id) || typeof last !== "number") return [];
  if (typeof repository !== "string" || !isRepository(repository)) return [];
  if (algorithm !== "sha256" && algorithm !== "sha512") return [];
  const known = { id, repository, algorithm, last } as const;
  if (part === undefined) return [{ ...known, part: undefined }];
  const { digest, size } = (part ?? {}) as Record<string, unknown>;
  if (typeof digest !== "string" || !isDigest(digest) || !isVerifiable(digest)) return [];
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) return [];
  return [{ ...known, part: { mediaType: mediaTypes.octetStream, digest, size } }];
}
