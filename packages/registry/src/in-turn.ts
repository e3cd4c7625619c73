const last = new Map<string, Promise<unknown>>();

/** Runs `action` when all that were given the same key before, in this process, have ended in one way or the other. */
export async function inTurn<T>(key: string, action: () => Promise<T>): Promise<T> {
  const before = last.get(key) ?? Promise.resolve();
  const result = before.then(action);
  const settled = result.catch(() => {});
  last.set(key, settled);
  try {
    return await result;
  } finally {
    if (last.get(key) === settled) last.delete(key);
  }
}
