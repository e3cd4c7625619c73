import { randomBytes } from "node:crypto";
import { mkdir, open, realpath, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { acquireLock, type JsonObject, systemError, systemErrorCode } from "@stowage/layout";
import { type ConfigFile, parseConfig, readConfig } from "./docker-config.js";

/**
 * Changes a configuration: `change` gets what is there and returns what shall be there, or undefined to leave it. Several processes may
 * do so at once, and none loses what another wrote; the file is replaced as a whole and only its owner can read it. Keys that
 * `change` does not touch stay. Fails with `INVALID` where the file is damaged; it is left as it is then.
 */
export async function updateConfig(
  path: string,
  change: (config: ConfigFile) => JsonObject | undefined,
): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    // A link stays one: the file it leads to is changed.
    const file = await realpath(path).catch((error: unknown) => {
      if (systemErrorCode(error) === "ENOENT") return path;
      throw error;
    });
    const lock = await acquireLock(`${file}.stowage-lock`, { timeout: 60_000 });
    try {
      const value = change(parseConfig(await readConfig(file), path));
      if (value !== undefined) await replace(file, `${JSON.stringify(value, null, "\t")}\n`);
    } finally {
      await lock.release();
    }
  } catch (error) {
    throw systemError(error, `cannot write ${path}`);
  }
}

async function replace(path: string, text: string): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    const file = await open(temporary, "wx", 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
