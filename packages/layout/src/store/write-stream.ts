import type { FileHandle } from "node:fs/promises";
import type { Bytes } from "../content.js";
import type { Hasher } from "../model/digest.js";
import { OciError } from "../model/errors.js";
import { inLargeChunks, untilAborted, writeFully } from "./files.js";

/** The options of {@link writeStream}. */
export interface WriteStreamOptions {
  /** Where in the file the stream begins, in bytes. Default: 0. */
  readonly from?: number;
  /** The most bytes that the file may have then. */
  readonly limit: number;
  /** How much is gathered for one write, in bytes. Twice as much may be on the way to the file. Default: 1 MiB. */
  readonly chunkSize?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onBytes?: ((count: number) => void) | undefined;
}

/**
 * Writes a stream into an open file, feeding the hasher on the way, and returns the size the file has then. Fails with
 * `MISMATCH` at the first byte beyond the limit, and with the signal's reason. What was written before a failure is in the file.
 */
export async function writeStream(
  handle: FileHandle,
  bytes: Bytes,
  hasher: Pick<Hasher, "update">,
  options: WriteStreamOptions,
): Promise<number> {
  let size = options.from ?? 0;
  // One write is under way while the next chunk is read and hashed.
  let writing: Promise<void> = Promise.resolve();
  try {
    for await (const chunk of inLargeChunks(untilAborted(bytes, options.signal), options.chunkSize)) {
      const position = size;
      size += chunk.byteLength;
      if (size > options.limit)
        throw new OciError("MISMATCH", `the content is larger than the ${options.limit} bytes it was declared with`);
      hasher.update(chunk);
      await writing;
      writing = writeFully(handle, chunk, position);
      writing.catch(() => {});
      options.onBytes?.(chunk.byteLength);
    }
    await writing;
  } finally {
    await writing.catch(() => {});
  }
  return size;
}
