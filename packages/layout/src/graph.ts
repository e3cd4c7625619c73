import type { Abortable } from "./content.js";
import { type Digest, isDigest, isVerifiable } from "./model/digest.js";
import { isOciError } from "./model/errors.js";
import { isJsonObject, type JsonObject } from "./model/json.js";
import { MAXIMUM_MANIFEST_SIZE, sniffManifestType } from "./model/manifest.js";
import { isManifestType, mediaTypes } from "./model/media-types.js";
import { collect } from "./model/verified.js";
import { forEachParallel, PARALLEL_READS } from "./parallel.js";
import type { LayoutIndex } from "./store/index-json.js";
import type { IndexedSource } from "./store/indexed-source.js";
import { Traversal } from "./traversal.js";

const decoder = new TextDecoder();

/** A link from a manifest to what it points at. */
export interface Link {
  readonly digest: Digest;
  /** Bytes, as declared. */
  readonly size: number;
  /** True where what it points at is read as a manifest: by its media type, or because it stands in an index. */
  readonly manifest: boolean;
}

/** What a manifest links to. */
export interface GraphNode {
  /**
   * `read`: its links are known, none for content that is no JSON object. `missing`: it is not there, as in a sparse
   * layout. `damaged`: it is there, its bytes are not what its digest says, and its links are not known.
   */
  readonly state: "read" | "missing" | "damaged";
  /** Bytes on the disk; where it is missing, as declared. */
  readonly size: number;
  readonly links: readonly Link[];
  /** Its `subject`: a weak link. */
  readonly subject?: Link;
  /** What the manifest says it is, or what it looks like. Absent where it is none. */
  readonly mediaType?: string;
  /** The type it is listed under as a referrer. */
  readonly artifactType?: string;
}

/** Every manifest that an `index.json` leads to, by links and by subjects, each read once. */
export type Graph = ReadonlyMap<Digest, GraphNode>;

/** The options of {@link readGraph}. */
export interface GraphOptions extends Abortable {
  /** A graph read before: what stands in it as read is not read again, since content never changes under its digest. */
  readonly known?: Graph | undefined;
}

/**
 * Reads every manifest that the index leads to, in time proportional to their number, however they are linked; an index
 * that nests, a loop and a diamond are nothing special. Links are taken from whatever JSON is there, also where it breaks
 * the spec: who asks what may be removed has to know of them all. Fails only where the storage does.
 */
export async function readGraph(source: IndexedSource, index: LayoutIndex, options: GraphOptions = {}): Promise<Graph> {
  const graph = new Map<Digest, GraphNode>();
  const links = new Links();
  const entries = index.manifests.map(({ digest, size }) => links.of(digest, size, true));
  const traversal = new Traversal(entries, ({ digest }) => digest);
  const add = (digest: Digest, node: GraphNode): void => {
    graph.set(digest, node);
    traversal.add(node.links.filter(({ manifest }) => manifest));
    if (node.subject !== undefined) traversal.add([node.subject]);
  };
  for (let level = traversal.batch(); level.length > 0; level = traversal.batch()) {
    await forEachParallel(level, PARALLEL_READS, async (link, at) => {
      const known = options.known?.get(link.digest);
      if (known?.state === "read") return add(link.digest, known);
      options.signal?.throwIfAborted();
      // A store that answers at once would keep everything else waiting.
      if (at % TURN === 0) await new Promise((resolve) => setImmediate(resolve));
      add(link.digest, await readNode(source, link, links, options));
    });
  }
  return graph;
}

/** After so many manifests everything else has its turn. */
const TURN = 64;

/** Links that are alike are one: thousands of manifests have the same config, and comparing one text with itself takes no time. */
class Links {
  readonly #known = new Map<Digest, Link>();

  of(digest: Digest, size: number, manifest: boolean): Link {
    const known = this.#known.get(digest);
    if (known?.size === size && known.manifest === manifest) return known;
    const link = { digest: known?.digest ?? digest, size, manifest };
    if (known === undefined) this.#known.set(digest, link);
    return link;
  }
}

async function readNode(source: IndexedSource, link: Link, links: Links, options: Abortable): Promise<GraphNode> {
  const { digest } = link;
  const small = source.peek(digest);
  if (small !== undefined) return { state: "read", size: small.byteLength, ...linksIn(small, links) };
  // The size on the disk, not the declared one: a descriptor that lies about it must not hide the links.
  const size = await source.size(digest);
  const none = { size: size ?? link.size, links: [] };
  if (size !== undefined && (!isVerifiable(digest) || size > MAXIMUM_MANIFEST_SIZE)) return { state: "read", ...none };
  try {
    // Without a size there is no regular file; reading tells a link or a directory in its place from nothing at all.
    const descriptor = { mediaType: mediaTypes.octetStream, digest, size: none.size };
    const bytes = await collect(source.fetch(descriptor, options), MAXIMUM_MANIFEST_SIZE);
    return { state: "read", size: bytes.byteLength, ...linksIn(bytes, links) };
  } catch (error) {
    options.signal?.throwIfAborted();
    if (isOciError(error, "NOT_FOUND")) return { state: "missing", ...none };
    if (isOciError(error) && error.code !== "REGISTRY") return { state: "damaged", ...none };
    throw error;
  }
}

/** The links in the bytes of a manifest, of whatever type and however odd: also where it breaks the rules for JSON that hold elsewhere. */
function linksIn(bytes: Uint8Array, known: Links): Omit<GraphNode, "state" | "size"> {
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(bytes));
  } catch {
    value = undefined;
  }
  if (!isJsonObject(value)) return { links: [] };
  const links = [
    ...linksOf([value.config], false, known),
    ...linksOf(value.layers, false, known),
    ...linksOf(value.blobs, false, known),
    ...linksOf(value.manifests, true, known),
  ];
  const [subject] = linksOf([value.subject], true, known);
  const mediaType = sniffManifestType(value);
  const artifactType = artifactTypeIn(value);
  return {
    links,
    ...(subject === undefined ? {} : { subject }),
    ...(mediaType === undefined ? {} : { mediaType }),
    ...(artifactType === undefined ? {} : { artifactType }),
  };
}

/** As `effectiveArtifactType` tells it for a manifest that has been checked. */
function artifactTypeIn({ artifactType, config }: JsonObject): string | undefined {
  if (typeof artifactType === "string" && artifactType !== "") return artifactType;
  return isJsonObject(config) && typeof config.mediaType === "string" ? config.mediaType : undefined;
}

function linksOf(values: unknown, manifests: boolean, known: Links): Link[] {
  if (!Array.isArray(values)) return [];
  return values.flatMap((value: unknown) => {
    if (!isJsonObject(value) || typeof value.digest !== "string" || !isDigest(value.digest)) return [];
    const size = typeof value.size === "number" && Number.isSafeInteger(value.size) && value.size >= 0 ? value.size : 0;
    const manifest = manifests || (typeof value.mediaType === "string" && isManifestType(value.mediaType));
    return [known.of(value.digest, size, manifest)];
  });
}

/** The referrers of each subject, by what the manifests themselves say. */
export function referrersIn(graph: Graph): ReadonlyMap<Digest, readonly Digest[]> {
  const referrers = new Map<Digest, Digest[]>();
  for (const [digest, { subject }] of graph) {
    if (subject === undefined) continue;
    const known = referrers.get(subject.digest);
    if (known === undefined) referrers.set(subject.digest, [digest]);
    else known.push(digest);
  }
  return referrers;
}
