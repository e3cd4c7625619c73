import type { Abortable, Bytes } from "../content.js";
import { isOciError, OciError, systemErrorCode } from "../model/errors.js";
import { through } from "./through.js";

/** Node's default of 16 KiB costs a round trip to the thread pool for each. */
const CHUNK = 256 * 1024;

/**
 * The content of a gzip stream, of however many members. Fails with `INVALID` where it is damaged, cut off, or followed by
 * something that is not gzip; `what` names it in the message.
 */
export async function* gunzip(
  bytes: Bytes,
  what: string,
  options: Abortable = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* through(bytes, process.getBuiltinModule("node:zlib").createGunzip({ chunkSize: CHUNK }), options);
  } catch (error) {
    const code = systemErrorCode(error);
    if (isOciError(error) || code === undefined || !code.startsWith("Z_")) throw error;
    throw new OciError("INVALID", `${what} is not readable gzip: ${(error as Error).message}`, { cause: error });
  }
}
