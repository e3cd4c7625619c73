import type { Abortable, Source } from "./content.js";
import type { Descriptor } from "./model/descriptor.js";
import type { Digest } from "./model/digest.js";
import { type Manifest, parseManifest, referrerDescriptor } from "./model/manifest.js";
import { isManifestType } from "./model/media-types.js";
import { readManifest } from "./model/verified.js";
import { forEachParallel, PARALLEL_READS } from "./parallel.js";
import { compareText } from "./store/index-json.js";
import { IndexedSource } from "./store/indexed-source.js";
import { Traversal } from "./traversal.js";

/** What came of reading a manifest, once. */
type Outcome = { readonly descriptor: Descriptor } & ({ readonly manifest: Manifest } | { readonly error: unknown });

/** After so many manifests everything else has its turn. */
const TURN = 64;

/**
 * Every manifest that the index of a source leads to, read once. It is let go as soon as it is asked for; that of
 * another descriptor than it was read by is read anew.
 */
export class ReadManifests {
  readonly #source: Source;
  readonly #outcomes: Map<Digest, Outcome>;
  readonly #referrers: ReadonlyMap<Digest, readonly Descriptor[]> | undefined;

  private constructor(source: Source, outcomes: Map<Digest, Outcome>, isWhole: boolean) {
    this.#source = source;
    this.#outcomes = outcomes;
    this.#referrers = isWhole ? referrersAmong(outcomes.values()) : undefined;
  }

  /** Of a source without an index nothing is read before it is asked for. */
  static async of(source: Source, options: Abortable): Promise<ReadManifests> {
    const outcomes = new Map<Digest, Outcome>();
    if (!(source instanceof IndexedSource)) return new ReadManifests(source, outcomes, false);
    const { manifests } = await source.index(options);
    const traversal = new Traversal(manifests.filter(isManifest), ({ digest }) => digest);
    for (let level = traversal.batch(); level.length > 0; level = traversal.batch()) {
      await forEachParallel(level, PARALLEL_READS, async (descriptor, at) => {
        options.signal?.throwIfAborted();
        if (at % TURN === 0) await new Promise((resolve) => setImmediate(resolve));
        const outcome = await read(source, descriptor, options);
        outcomes.set(descriptor.digest, outcome);
        if ("manifest" in outcome && outcome.manifest.kind === "index")
          traversal.add(outcome.manifest.manifests.filter(isManifest));
      });
    }
    return new ReadManifests(source, outcomes, true);
  }

  /** The manifest of a descriptor. Fails as {@link readManifest} does. */
  async take(descriptor: Descriptor, options: Abortable): Promise<Manifest> {
    const known = this.#outcomes.get(descriptor.digest);
    const { mediaType, size, data } = descriptor;
    if (
      known === undefined ||
      known.descriptor.mediaType !== mediaType ||
      known.descriptor.size !== size ||
      data !== undefined
    )
      return (await readManifest(this.#source, descriptor, options)).manifest;
    this.#outcomes.delete(descriptor.digest);
    if ("error" in known) throw known.error;
    return known.manifest;
  }

  /** The source with its referrers as the manifests that were read tell them. */
  get source(): Source {
    const source = this.#source;
    const referrers = this.#referrers;
    if (referrers === undefined) return source;
    return {
      name: source.name,
      resolve: (reference, options) => source.resolve(reference, options),
      fetch: (descriptor, options) => source.fetch(descriptor, options),
      tags: (options) => source.tags(options),
      async *referrers(subject) {
        yield* referrers.get(subject.digest) ?? [];
      },
    };
  }
}

function isManifest({ mediaType }: Descriptor): boolean {
  return isManifestType(mediaType);
}

async function read(source: IndexedSource, descriptor: Descriptor, options: Abortable): Promise<Outcome> {
  try {
    const small = descriptor.data === undefined ? source.peek(descriptor.digest) : undefined;
    const manifest =
      small?.byteLength === descriptor.size
        ? parseManifest(small, descriptor.mediaType, descriptor.digest)
        : (await readManifest(source, descriptor, options)).manifest;
    return { descriptor, manifest };
  } catch (error) {
    options.signal?.throwIfAborted();
    return { descriptor, error };
  }
}

function referrersAmong(outcomes: Iterable<Outcome>): ReadonlyMap<Digest, readonly Descriptor[]> {
  const referrers = new Map<Digest, Descriptor[]>();
  for (const outcome of outcomes) {
    if (!("manifest" in outcome) || outcome.manifest.subject === undefined) continue;
    const { annotations: _annotations, ...referrer } = referrerDescriptor(outcome.descriptor, outcome.manifest);
    const those = referrers.get(outcome.manifest.subject.digest);
    if (those === undefined) referrers.set(outcome.manifest.subject.digest, [referrer]);
    else those.push(referrer);
  }
  for (const those of referrers.values()) those.sort((a, b) => compareText(a.digest, b.digest));
  return referrers;
}
