import type { Bytes, Content, Source } from "./content.js";
import type { CopyOptions } from "./copy.js";
import { type Descriptor, embeddedData } from "./model/descriptor.js";
import { isOciError } from "./model/errors.js";
import { isForeignLayerType } from "./model/media-types.js";
import { contentOf } from "./model/verified.js";
import { originOf } from "./origin.js";
import { IndexedSource } from "./store/indexed-source.js";

/**
 * Content as a copy takes it from its source: from the descriptor where it is embedded, and else from `external` where the source
 * does not have a layer that may lie elsewhere. From a registry it comes unverified: targets verify what they store.
 */
export function contentFrom(
  source: Source,
  descriptor: Descriptor,
  { signal, external }: Pick<CopyOptions, "signal" | "external">,
): Content {
  const origin = originOf(source, descriptor);
  const embedded = embeddedData(descriptor);
  if (embedded !== undefined) return { ...contentOf(embedded, descriptor), origin };
  const isHere = origin instanceof IndexedSource;
  // The target verifies what it stores. What is damaged on a disk here is found by the source, which knows the path.
  const open = (from?: number): Bytes =>
    source.fetch(descriptor, { signal, unchecked: !isHere, ...(from === undefined ? {} : { from }) });
  if (external !== undefined && isForeignLayerType(descriptor.mediaType))
    return { descriptor, open: () => orElse(open(), () => external(descriptor, { signal })), origin };
  // What lies on a disk here is read again as fast as it would be gone on with.
  const resumable = isHere ? {} : { openFrom: open };
  return { descriptor, open: () => open(), ...resumable, origin };
}

/** The first stream, or the other one where the first says that there is nothing. */
async function* orElse(first: Bytes, other: () => Bytes): AsyncGenerator<Uint8Array> {
  try {
    yield* first;
  } catch (error) {
    if (!isOciError(error, "NOT_FOUND")) throw error;
    yield* other();
  }
}
