import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { type FileHandle, mkdir, open, rename, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import type { Bytes } from "../content.js";
import { OciError, systemError, systemErrorCode } from "../model/errors.js";

/** The size of a read or a write, in bytes. In 64 KiB pieces the same work takes twice as long. */
export const CHUNK_SIZE = 1024 * 1024;

/**
 * Opens a regular file for reading. A directory, a FIFO or a device is refused with `DENIED` and never waited for, and so
 * is a symbolic link unless `followLinks`; a missing file fails with `NOT_FOUND`.
 */
export async function openRegularFile(
  path: string,
  followLinks = false,
): Promise<{ handle: FileHandle; size: number }> {
  let handle: FileHandle;
  try {
    // O_NONBLOCK: opening a FIFO would otherwise wait for a writer. Windows has neither flag.
    const noFollow = followLinks ? 0 : (constants.O_NOFOLLOW ?? 0);
    handle = await open(path, constants.O_RDONLY | noFollow | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    throw systemError(error, `cannot read ${path}`);
  }
  const stat = await handle.stat();
  if (!stat.isFile()) {
    await handle.close();
    throw new OciError("DENIED", `cannot read ${path}: it is not a regular file`);
  }
  return { handle, size: stat.size };
}

/**
 * The bytes of an open file from `from` on, up to `end` or its end, in chunks of {@link CHUNK_SIZE}. Closes the file,
 * however it ends.
 */
export async function* readChunks(
  handle: FileHandle,
  from = 0,
  signal?: AbortSignal,
  end?: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* readRange(handle, from, signal, end);
  } finally {
    await handle.close();
  }
}

/** As {@link readChunks}, but the file stays open. */
export async function* readRange(
  handle: FileHandle,
  from: number,
  signal?: AbortSignal,
  end = Number.POSITIVE_INFINITY,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let position = from; position < end; ) {
    signal?.throwIfAborted();
    // A small file gets a small buffer: thousands of manifests in large ones would keep the garbage collector busy.
    const length = Math.min(CHUNK_SIZE, end - position);
    const buffer = Buffer.allocUnsafeSlow(length);
    const { bytesRead } = await handle.read(buffer, 0, length, position);
    if (bytesRead === 0) return;
    yield bytesRead === length ? buffer : buffer.subarray(0, bytesRead);
    position += bytesRead;
  }
}

/** The memory that small files are read into. */
let scratch = Buffer.alloc(0);

/**
 * The bytes of a regular file of at most `limit` bytes, in one go and without giving way to anything else: for a file of a few
 * kilobytes, of which thousands are read, that takes a tenth of the time. Undefined where it is no such file, for whatever reason.
 */
export function readAtOnce(path: string, limit: number): Uint8Array | undefined {
  let file: number | undefined;
  try {
    file = openSync(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
    if (!fstatSync(file).isFile()) return undefined;
    if (scratch.length <= limit) scratch = Buffer.allocUnsafeSlow(limit + 1);
    // One byte more than is allowed tells a file that is larger.
    const size = readSync(file, scratch, 0, limit + 1, 0);
    return size <= limit ? Buffer.from(scratch.subarray(0, size)) : undefined;
  } catch {
    return undefined;
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** Reads a small regular file whole. Fails with `LIMIT` where it is larger than `limit` bytes. */
export async function readSmallFile(path: string, limit: number): Promise<Uint8Array> {
  const { handle, size } = await openRegularFile(path);
  try {
    if (size > limit)
      throw new OciError("LIMIT", `cannot read ${path}: its ${size} bytes are more than the ${limit} allowed`);
    return await handle.readFile();
  } catch (error) {
    throw systemError(error, `cannot read ${path}`);
  } finally {
    await handle.close();
  }
}

/**
 * The chunks of `stream` until `signal` is aborted; then it fails with the signal's reason, also while a chunk is being
 * waited for. A stream that does not answer is left behind.
 */
export async function* untilAborted(
  stream: Bytes,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (signal === undefined) {
    yield* stream;
    return;
  }
  signal.throwIfAborted();
  const chunks = iteratorOf(stream);
  // One listener, and one promise for each chunk: racing against a single promise would pile up reactions on it.
  let giveUp = (_reason: unknown): void => {};
  const listener = (): void => giveUp(signal.reason);
  signal.addEventListener("abort", listener, { once: true });
  let ended = false;
  try {
    for (;;) {
      const next = await new Promise<IteratorResult<Uint8Array>>((resolve, reject) => {
        giveUp = reject;
        Promise.resolve(chunks.next()).then(resolve, reject);
        if (signal.aborted) reject(signal.reason);
      });
      ended = next.done === true;
      if (ended) return;
      yield next.value as Uint8Array;
    }
  } catch (error) {
    // Closing it is asked for, not waited for: it may be stuck in the very read that is given up.
    if (signal.aborted) void Promise.resolve(chunks.return?.()).catch(() => {});
    ended = true;
    throw error;
  } finally {
    signal.removeEventListener("abort", listener);
    if (!ended) await chunks.return?.();
  }
}

function iteratorOf(stream: Bytes): AsyncIterator<Uint8Array> | Iterator<Uint8Array> {
  return Symbol.asyncIterator in stream ? stream[Symbol.asyncIterator]() : stream[Symbol.iterator]();
}

/** Collects small chunks into chunks of `size` bytes; a chunk that is large already passes as it is. Where the stream fails, what came before passes first. */
export async function* inLargeChunks(stream: Bytes, size: number = CHUNK_SIZE): AsyncGenerator<Uint8Array> {
  let buffer: Buffer | undefined;
  let filled = 0;
  let failed: { readonly reason: unknown } | undefined;
  try {
    for await (const chunk of stream) {
      if (buffer === undefined && chunk.byteLength >= size / 2) {
        yield chunk;
        continue;
      }
      for (let at = 0; at < chunk.byteLength; ) {
        buffer ??= Buffer.allocUnsafeSlow(size);
        const count = Math.min(chunk.byteLength - at, size - filled);
        buffer.set(chunk.subarray(at, at + count), filled);
        at += count;
        filled += count;
        if (filled === size) {
          yield buffer;
          buffer = undefined;
          filled = 0;
        }
      }
    }
  } catch (reason) {
    failed = { reason };
  }
  if (buffer !== undefined) yield buffer.subarray(0, filled);
  if (failed !== undefined) throw failed.reason;
}

/** Writes all of `chunk`, whatever a single system call takes. */
export async function writeFully(handle: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < chunk.byteLength; ) {
    at += (await handle.write(chunk, at, chunk.byteLength - at, position + at)).bytesWritten;
  }
}

/** Writes a new file and waits until it is on the disk. */
export function writeSynced(path: string, bytes: Uint8Array): Promise<void> {
  return writeNewFile(path, async (handle) => {
    await handle.writeFile(bytes);
    await handle.sync();
  });
}

/** Makes a file, lets `write` fill it, and closes it. */
export async function writeNewFile(path: string, write: (handle: FileHandle) => Promise<void>): Promise<void> {
  const handle = await open(path, "w");
  try {
    await write(handle);
  } finally {
    await handle.close();
  }
}

/** Moves a file over another one. Where the file system refuses for a moment, as Windows does while a reader has it open, it tries again. */
export async function replaceFile(from: string, to: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await rename(from, to);
      return;
    } catch (error) {
      const code = systemErrorCode(error);
      if (attempt >= 10 || (code !== "EPERM" && code !== "EBUSY" && code !== "EACCES")) throw error;
      await new Promise((resolve) => setTimeout(resolve, attempt * 10));
    }
  }
}

/** Makes a directory that may be there already, with its parents. */
export async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (error) {
    const parent = dirname(path);
    if (systemErrorCode(error) !== "ENOENT" || parent === path) throw error;
    // A full disk is told as ENOENT by the recursive call. Made one by one, each fails with its own reason.
    await makeDirectory(parent);
    await mkdir(path).catch((reason: unknown) => {
      if (systemErrorCode(reason) !== "EEXIST") throw reason;
    });
  }
}

/** Removes a file that may be gone already. */
export async function removeFile(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (systemErrorCode(error) !== "ENOENT") throw error;
  }
}

/** Makes the names in a directory survive a power loss, where the system can do that. */
export async function syncDirectory(path: string): Promise<void> {
  try {
    const handle = await open(path, constants.O_RDONLY);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    // Windows cannot open a directory, some network file systems cannot sync one.
    if (!["EISDIR", "EPERM", "EACCES", "EINVAL", "ENOTSUP"].includes(systemErrorCode(error) ?? "")) throw error;
  }
}
