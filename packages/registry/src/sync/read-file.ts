import { open } from "node:fs/promises";
import { type JsonObject, OciError, systemError } from "@stowage/layout";
import type { ItemValue } from "./shape-of-file.js";
import type { SyncFile, SyncItem } from "./sync-file.js";

/** The largest sync file that is read, in bytes. */
const MAXIMUM_SIZE = 4 * 1024 * 1024;

/** Reads a sync file. Fails with `INVALID`, and a line `FILE:LINE:COLUMN: what is wrong; what to write` for each mistake, with `NOT_FOUND` where there is no file, and with `LIMIT` for one of more than 4 MiB. */
export async function readSyncFile(path: string): Promise<SyncFile> {
  return parseSyncFile(await textOf(path), path);
}

/** Reads the text of a sync file; `path` is for messages, and what paths in the text are relative to. Fails with `INVALID` and `LIMIT`. */
export async function parseSyncFile(text: string, path: string): Promise<SyncFile> {
  // What reads YAML, versions and patterns takes a while to load, and only this verb needs it.
  const { parseText } = await import("./parse-file.js");
  return parseText(text, path);
}

/** What an item of a file says, by the same keys, for a sync without a file. Paths are relative to the current directory. Fails with `INVALID`. */
export async function syncItem(value: SyncItemValue): Promise<SyncItem> {
  const { parseItem } = await import("./parse-file.js");
  return parseItem(value);
}

/** The keys of an item of a sync file. */
export type SyncItemValue = ItemValue;

/** The JSON schema (draft 7) of sync files, for editors. */
export async function syncFileSchema(): Promise<JsonObject> {
  const { schemaOfFile } = await import("./parse-file.js");
  return schemaOfFile();
}

async function textOf(path: string): Promise<string> {
  try {
    const file = await open(path);
    try {
      const buffer = Buffer.alloc(MAXIMUM_SIZE + 1);
      let length = 0;
      for (;;) {
        const { bytesRead } = await file.read(buffer, length, buffer.byteLength - length);
        length += bytesRead;
        if (bytesRead === 0 || length === buffer.byteLength) break;
      }
      if (length > MAXIMUM_SIZE) throw new OciError("LIMIT", `${path} has more than ${MAXIMUM_SIZE} bytes`);
      return buffer.toString("utf8", 0, length);
    } finally {
      await file.close();
    }
  } catch (error) {
    throw systemError(error, `cannot read the sync file ${path}`);
  }
}
