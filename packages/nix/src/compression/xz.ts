import { type Abortable, type Bytes, isOciError, OciError } from "@stowage/layout";

/**
 * The content of an xz stream. Fails with `INVALID` where it is damaged or cut off; `what` names it in the message. Streams are
 * decompressed one after the other: whoever reads from one must not wait for another.
 */
export async function* unxz(
  bytes: Bytes,
  what: string,
  { signal }: Abortable = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  // Half of what this package takes to load, and most of what is read is no xz.
  const { default: xz } = await import("xz-decompress");
  const stream = new xz.XzReadableStream(compressed(bytes, signal));
  const reader = stream.getReader();
  let ended = false;
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      signal?.throwIfAborted();
      if (next.value.byteLength > 0) yield next.value;
    }
    ended = true;
  } catch (error) {
    ended = true;
    signal?.throwIfAborted();
    if (isOciError(error)) throw error;
    throw new OciError("INVALID", `${what} is not readable xz: ${(error as Error).message}`, { cause: error });
  } finally {
    // What is given up has to let the next one go ahead.
    if (!ended) await reader.cancel();
  }
}

function compressed(bytes: Bytes, signal: AbortSignal | undefined): ReadableStream<Uint8Array> {
  const chunks = Symbol.asyncIterator in bytes ? bytes[Symbol.asyncIterator]() : bytes[Symbol.iterator]();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        signal?.throwIfAborted();
        const next = await chunks.next();
        if (next.done === true) controller.close();
        else if (next.value.byteLength > 0) controller.enqueue(next.value);
        else await this.pull?.(controller);
      },
      async cancel() {
        await chunks.return?.();
      },
    },
    { highWaterMark: 0 },
  );
}
