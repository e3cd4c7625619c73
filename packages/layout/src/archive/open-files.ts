import { randomBytes } from "node:crypto";
import { fstatSync } from "node:fs";
import { type FileHandle, open, unlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decompress } from "../compression/decompress.js";
import type { Abortable, Bytes } from "../content.js";
import { isOciError, OciError, systemError } from "../model/errors.js";
import { inLargeChunks, openRegularFile, readRange, untilAborted, writeFully } from "../store/files.js";
import type { ArchiveFiles } from "./archive-files.js";
import { TarFiles } from "./tar-files.js";

/** What a compressed archive may come to without a closer look, in bytes. */
const RATIO_FREE = 4 * 1024 ** 3;
/** Beyond that, the most bytes for each byte of the compressed archive. */
const MAXIMUM_RATIO = 200;

const MAGIC: readonly (readonly [kind: "gzip" | "zstd" | "zip" | "xz" | "bzip2", hex: RegExp])[] = [
  ["gzip", /^1f8b/],
  ["zstd", /^28b52ffd|^5.2a4d18/],
  ["zip", /^504b0304|^504b0506/],
  ["xz", /^fd377a585a00/],
  ["bzip2", /^425a68/],
];

/**
 * Opens the archive at `path`, a tar, plain or compressed with gzip or zstd, or a zip; which one its first bytes tell, not its
 * name. `-` is stdin. A plain tar or a zip is read where it is; what is compressed, or comes through a pipe, is spooled to a
 * temporary file that has no name any more. Fails with `NOT_FOUND`, with `INVALID` where it is damaged or something else,
 * with `UNSUPPORTED` where it is compressed in another way, with `LIMIT` where it unpacks to too much.
 */
export async function openArchiveFiles(path: string, options: Abortable = {}): Promise<ArchiveFiles> {
  const where = path === "-" ? "the archive on stdin" : path;
  const handle = path === "-" ? await openStdin(options.signal) : (await openRegularFile(path, true)).handle;
  return openHandle(handle, where, TarFiles.open, options);
}

/** Opens an archive of which a part is missing or damaged: what stands before that can be read. */
export async function openDamagedFiles(path: string): Promise<DamagedFiles> {
  let problem: OciError | undefined;
  const { handle } = await openRegularFile(path, true);
  try {
    const files = await openHandle(handle, path, async (tar) => {
      const opened = await TarFiles.openDamaged(tar, path);
      problem = opened.problem;
      return opened.files;
    });
    return { files, problem };
  } catch (error) {
    if (!isOciError(error)) throw error;
    return { files: undefined, problem: error };
  }
}

/** What can be read of an archive, and what is wrong with it. */
export interface DamagedFiles {
  readonly files: ArchiveFiles | undefined;
  readonly problem: OciError | undefined;
}

async function openHandle(
  opened: FileHandle,
  where: string,
  openTar: (handle: FileHandle, where: string) => Promise<ArchiveFiles>,
  { signal }: Abortable = {},
): Promise<ArchiveFiles> {
  let handle = opened;
  try {
    let kind = await kindOf(handle);
    if (kind === "gzip" || kind === "zstd") {
      const compressed = handle;
      handle = await spool(untilAborted(decompressed(compressed, where), signal), where);
      await compressed.close();
      kind = await kindOf(handle);
    }
    if (kind === "zip") return await (await import("./zip-files.js")).ZipFiles.open(handle, where);
    if (kind !== undefined)
      throw new OciError("UNSUPPORTED", `${where} is compressed with ${kind}`, {
        hint: kind === "gzip" || kind === "zstd" ? "It is compressed twice." : "Decompress it first.",
      });
    return await openTar(handle, where);
  } catch (error) {
    await handle.close().catch(() => {});
    throw error;
  }
}

async function kindOf(handle: FileHandle): Promise<(typeof MAGIC)[number][0] | undefined> {
  const magic = Buffer.alloc(6);
  await handle.read(magic, 0, magic.length, 0);
  const hex = magic.toString("hex");
  return MAGIC.find(([, pattern]) => pattern.test(hex))?.[0];
}

/** A file that stdin was redirected from can be read anywhere; a pipe cannot. */
async function openStdin(signal: AbortSignal | undefined): Promise<FileHandle> {
  if (process.platform !== "win32" && fstatSync(0).isFile()) return open("/dev/stdin", "r");
  return spool(untilAborted(process.stdin, signal), "the archive on stdin");
}

async function* decompressed(handle: FileHandle, where: string): AsyncGenerator<Uint8Array, void, undefined> {
  const { size: compressed } = await handle.stat();
  const most = Math.max(RATIO_FREE, MAXIMUM_RATIO * compressed);
  let size = 0;
  for await (const chunk of decompress(readRange(handle, 0), where)) {
    size += chunk.byteLength;
    if (size > most)
      throw new OciError("LIMIT", `${where} has ${compressed} bytes and unpacks to more than ${most}`, {
        hint: "It looks like a bomb. Decompress it yourself where it is none.",
      });
    yield chunk;
  }
}

/** Writes the bytes to a file that goes away by itself when it is closed, also where this process is killed. */
async function spool(bytes: Bytes, where: string): Promise<FileHandle> {
  const path = join(tmpdir(), `stowage-archive-${process.pid}-${randomBytes(6).toString("hex")}`);
  let handle: FileHandle;
  try {
    handle = await open(path, "wx+", 0o600);
  } catch (error) {
    throw systemError(error, `cannot spool ${where} to ${path}`);
  }
  try {
    // Windows lets go of the name when the file is closed.
    await unlink(path);
    let position = 0;
    for await (const chunk of inLargeChunks(bytes)) {
      await writeFully(handle, chunk, position);
      position += chunk.byteLength;
    }
    return handle;
  } catch (error) {
    await handle.close();
    throw systemError(error, `cannot spool ${where} to ${tmpdir()}`);
  }
}
