import type { Transform } from "node:stream";
import { type Abortable, type Bytes, OciError, through } from "@stowage/layout";

const CHUNK = 256 * 1024;
/** That of zstd itself. */
export const DEFAULT_ZSTD_LEVEL = 3;

/** What Node 20 does not have, and its types neither. */
interface Zstd {
  readonly createZstdCompress?: (options: { chunkSize: number; params: Record<number, number> }) => Transform;
  readonly constants: { readonly ZSTD_c_compressionLevel?: number };
}

/** The bytes as one zstd frame. RFC 8878. Fails with `UNSUPPORTED` where this Node has no zstd. */
export async function* zstd(
  bytes: Bytes,
  options: Abortable & { readonly level?: number | undefined } = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const { createZstdCompress: create, constants } = process.getBuiltinModule("node:zlib") as Zstd;
  if (create === undefined)
    throw new OciError("UNSUPPORTED", `cannot compress with zstd: Node ${process.versions.node} has none`, {
      hint: "Node 22.15 and later have it.",
    });
  const params = { [constants.ZSTD_c_compressionLevel as number]: options.level ?? DEFAULT_ZSTD_LEVEL };
  yield* through(bytes, create({ chunkSize: CHUNK, params }), options);
}
