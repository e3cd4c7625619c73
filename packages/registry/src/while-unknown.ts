import { setTimeout as sleep } from "node:timers/promises";
import type { Answer } from "./http/answer.js";
import { hasStatus } from "./registry-error.js";

/** The waits before a manifest whose parts the registry does not know is sent again, in ms. */
const PATIENCE = [100, 500];

/**
 * Sends a manifest, again where the registry does not know what it points at and may be about to: where others push the same
 * blob at that moment, docker-registry is seen not to find it.
 */
export async function whileUnknown(send: () => Promise<Answer>, signal: AbortSignal | undefined): Promise<Answer> {
  for (const wait of PATIENCE) {
    try {
      return await send();
    } catch (error) {
      const unknown =
        hasStatus(error, 400, 404) && error.diagnostics.some(({ code }) => code === "MANIFEST_BLOB_UNKNOWN");
      if (!unknown) throw error;
      await sleep(wait * (0.5 + Math.random()), undefined, { signal }).catch(() => signal?.throwIfAborted());
    }
  }
  return send();
}
