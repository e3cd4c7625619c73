/** How many files are read, or blobs checked, at once. More gain nothing on a disk, and the thread pool has four threads. */
export const PARALLEL_READS = 8;

/**
 * Does `work` for each item, at most `limit` at once, started in order. Where one fails, no further one is started, and it
 * fails with that reason as soon as those under way have ended.
 */
export async function forEachParallel<T>(
  items: Iterable<T> | AsyncIterable<T>,
  limit: number,
  work: (item: T, at: number) => Promise<void>,
): Promise<void> {
  const iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  let at = 0;
  let failed: { readonly reason: unknown } | undefined;
  // An async generator takes requests one after the other, so several workers may ask it at once.
  const worker = async (): Promise<void> => {
    while (failed === undefined) {
      try {
        const next = await iterator.next();
        if (next.done === true) return;
        await work(next.value, at++);
      } catch (reason) {
        failed ??= { reason };
      }
    }
  };
  await Promise.all(Array.from({ length: limit }, worker));
  if (failed === undefined) return;
  await iterator.return?.();
  throw (failed as { reason: unknown }).reason;
}
