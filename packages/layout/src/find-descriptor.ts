import type { Abortable, Source } from "./content.js";
import { type Descriptor, plainDescriptor } from "./model/descriptor.js";
import type { Digest } from "./model/digest.js";
import { isOciError } from "./model/errors.js";
import { isManifestType } from "./model/media-types.js";
import { IndexedSource } from "./store/indexed-source.js";
import { walk } from "./walk.js";

/**
 * What is known of the manifest with this digest, though it need not be there: its descriptor where it can be resolved, or as an
 * index that holds it or a referrer of it has it. Undefined where nothing tells its type and size.
 */
export async function findDescriptor(
  source: Source,
  digest: Digest,
  options: Abortable = {},
): Promise<Descriptor | undefined> {
  try {
    return plainDescriptor(await source.resolve(digest, options));
  } catch (error) {
    if (!isOciError(error, "NOT_FOUND")) throw error;
  }
  if (!(source instanceof IndexedSource)) return undefined;
  const entries = (await source.index(options)).manifests.filter((entry) => isManifestType(entry.mediaType));
  for await (const { descriptor, manifest } of walk(source, entries, { ...options, referrers: false })) {
    if (descriptor.digest === digest && isManifestType(descriptor.mediaType)) return plainDescriptor(descriptor);
    if (manifest?.subject?.digest === digest) return plainDescriptor(manifest.subject);
  }
  return undefined;
}
