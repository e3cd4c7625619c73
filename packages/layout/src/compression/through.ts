import type { Transform } from "node:stream";
import type { Abortable, Bytes } from "../content.js";

/**
 * What a transform makes of the bytes. Each chunk is asked for only when the one before was taken in, so whoever makes them may write to
 * their memory again. Fails as the bytes and the transform do, and with the reason of the signal.
 */
export async function* through(
  bytes: Bytes,
  transform: Transform,
  { signal }: Abortable = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const stop = (): void => {
    transform.destroy(signal?.reason);
  };
  signal?.addEventListener("abort", stop, { once: true });
  if (signal?.aborted) stop();
  const fed = feed(bytes, transform, signal);
  // The loop below fails with the same error; awaiting it there again is only for one that comes after the last chunk.
  fed.catch(() => {});
  try {
    for await (const chunk of transform) yield chunk as Buffer;
    await fed;
  } catch (error) {
    throw signal?.aborted ? signal.reason : error;
  } finally {
    signal?.removeEventListener("abort", stop);
    transform.destroy();
  }
}

async function feed(bytes: Bytes, transform: Transform, signal: AbortSignal | undefined): Promise<void> {
  try {
    for await (const chunk of bytes) {
      signal?.throwIfAborted();
      await new Promise<void>((resolve, reject) => {
        transform.once("close", resolve);
        transform.write(chunk, (error) => {
          transform.off("close", resolve);
          if (error) reject(error);
          else resolve();
        });
      });
      if (transform.destroyed) return;
    }
    transform.end();
  } catch (error) {
    transform.destroy(error as Error);
    throw error;
  }
}
