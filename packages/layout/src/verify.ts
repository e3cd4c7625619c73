import type { Abortable, Source } from "./content.js";
import { type Descriptor, formatDescriptor } from "./model/descriptor.js";
import { isVerifiable } from "./model/digest.js";
import { isOciError } from "./model/errors.js";
import { parseJsonObject } from "./model/json.js";
import type { Manifest } from "./model/manifest.js";
import { isImageConfigType, isManifestType } from "./model/media-types.js";
import { readBytes } from "./model/verified.js";
import { type GraphPath, type Node, walk } from "./walk.js";

/** The options of {@link verify}. */
export interface VerifyOptions extends Abortable {
  /** Told what has been read: bytes of content, as they go by. */
  readonly onBytes?: (count: number) => void;
}

/** Something that is not as it should be. */
export interface Finding {
  /**
   * `missing`: the content is not there, as in a sparse layout. `corrupt`: the bytes are not what the descriptor says.
   * `invalid`: the bytes are right, and break the spec. `unverifiable`: the digest's algorithm is not known here.
   */
  readonly state: "missing" | "corrupt" | "invalid" | "unverifiable";
  readonly descriptor: Descriptor;
  /** From a root to the place, with the root first. */
  readonly path: GraphPath;
  readonly message: string;
}

/** What a verification saw. */
export interface VerifyReport {
  readonly source: string;
  readonly roots: number;
  readonly manifests: number;
  readonly blobs: number;
  readonly referrers: number;
  /** Bytes read and found to be what they should be, each digest once. */
  readonly bytes: number;
  /** Empty where everything is as it should be. */
  readonly findings: readonly Finding[];
}

/** Where a verification starts, and what to call it. */
export interface VerifyRoot {
  readonly name: string;
  readonly descriptor: Descriptor;
}

/**
 * Reads everything that can be reached from `roots`, referrers included, and checks each size and digest, each manifest's
 * structure and, for an image, that config and manifest have as many layers. Changes nothing and does not stop at the
 * first finding.
 */
export async function verify(
  source: Source,
  roots: readonly VerifyRoot[],
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  const findings: Finding[] = [];
  const counts = { manifests: 0, blobs: 0, referrers: 0, bytes: 0 };
  const names = new Map(roots.map(({ name, descriptor }) => [descriptor.digest, name]));
  let root = "";
  for await (const node of walk(
    source,
    roots.map(({ descriptor }) => descriptor),
    options,
  )) {
    if (node.relation === "root") root = names.get(node.descriptor.digest) ?? node.descriptor.digest;
    // Where a whole layout is verified, a referrer is one of the entries to start from.
    if (node.relation === "referrer" || node.manifest?.subject !== undefined) counts.referrers++;
    const found = isManifestType(node.descriptor.mediaType)
      ? await checkManifest(source, node, options)
      : await checkBlob(source, node, options);
    counts[isManifestType(node.descriptor.mediaType) ? "manifests" : "blobs"]++;
    if (found.every(({ state }) => state === "invalid")) counts.bytes += node.descriptor.size;
    for (const { state, message } of found)
      findings.push({ state, message, descriptor: node.descriptor, path: [root, ...node.path] });
  }
  return { source: source.name, roots: roots.length, ...counts, findings };
}

type Problem = Pick<Finding, "state" | "message">;

async function checkManifest(
  source: Source,
  { descriptor, manifest, error }: Node,
  options: VerifyOptions,
): Promise<Problem[]> {
  if (manifest === undefined) return [problemOf(error, descriptor)];
  // Where the manifest was embedded in its descriptor, its blob has not been looked at yet.
  if (descriptor.data !== undefined) {
    const found = await checkBlob(source, { descriptor }, options);
    if (found.length > 0) return found;
  } else options.onBytes?.(descriptor.size);
  return manifest.kind === "image" && isImageConfigType(manifest.config.mediaType)
    ? checkImage(source, manifest, options)
    : [];
}

async function checkImage(
  source: Source,
  manifest: Manifest & { kind: "image" },
  options: VerifyOptions,
): Promise<Problem[]> {
  let config: Record<string, unknown>;
  try {
    config = parseJsonObject(await readBytes(source, manifest.config, options), `the config ${manifest.config.digest}`);
  } catch (error) {
    // Missing or corrupt bytes are found when the walk comes to the config itself.
    return isOciError(error, "INVALID") ? [{ state: "invalid", message: error.message }] : [];
  }
  const rootfs = config.rootfs as { type?: unknown; diff_ids?: unknown } | undefined;
  const problems: Problem[] = [];
  const diffIds = Array.isArray(rootfs?.diff_ids) ? rootfs.diff_ids : [];
  if (diffIds.length !== manifest.layers.length) {
    problems.push({
      state: "invalid",
      message: `the manifest has ${manifest.layers.length} layers, its config has ${diffIds.length} diff_ids`,
    });
  }
  if (Array.isArray(config.history)) {
    const withLayer = config.history.filter(
      (entry: { empty_layer?: unknown } | null) => entry?.empty_layer !== true,
    ).length;
    if (withLayer !== diffIds.length)
      problems.push({
        state: "invalid",
        message: `the history tells of ${withLayer} layers, the config has ${diffIds.length} diff_ids`,
      });
  }
  return problems;
}

async function checkBlob(
  source: Source,
  { descriptor }: Pick<Node, "descriptor">,
  options: VerifyOptions,
): Promise<Problem[]> {
  if (!isVerifiable(descriptor.digest))
    return [{ state: "unverifiable", message: `the algorithm of ${descriptor.digest} is not known here` }];
  try {
    for await (const chunk of source.fetch(descriptor, options)) options.onBytes?.(chunk.byteLength);
    return [];
  } catch (error) {
    options.signal?.throwIfAborted();
    return [problemOf(error, descriptor)];
  }
}

function problemOf(error: unknown, descriptor: Descriptor): Problem {
  if (isOciError(error, "NOT_FOUND"))
    return { state: "missing", message: `${formatDescriptor(descriptor)} is not there` };
  if (isOciError(error, "MISMATCH") || isOciError(error, "DENIED")) return { state: "corrupt", message: error.message };
  if (isOciError(error) && error.code !== "REGISTRY") return { state: "invalid", message: error.message };
  throw error;
}
