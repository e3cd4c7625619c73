import type { Descriptor } from "@stowage/layout";
import type { Repository } from "./store.js";

/** How many manifests are known for one repository, how many bytes of them are kept, and the largest that is. */
const COUNT = 10_000;
const KEPT = 4 * 1024 * 1024;
const LARGEST = 256 * 1024;

/** What was found under a reference. */
export interface FoundManifest {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

interface Known {
  readonly descriptor: Descriptor;
  /** Looks how the files are. */
  readonly stamp: () => string | undefined;
  /** The manifest, and how the files were while it was looked up; undefined where only its digest was told so far. */
  readonly kept?: { readonly found: FoundManifest; readonly stamp: string };
}

/** The manifests of one repository that were asked for lately. */
class KnownManifests {
  readonly #known = new Map<string, Known>();
  #size = 0;

  get(reference: string): Known | undefined {
    return this.#known.get(reference);
  }

  set(reference: string, known: Known): void {
    this.#size -= this.#known.get(reference)?.kept?.found.bytes.byteLength ?? 0;
    this.#size += known.kept?.found.bytes.byteLength ?? 0;
    this.#known.set(reference, known);
    // With so few it matters little which of them go.
    if (this.#size <= KEPT && this.#known.size <= COUNT) return;
    this.#known.clear();
    this.#size = 0;
  }
}

const all = new WeakMap<Repository, KnownManifests>();

function manifestsOf(repository: Repository): KnownManifests {
  const known = all.get(repository) ?? new KnownManifests();
  if (!all.has(repository)) all.set(repository, known);
  return known;
}

/**
 * What `find` finds under the reference, or what it found there as long as nothing in the files has changed since. That is
 * known from the second time on: the files are looked at before and after. Only for repositories whose files can tell.
 */
export async function knownManifest(
  repository: Repository,
  reference: string,
  find: () => Promise<FoundManifest | undefined>,
): Promise<FoundManifest | undefined> {
  const { stampOf } = repository;
  if (stampOf === undefined) return find();
  const manifests = manifestsOf(repository);
  const known = manifests.get(reference);
  const before = known?.stamp();
  if (known?.kept !== undefined && known.kept.stamp === before) return known.kept.found;
  const found = await find();
  if (found === undefined || found.bytes.byteLength > LARGEST) return found;
  const { descriptor } = found;
  const stamp = known?.descriptor.digest === descriptor.digest ? known.stamp : stampOf(descriptor.digest);
  const unchanged = before !== undefined && stamp === known?.stamp && stamp() === before;
  manifests.set(reference, { descriptor, stamp, ...(unchanged ? { kept: { found, stamp: before } } : {}) });
  return found;
}
