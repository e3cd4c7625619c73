import { randomBytes } from "node:crypto";
import { mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Abortable, type Bytes, forEachParallel, OciError, systemError, systemErrorCode } from "@stowage/layout";
import { baseNameOf } from "../formats/path-info.js";
import type { BinaryCache } from "./binary-cache.js";
import { narUrl } from "./binary-cache.js";

/** What {@link writeCache} did. */
export interface WriteCacheResult {
  readonly directory: string;
  /** Store paths that were written, and those that were there. */
  readonly written: number;
  readonly present: number;
  /** Bytes of NARs that were written. */
  readonly bytes: number;
}

const PARALLEL_WRITES = 4;

/**
 * Writes a binary cache into a directory, as `nix copy --to file://DIR?compression=none` does. A NAR is there before the narinfo
 * that tells of it, and each file is complete or not there. What is there already stays. Fails with `CONFLICT` where the
 * directory is a cache of another store.
 */
export async function writeCache(
  cache: BinaryCache,
  directory: string,
  options: Abortable & { readonly onBytes?: (count: number) => void } = {},
): Promise<WriteCacheResult> {
  const counts = { written: 0, present: 0, bytes: 0 };
  try {
    await mkdir(join(directory, "nar"), { recursive: true });
    const infoFile = join(directory, "nix-cache-info");
    const there = await readText(infoFile);
    const store = there === undefined ? undefined : /^StoreDir: (.*)$/m.exec(there)?.[1];
    if (store !== undefined && store !== cache.storeDirectory)
      throw new OciError("CONFLICT", `${directory} is a cache of ${store}, not of ${cache.storeDirectory}`);
    if (there === undefined) await writeWhole(infoFile, [Buffer.from(cache.info())]);
    await forEachParallel(cache.paths(), PARALLEL_WRITES, async (stored) => {
      options.signal?.throwIfAborted();
      const { info } = stored;
      const narInfoFile = join(directory, `${baseNameOf(info.path).slice(0, 32)}.narinfo`);
      const text = cache.narInfo(stored);
      if ((await readText(narInfoFile)) === text) {
        counts.present++;
        return;
      }
      const nar = await cache.file(`/${narUrl(info)}`, options);
      if (nar === undefined) throw new OciError("NOT_FOUND", `cannot make the NAR of ${info.path}`);
      await writeWhole(join(directory, narUrl(info)), nar.open(), options.onBytes);
      await writeWhole(narInfoFile, [Buffer.from(text)]);
      counts.written++;
      counts.bytes += info.narSize;
    });
  } catch (error) {
    throw systemError(error, `cannot write the binary cache ${directory}`);
  }
  return { directory, ...counts };
}

async function readText(path: string): Promise<string | undefined> {
  try {
    // Nothing larger than a narinfo of its own is compared with one.
    if ((await stat(path)).size > 8 * 1024 * 1024) return "";
    return await readFile(path, "utf8");
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

async function writeWhole(path: string, bytes: Bytes, onBytes?: (count: number) => void): Promise<void> {
  const temporary = join(dirname(path), `.${randomBytes(8).toString("hex")}.tmp`);
  const file = await open(temporary, "wx", 0o644);
  try {
    try {
      for await (const chunk of bytes) {
        await file.writeFile(chunk);
        onBytes?.(chunk.byteLength);
      }
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
