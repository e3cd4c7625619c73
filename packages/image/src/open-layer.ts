import {
  type Abortable,
  type Descriptor,
  type Digest,
  decompress,
  Hasher,
  isVerifiable,
  OciError,
  type Source,
} from "@stowage/layout";

/** What layers may come to when they are decompressed. A few bytes can claim to be any number of them. */
export interface LayerLimits {
  /** The most bytes of tar in all layers together. Default: 64 GiB. */
  readonly size?: number | undefined;
  /** The most bytes of tar for each byte of the compressed layer, beyond the first 64 MiB of tar. Default: 200. */
  readonly ratio?: number | undefined;
}

/** The options of {@link openLayer}. */
export interface OpenLayerOptions extends Abortable, LayerLimits {
  /** The digest the tar must have. */
  readonly diffId?: Digest | undefined;
}

/** The default of {@link LayerLimits.size}. */
export const MAXIMUM_IMAGE_SIZE = 64 * 1024 ** 3;
const DEFAULT_RATIO = 200;
/** So small a layer may consist of nothing but zeros. */
const RATIO_FREE = 64 * 1024 ** 2;

/**
 * The tar of a layer, decompressed by what its first bytes say it is: gzip, zstd or plain. Whoever has received all of it has
 * received the content of the descriptor and of the diffId. Fails with `UNSUPPORTED` where its media type is not that of a
 * tar, with `MISMATCH` where it has another digest, with `LIMIT` where it comes to too much, with `INVALID` where it is
 * damaged. image-spec v1.1.1, layer.md and config.md "Layer DiffID".
 */
export async function* openLayer(
  source: Pick<Source, "fetch">,
  layer: Descriptor,
  what: string,
  options: OpenLayerOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  // Of the compressed forms Docker's types have a dot, those of the OCI a plus.
  if (!/\.tar(?:[.+](?:gzip|zstd))?$/.test(layer.mediaType))
    throw new OciError("UNSUPPORTED", `cannot look into ${what}: it is ${layer.mediaType}, not a tar`);
  const { diffId, size: limit = MAXIMUM_IMAGE_SIZE, ratio = DEFAULT_RATIO } = options;
  const hasher = diffId !== undefined && isVerifiable(diffId) ? Hasher.for(diffId) : undefined;
  if (diffId !== undefined && hasher === undefined)
    throw new OciError(
      "UNSUPPORTED",
      `cannot verify the diff_id ${diffId} of ${what}: its algorithm is not known here`,
    );
  const most = Math.min(limit, Math.max(RATIO_FREE, ratio * layer.size));
  let size = 0;
  for await (const chunk of decompress(source.fetch(layer, { signal: options.signal }), what, options)) {
    size += chunk.byteLength;
    if (size > most)
      throw new OciError("LIMIT", `${what} has ${layer.size} bytes and unpacks to more than ${most}`, {
        hint:
          most === limit
            ? "--max-size raises the limit."
            : "It looks like a bomb; where it is none, --max-ratio raises the limit.",
      });
    hasher?.update(chunk);
    yield chunk;
  }
  const digest = hasher?.digest();
  if (digest !== diffId)
    throw new OciError("MISMATCH", `${what} unpacks to ${digest}, but its diff_id is ${diffId}`, {
      hint: "The layer and the config of the image do not belong together.",
    });
}
