import {
  type Abortable,
  type Bytes,
  type Descriptor,
  type Digest,
  Hasher,
  isVerifiable,
  OciError,
  type Source,
} from "@stowage/layout";
import { gunzip } from "./compression.js";
import { unzstd } from "./zstd.js";

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

async function* decompress(
  bytes: Bytes,
  what: string,
  options: Abortable,
): AsyncGenerator<Uint8Array, void, undefined> {
  const chunks = Symbol.asyncIterator in bytes ? bytes[Symbol.asyncIterator]() : bytes[Symbol.iterator]();
  try {
    let head = Buffer.alloc(0);
    while (head.byteLength < 4) {
      const next = await chunks.next();
      if (next.done === true) break;
      head = head.byteLength === 0 ? asBuffer(next.value) : Buffer.concat([head, next.value]);
    }
    const all = withHead(head, chunks);
    if (head[0] === 0x1f && head[1] === 0x8b) yield* gunzip(all, what, options);
    else if (isZstd(head)) yield* unzstd(all, what, options);
    else yield* all;
  } finally {
    await chunks.return?.();
  }
}

function asBuffer(bytes: Uint8Array): Buffer<ArrayBuffer> {
  return Buffer.from(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength);
}

/** A stream that starts with a frame to skip is zstd, too. */
function isZstd(head: Buffer): boolean {
  if (head.byteLength < 4) return false;
  const magic = head.readUInt32LE();
  return magic === 0xfd2fb528 || (magic & 0xfffffff0) >>> 0 === 0x184d2a50;
}

async function* withHead(
  head: Uint8Array,
  rest: AsyncIterator<Uint8Array> | Iterator<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (head.byteLength > 0) yield head;
  for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value;
}
