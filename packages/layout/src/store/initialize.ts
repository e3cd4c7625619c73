import { readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { OciError } from "../model/errors.js";
import { encodeJson } from "../model/manifest.js";
import { BlobDirectory } from "./blobs.js";
import { COMPRESSED_LAYERS } from "./compressed-layers.js";
import { DERIVED_INDEX } from "./derived-file.js";
import { makeDirectory, replaceFile, writeSynced } from "./files.js";
import { emptyIndex } from "./index-json.js";
import { LAYOUT_VERSION } from "./layout-version.js";
import { acquireLock } from "./lock.js";
import { checkOwnDirectories } from "./own-directories.js";

/**
 * What a directory may hold and still become a layout: the traces of a layout that is just being made, and what the root of
 * a file system has from the beginning.
 */
const TOLERATED_NAMES: ReadonlySet<string> = new Set([
  ...["oci-layout", "index.json", "blobs", "ingest", DERIVED_INDEX, COMPRESSED_LAYERS],
  "lost+found",
]);

/** Makes an empty layout of a directory unless it is a layout. Fails with `CONFLICT`, and touches nothing, where it holds anything else. */
export async function initialize(path: string, lockTimeout: number | undefined): Promise<void> {
  await makeDirectory(path);
  const names = await readdir(path);
  if (names.includes("oci-layout") && names.includes("index.json")) return;
  const foreign = names.find((name) => !TOLERATED_NAMES.has(name));
  if (foreign !== undefined) {
    throw new OciError(
      "CONFLICT",
      `cannot make a layout of ${path}: it is no layout and holds ${JSON.stringify(foreign)}`,
      { hint: "Name a directory that is empty or does not exist yet." },
    );
  }
  await makeFiles(resolve(path), lockTimeout);
}

/** Makes what is missing, under the lock: two processes may make the same layout at once, and neither may empty the other's index. */
async function makeFiles(directory: string, timeout: number | undefined): Promise<void> {
  await checkOwnDirectories(directory);
  const blobs = new BlobDirectory(directory);
  await makeDirectory(join(directory, "blobs", "sha256"));
  await makeDirectory(blobs.ingest);
  const lock = await acquireLock(blobs.lock, { timeout });
  try {
    const names = new Set(await readdir(directory));
    for (const [name, value] of [
      ["index.json", emptyIndex],
      ["oci-layout", { imageLayoutVersion: LAYOUT_VERSION }],
    ] as const) {
      if (names.has(name)) continue;
      const temporary = blobs.temporary();
      await writeSynced(temporary, encodeJson(value));
      await replaceFile(temporary, join(directory, name));
    }
  } finally {
    await lock.release();
  }
}
