import type { Retry } from "./http/retry.js";

/**
 * Waits as long as a request waits that has failed `count` times in a row with this error, and fails with the error where such a
 * request would be given up. For what is more than a request: a transfer that has come some way counts anew.
 */
export async function waitAfter(
  error: unknown,
  count: number,
  retry: Retry,
  signal: AbortSignal | undefined,
): Promise<void> {
  let left = count;
  await retry.run(async () => {
    if (left-- > 0) throw error;
  }, signal);
}
