import type { Abortable, Source } from "./content.js";
import type { Descriptor } from "./model/descriptor.js";
import { isVerifiable } from "./model/digest.js";
import type { Manifest } from "./model/manifest.js";
import { isImageConfigType, isManifestType } from "./model/media-types.js";
import { forEachParallel, PARALLEL_READS } from "./parallel.js";
import { IndexedSource } from "./store/indexed-source.js";
import { checkContent, problemOf } from "./verify-content.js";
import { checkImage } from "./verify-image.js";
import { ReadManifests } from "./verify-manifests.js";
import { type GraphPath, type Node, walk, withRootNames } from "./walk.js";

/** The options of {@link verify}. */
export interface VerifyOptions extends Abortable {
  /**
   * `fast`: manifests and their structure, and the sizes of everything else. `digests`: every size and digest. `full`: the
   * content of the layers as well, against the diff_ids. Default: `digests`.
   */
  readonly level?: "fast" | "digests" | "full" | undefined;
  /** Content that is missing is noted and no error: the layout is meant to be sparse. */
  readonly sparse?: boolean | undefined;
  /** Told what has been read: bytes of content, as they go by. */
  readonly onBytes?: ((count: number) => void) | undefined;
}

/** Something that is not as it should be, or worth to be known. */
export interface Finding {
  /** Only an `error` means that the content is not what it should be. */
  readonly severity: "error" | "warning" | "note";
  /**
   * `missing`: the content is not there, as in a sparse layout. `corrupt`: the bytes are not what the descriptor says.
   * `external`: it is not there and need not be. `invalid`: the bytes are right, and break the spec. `unverifiable`: it
   * cannot be checked here. Of a layout as a whole: `ambiguous`: one name for several manifests. `referrers`: the ways in
   * which referrers are kept disagree. `unreferenced`: a blob that nothing leads to. `leftover`: a temporary file.
   * `odd`: tolerated, and not as it would be written here.
   */
  readonly state:
    | "missing"
    | "corrupt"
    | "external"
    | "invalid"
    | "unverifiable"
    | "ambiguous"
    | "referrers"
    | "unreferenced"
    | "leftover"
    | "odd";
  /** What it is about, where that is one piece of content. */
  readonly descriptor?: Descriptor;
  /** From a root to the place, with the root first. */
  readonly path: GraphPath;
  readonly message: string;
}

/** A {@link Finding} without its place. */
export type Problem = Pick<Finding, "severity" | "state" | "message">;

/** What a verification saw. */
export interface VerifyReport {
  readonly source: string;
  readonly roots: number;
  readonly manifests: number;
  readonly blobs: number;
  readonly referrers: number;
  /** Bytes found to be what they should be, each digest once; at the level `fast` those of blobs were not read. */
  readonly bytes: number;
  /** In the order of the graph. Empty where everything is as it should be. */
  readonly findings: readonly Finding[];
}

/** Where a verification starts, and what to call it. */
export interface VerifyRoot {
  readonly name: string;
  readonly descriptor: Descriptor;
}

/**
 * Reads everything that can be reached from `roots`, referrers included, and checks each size and digest, each manifest's
 * structure and, for an image, that config, history and manifest have as many layers. Changes nothing and does not stop at
 * the first finding.
 */
export async function verify(
  source: Source,
  roots: readonly VerifyRoot[],
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  const counts = { manifests: 0, blobs: 0, referrers: 0, bytes: 0 };
  const findings: (readonly Finding[])[] = [];
  const names = new Map(roots.map(({ name, descriptor }) => [descriptor.digest, name]));
  const descriptors = roots.map(({ descriptor }) => descriptor);
  const manifests = await ReadManifests.of(source, options);
  const read = (descriptor: Descriptor): Promise<Manifest> => manifests.take(descriptor, options);
  const left = new Set(source instanceof IndexedSource ? source.delta?.needs.map(({ digest }) => digest) : []);
  const nodes = withRootNames(walk(manifests.source, descriptors, { ...options, read }), names);
  await forEachParallel(nodes, PARALLEL_READS, async (node, at) => {
    const { descriptor, path } = node;
    counts[isManifestType(descriptor.mediaType) ? "manifests" : "blobs"]++;
    // Where a whole layout is verified, a referrer is one of the entries to start from.
    if (node.relation === "referrer" || node.manifest?.subject !== undefined) counts.referrers++;
    const content = await contentProblems(source, node, options);
    if (content.length === 0) counts.bytes += descriptor.size;
    const structure = content.length === 0 ? await structureProblems(source, node, options) : [];
    const problems = left.has(descriptor.digest) ? content.map(leftToBase) : content;
    findings[at] = [...problems, ...structure].map((problem) => ({ ...problem, descriptor, path }));
  });
  return { source: source.name, roots: roots.length, ...counts, findings: findings.flat() };
}

/** What is left to a base is missing on purpose. */
function leftToBase(problem: Problem): Problem {
  if (problem.state !== "missing") return problem;
  return { ...problem, severity: "note", message: `${problem.message}; it is left to a base` };
}

async function contentProblems(source: Source, node: Node, options: VerifyOptions): Promise<readonly Problem[]> {
  const { descriptor, manifest, error } = node;
  if (isManifestType(descriptor.mediaType)) {
    if (!isVerifiable(descriptor.digest)) return checkContent(source, descriptor, options);
    if (manifest === undefined) return [problemOf(error, descriptor, options)];
    // Where the manifest was embedded in its descriptor, its blob has not been looked at yet.
    if (descriptor.data === undefined) {
      options.onBytes?.(descriptor.size);
      return [];
    }
  }
  return checkContent(source, descriptor, options);
}

async function structureProblems(source: Source, node: Node, options: VerifyOptions): Promise<readonly Problem[]> {
  const { manifest } = node;
  return manifest?.kind === "image" && isImageConfigType(manifest.config.mediaType)
    ? checkImage(source, manifest, options)
    : [];
}
