import type { Content } from "../content.js";
import { Hasher } from "../model/digest.js";
import { systemError } from "../model/errors.js";
import { openRegularFile, readChunks } from "./files.js";

/**
 * A file of the user as content: read once for its digest, and again each time it is opened. Where it changes in between,
 * whoever stores it finds out. Fails with `NOT_FOUND` where there is no such file, and with `DENIED` where it is not a regular one.
 */
export async function contentOfFile(path: string, mediaType: string): Promise<Content> {
  const hasher = new Hasher();
  let size = 0;
  for await (const chunk of chunksOf(path)) {
    hasher.update(chunk);
    size += chunk.byteLength;
  }
  return { descriptor: { mediaType, digest: hasher.digest(), size }, open: () => chunksOf(path) };
}

async function* chunksOf(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    const { handle } = await openRegularFile(path, true);
    yield* readChunks(handle);
  } catch (error) {
    throw systemError(error, `cannot read ${path}`);
  }
}
