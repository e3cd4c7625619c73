import type { Source } from "../content.js";
import { isDigest } from "../model/digest.js";
import { isOciError } from "../model/errors.js";
import { isJsonObject, type JsonObject, parseJsonObject } from "../model/json.js";
import { sniffManifestType } from "../model/manifest.js";
import { mediaTypes } from "../model/media-types.js";
import { readBytes } from "../model/verified.js";
import { checkIndex, type LayoutIndex } from "./index-json.js";
import { lacksMediaType } from "./oddities.js";

/** How many entries without a mediaType are looked into. Nobody writes one, let alone more. */
const MAXIMUM_SNIFFED = 1_000;

/**
 * Reads the bytes of an `index.json`, tolerantly: as `checkIndex` does, and an entry without a `mediaType` gets that of its
 * content in `blobs`, or is opaque where that is no manifest or not there. So it is written with one the next time.
 * Fails with `INVALID`.
 */
export async function readIndex(bytes: Uint8Array, where: string, blobs: Pick<Source, "fetch">): Promise<LayoutIndex> {
  const value = parseJsonObject(bytes, where);
  const entries: unknown = value.manifests;
  if (!Array.isArray(entries) || !entries.some(isUntyped)) return checkIndex(value, where);
  const types = new Map<unknown, string>();
  const manifests: unknown[] = [];
  for (const entry of entries) {
    if (!isUntyped(entry)) {
      manifests.push(entry);
      continue;
    }
    let mediaType = types.get(entry.digest);
    if (mediaType === undefined) {
      mediaType = types.size < MAXIMUM_SNIFFED ? await typeOf(entry, blobs) : mediaTypes.octetStream;
      types.set(entry.digest, mediaType);
    }
    manifests.push({ ...entry, mediaType });
  }
  return checkIndex({ ...value, manifests }, where);
}

function isUntyped(entry: unknown): entry is JsonObject {
  return isJsonObject(entry) && lacksMediaType(entry);
}

async function typeOf({ digest, size }: JsonObject, blobs: Pick<Source, "fetch">): Promise<string> {
  const opaque = mediaTypes.octetStream;
  if (typeof digest !== "string" || !isDigest(digest) || typeof size !== "number") return opaque;
  try {
    const bytes = await readBytes(blobs, { mediaType: opaque, digest, size });
    return sniffManifestType(parseJsonObject(bytes, digest)) ?? opaque;
  } catch (error) {
    if (isOciError(error) && error.code !== "REGISTRY") return opaque;
    throw error;
  }
}
