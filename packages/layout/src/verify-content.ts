import type { Source } from "./content.js";
import { type Descriptor, formatDescriptor } from "./model/descriptor.js";
import { isVerifiable } from "./model/digest.js";
import { isOciError } from "./model/errors.js";
import { IndexedSource } from "./store/indexed-source.js";
import type { Problem, VerifyOptions } from "./verify.js";

/** What is wrong with the content of a descriptor itself; at the level `fast` only whether it is there and how large it is. */
export async function checkContent(
  source: Source,
  descriptor: Descriptor,
  options: VerifyOptions,
): Promise<readonly Problem[]> {
  if (!isVerifiable(descriptor.digest))
    return [
      {
        severity: "warning",
        state: "unverifiable",
        message: `the algorithm of ${descriptor.digest} is not known here`,
      },
    ];
  if (options.level === "fast" && source instanceof IndexedSource) {
    const size = await source.size(descriptor.digest);
    if (size === descriptor.size) return [];
    // Reading it says in the usual words what is wrong, and fails before it reads much.
  }
  try {
    if (source instanceof IndexedSource) await source.check(descriptor, options);
    else for await (const chunk of source.fetch(descriptor, options)) options.onBytes?.(chunk.byteLength);
    return [];
  } catch (error) {
    options.signal?.throwIfAborted();
    return [problemOf(error, descriptor, options)];
  }
}

/** What a failure to read content means. Fails with the error itself where it says nothing about the content. */
export function problemOf(error: unknown, descriptor: Descriptor, options: VerifyOptions): Problem {
  if (isOciError(error, "NOT_FOUND")) {
    const message = `${formatDescriptor(descriptor)} is not there`;
    if (isExternal(descriptor)) return { severity: "note", state: "external", message };
    return { severity: options.sparse === true ? "note" : "error", state: "missing", message };
  }
  if (isOciError(error, "MISMATCH") || isOciError(error, "DENIED"))
    return { severity: "error", state: "corrupt", message: error.message };
  if (isOciError(error) && error.code !== "REGISTRY")
    return { severity: "error", state: "invalid", message: error.message };
  throw error;
}

/**
 * True for content that need not be where its manifest is: it names other places, or is of a type that must not be
 * distributed. image-spec v1.1.1, layer.md "Non-Distributable Layers".
 */
export function isExternal({ urls, mediaType }: Descriptor): boolean {
  return (urls?.length ?? 0) > 0 || /\.(?:nondistributable|foreign)\./.test(mediaType);
}
