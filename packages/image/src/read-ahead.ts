import type { Bytes } from "@stowage/layout";

/** A stream that is under way before it is read. */
export interface ReadAhead extends AsyncIterable<Uint8Array> {
  /** Ends it, wherever it has come to. */
  giveUp(): Promise<void>;
}

/**
 * The same bytes, read before they are asked for, `size` bytes ahead and one chunk more. An error comes where it stands in
 * the stream. It can be read once.
 */
export function readAhead(bytes: Bytes, size: number): ReadAhead {
  const waiting: Uint8Array[] = [];
  let held = 0;
  let ended = false;
  let failed: { readonly reason: unknown } | undefined;
  let wakeReader: (() => void) | undefined;
  let wakeWriter: (() => void) | undefined;

  const fill = async (): Promise<void> => {
    try {
      for await (const chunk of bytes) {
        if (ended) return;
        waiting.push(chunk);
        held += chunk.byteLength;
        wakeReader?.();
        while (held >= size && !ended) await new Promise<void>((resolve) => (wakeWriter = resolve));
        if (ended) return;
      }
    } catch (reason) {
      failed = { reason };
    } finally {
      ended = true;
      wakeReader?.();
    }
  };
  const filled = fill();

  const giveUp = async (): Promise<void> => {
    ended = true;
    waiting.length = 0;
    wakeWriter?.();
    await filled;
  };
  const next = async (): Promise<IteratorResult<Uint8Array, void>> => {
    while (waiting.length === 0) {
      if (failed !== undefined) throw failed.reason;
      if (ended) return { done: true, value: undefined };
      await new Promise<void>((resolve) => (wakeReader = resolve));
    }
    const chunk = waiting.shift() as Uint8Array;
    held -= chunk.byteLength;
    wakeWriter?.();
    return { done: false, value: chunk };
  };
  const iterator = {
    next,
    return: async (): Promise<IteratorResult<Uint8Array, void>> => {
      await giveUp();
      return { done: true, value: undefined };
    },
  };
  return { [Symbol.asyncIterator]: () => iterator, giveUp };
}
