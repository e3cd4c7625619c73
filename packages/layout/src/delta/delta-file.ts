import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { isOciError, systemError } from "../model/errors.js";
import { readSmallFile, removeFile, replaceFile, writeSynced } from "../store/files.js";
import { DELTA_FILE, type Delta, encodeDelta, parseDelta } from "./delta.js";
import { MAXIMUM_RECEIPT_SIZE } from "./receipt.js";

/** What a layout directory leaves to a base, as it is noted in a file beside `index.json`. Undefined where nothing is. */
export async function readDeltaFile(directory: string): Promise<Delta | undefined> {
  const path = join(directory, DELTA_FILE);
  try {
    return parseDelta(await readSmallFile(path, MAXIMUM_RECEIPT_SIZE), path);
  } catch (error) {
    if (isOciError(error, "NOT_FOUND")) return undefined;
    throw error;
  }
}

/** Notes what a layout directory leaves to a base, instead of what was noted; with nothing to note, the file goes. */
export async function writeDeltaFile(directory: string, delta: Delta): Promise<void> {
  const path = join(directory, DELTA_FILE);
  const temporary = join(directory, "ingest", `${randomBytes(8).toString("hex")}.tmp`);
  try {
    if (delta.needs.length === 0) return await removeFile(path);
    await writeSynced(temporary, encodeDelta(delta));
    await replaceFile(temporary, path);
  } catch (error) {
    await removeFile(temporary).catch(() => {});
    throw systemError(error, `cannot write ${path}`);
  }
}
