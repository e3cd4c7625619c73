import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Abortable } from "./content.js";
import { systemError, systemErrorCode } from "./model/errors.js";
import type { Layout } from "./store/layout.js";

/** What the blobs of one layout take, in bytes. `bytes` is `shared` and `own` together. */
export interface LayoutUsage {
  readonly path: string;
  readonly blobs: number;
  readonly bytes: number;
  /** Bytes of blobs that another of the given layouts has too, under the same digest, or whose file has another name somewhere. */
  readonly shared: number;
  /** Bytes of blobs that would be gone with this layout. */
  readonly own: number;
}

/** What the blobs of some layouts take. */
export interface Usage {
  readonly layouts: readonly LayoutUsage[];
  /** The bytes of all layouts, each as if it were alone. */
  readonly bytes: number;
  /** The bytes of their files, each file once. Blocks that a file system shares between files (reflinks) cannot be told from others. */
  readonly files: number;
}

interface BlobFile {
  readonly name: string;
  readonly size: number;
  readonly file: string;
  readonly links: number;
}

/** How many files are looked at at once. */
const CONCURRENCY = 32;

/** Counts what the blobs of each layout take, and how much of it is shared. Reads no content, and follows no link. */
export async function du(layouts: readonly Layout[], options: Abortable = {}): Promise<Usage> {
  const found: { readonly path: string; readonly blobs: readonly BlobFile[] }[] = [];
  for (const layout of layouts) found.push({ path: layout.path, blobs: await blobsOf(layout, options) });
  const holders = new Map<string, number>();
  const files = new Map<string, number>();
  for (const { blobs } of found) {
    for (const { name, file, size } of blobs) {
      holders.set(name, (holders.get(name) ?? 0) + 1);
      files.set(file, size);
    }
  }
  const usages = found.map(({ path, blobs }) => {
    const bytes = sum(blobs.map(({ size }) => size));
    const shared = sum(
      blobs.filter(({ name, links }) => links > 1 || (holders.get(name) ?? 0) > 1).map(({ size }) => size),
    );
    return { path, blobs: blobs.length, bytes, shared, own: bytes - shared };
  });
  return { layouts: usages, bytes: sum(usages.map(({ bytes }) => bytes)), files: sum([...files.values()]) };
}

async function blobsOf(layout: Layout, { signal }: Abortable): Promise<BlobFile[]> {
  const directory = join(layout.path, "blobs");
  const names: string[] = [];
  try {
    for (const algorithm of await readdir(directory, { withFileTypes: true })) {
      if (!algorithm.isDirectory()) continue;
      for (const name of await readdir(join(directory, algorithm.name))) names.push(join(algorithm.name, name));
    }
    const blobs: BlobFile[] = [];
    const pending = names.values();
    const worker = async (): Promise<void> => {
      for (const name of pending) {
        signal?.throwIfAborted();
        const blob = await blobFile(directory, name);
        if (blob !== undefined) blobs.push(blob);
      }
    };
    await Promise.all(Array.from({ length: CONCURRENCY }, worker));
    return blobs;
  } catch (error) {
    throw systemError(error, `cannot count the blobs of ${layout.path}`);
  }
}

async function blobFile(directory: string, name: string): Promise<BlobFile | undefined> {
  try {
    const stat = await lstat(join(directory, name), { bigint: true });
    if (!stat.isFile()) return undefined;
    return { name, size: Number(stat.size), file: `${stat.dev} ${stat.ino}`, links: Number(stat.nlink) };
  } catch (error) {
    // Removed since its name was read.
    if (systemErrorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
