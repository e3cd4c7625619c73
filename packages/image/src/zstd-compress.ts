import type { Transform } from "node:stream";
import * as zlib from "node:zlib";
import { type Abortable, type Bytes, OciError } from "@stowage/layout";

const CHUNK = 256 * 1024;
/** That of zstd itself. */
export const DEFAULT_ZSTD_LEVEL = 3;

/** What Node 20 does not have, and its types neither. */
interface Zstd {
  readonly createZstdCompress?: (options: { chunkSize: number; params: Record<number, number> }) => Transform;
  readonly constants: { readonly ZSTD_c_compressionLevel?: number };
}

/** The bytes as one zstd frame. RFC 8878. Fails with `UNSUPPORTED` where this Node has no zstd. */
export async function* zstd(
  bytes: Bytes,
  options: Abortable & { readonly level?: number | undefined } = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const { createZstdCompress: create, constants } = zlib as Zstd;
  if (create === undefined)
    throw new OciError("UNSUPPORTED", `cannot compress with zstd: Node ${process.versions.node} has none`, {
      hint: "Node 22.15 and later have it.",
    });
  const params = { [constants.ZSTD_c_compressionLevel as number]: options.level ?? DEFAULT_ZSTD_LEVEL };
  const compressor = create({ chunkSize: CHUNK, params });
  const { signal } = options;
  const fed = feed(bytes, compressor, signal);
  // The loop fails with the same error; this is only for one that comes after the last chunk.
  fed.catch(() => {});
  try {
    for await (const chunk of compressor) yield chunk as Buffer;
    await fed;
  } catch (error) {
    throw signal?.aborted === true ? signal.reason : error;
  } finally {
    compressor.destroy();
  }
}

/** Asks for a chunk only when the one before was taken in: until then it may not be written to, and whoever makes them may do that. */
async function feed(bytes: Bytes, compressor: Transform, signal: AbortSignal | undefined): Promise<void> {
  try {
    for await (const chunk of bytes) {
      signal?.throwIfAborted();
      await new Promise<void>((resolve, reject) => {
        compressor.once("close", resolve);
        compressor.write(chunk, (error) => {
          compressor.off("close", resolve);
          if (error) reject(error);
          else resolve();
        });
      });
      if (compressor.destroyed) return;
    }
    compressor.end();
  } catch (error) {
    compressor.destroy(error as Error);
    throw error;
  }
}
