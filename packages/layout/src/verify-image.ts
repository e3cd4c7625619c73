import { createHash } from "node:crypto";
import { Readable, type Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Source } from "./content.js";
import type { Descriptor } from "./model/descriptor.js";
import { isDigest, isVerifiable } from "./model/digest.js";
import { isOciError, OciError, systemErrorCode } from "./model/errors.js";
import { isJsonObject, parseJsonObject } from "./model/json.js";
import type { ImageManifest } from "./model/manifest.js";
import { readBytes } from "./model/verified.js";
import type { Problem, VerifyOptions } from "./verify.js";

/** The largest layer that is unpacked to be checked, in bytes. A small file can claim to be any size. */
const MAXIMUM_LAYER_SIZE = 256 * 1024 ** 3;

/** What is wrong with an image apart from missing or damaged content: layers, diff_ids and history that do not fit. */
export async function checkImage(
  source: Source,
  manifest: ImageManifest,
  options: VerifyOptions,
): Promise<readonly Problem[]> {
  let config: Record<string, unknown>;
  try {
    config = parseJsonObject(await readBytes(source, manifest.config, options), `the config ${manifest.config.digest}`);
  } catch (error) {
    // Missing or corrupt bytes are found when the walk comes to the config itself.
    return isOciError(error, "INVALID") ? [invalid(error.message)] : [];
  }
  const rootfs = isJsonObject(config.rootfs) ? config.rootfs : {};
  const diffIds: readonly unknown[] = Array.isArray(rootfs.diff_ids) ? rootfs.diff_ids : [];
  const problems: Problem[] = [];
  if (diffIds.length !== manifest.layers.length)
    problems.push(
      invalid(`the manifest has ${manifest.layers.length} layers, its config has ${diffIds.length} diff_ids`),
    );
  // An empty history tells nothing, as one that is not there.
  if (Array.isArray(config.history) && config.history.length > 0) {
    const withLayer = config.history.filter(
      (entry: { empty_layer?: unknown } | null) => entry?.empty_layer !== true,
    ).length;
    if (withLayer !== diffIds.length)
      problems.push(invalid(`the history tells of ${withLayer} layers, the config has ${diffIds.length} diff_ids`));
  }
  if (options.level !== "full" || diffIds.length !== manifest.layers.length) return problems;
  for (const [at, layer] of manifest.layers.entries()) {
    const problem = await checkDiffId(source, layer, diffIds[at], `layers[${at}]`, options);
    if (problem !== undefined) problems.push(problem);
  }
  return problems;
}

function invalid(message: string): Problem {
  return { severity: "error", state: "invalid", message };
}

function unverifiable(message: string): Problem {
  return { severity: "note", state: "unverifiable", message };
}

/** Unpacks a layer and compares what comes out. image-spec v1.1.1, config.md "Layer DiffID". */
async function checkDiffId(
  source: Source,
  layer: Descriptor,
  diffId: unknown,
  where: string,
  options: VerifyOptions,
): Promise<Problem | undefined> {
  if (typeof diffId !== "string" || !isDigest(diffId)) return invalid(`the diff_id of ${where} is not a digest`);
  if (!isVerifiable(diffId) || !isVerifiable(layer.digest))
    return unverifiable(`the diff_id of ${where} has an algorithm that is not known here`);
  const unpacking = unpackerOf(layer.mediaType);
  if (typeof unpacking === "string") return unverifiable(`the diff_id of ${where} was not checked: ${unpacking}`);
  const hash = createHash(diffId.slice(0, diffId.indexOf(":")));
  let size = 0;
  const sink = async (chunks: AsyncIterable<Uint8Array>): Promise<void> => {
    for await (const chunk of chunks) {
      size += chunk.byteLength;
      if (size > MAXIMUM_LAYER_SIZE) throw new OciError("LIMIT", `it unpacks to more than ${MAXIMUM_LAYER_SIZE} bytes`);
      hash.update(chunk);
    }
  };
  const bytes = Readable.from(source.fetch(layer, { signal: options.signal }));
  try {
    if (unpacking === undefined) await sink(bytes);
    else await pipeline(bytes, unpacking(), sink);
  } catch (error) {
    options.signal?.throwIfAborted();
    // Missing or damaged content is told of where the layer itself is checked.
    if (isOciError(error) && error.code !== "LIMIT") return undefined;
    if (!isOciError(error) && systemErrorCode(error)?.startsWith("Z") !== true && !isUnpackingError(error)) throw error;
    return invalid(`${where} cannot be unpacked: ${(error as Error).message}`);
  }
  const found = `${diffId.slice(0, diffId.indexOf(":"))}:${hash.digest("hex")}`;
  return found === diffId ? undefined : invalid(`${where} unpacks to ${found}; its diff_id is ${diffId}`);
}

function isUnpackingError(error: unknown): boolean {
  return systemErrorCode(error)?.startsWith("ERR_") === true;
}

/** How the media type is unpacked: undefined for not at all, a text where that is not possible here. */
function unpackerOf(mediaType: string): (() => Transform) | string | undefined {
  if (/[.+]gzip$/.test(mediaType)) return () => process.getBuiltinModule("node:zlib").createGunzip();
  if (/[.+]zstd$/.test(mediaType)) {
    // Node has it from 22.15 on.
    const create = (process.getBuiltinModule("node:zlib") as { createZstdDecompress?: () => Transform })
      .createZstdDecompress;
    return create ?? `Node ${process.versions.node} cannot unpack zstd`;
  }
  return /\.tar$/.test(mediaType) ? undefined : `it has the unknown type ${mediaType}`;
}
