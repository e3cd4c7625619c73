import type { Abortable, Source } from "./content.js";
import { type Digest, digestAlgorithm, digestEncoded } from "./model/digest.js";
import { isOciError } from "./model/errors.js";
import { parseLegacyTag } from "./store/conventions.js";

/** A tag like cosign's `sha256-<hex>.sig`, and the digest it is about. */
export interface LegacyTag {
  readonly tag: string;
  readonly subject: Digest;
}

/**
 * Finds the tags by which older tools tie signatures, attestations and SBOMs to a digest. The tags of the source are listed
 * once; where it does not let them be listed, each is asked for.
 */
export class LegacyTags {
  readonly #source: Source;
  readonly #options: Abortable;
  #listed: Promise<ReadonlyMap<Digest, readonly LegacyTag[]> | undefined> | undefined;

  constructor(source: Source, options: Abortable) {
    this.#source = source;
    this.#options = options;
  }

  /** Begins to list the tags, for who will ask later. */
  begin(): void {
    this.#listed ??= this.#list();
    // Whoever asks is told of a failure.
    this.#listed.catch(() => {});
  }

  /** Those about a digest, sorted by name. */
  async of(subject: Digest): Promise<readonly LegacyTag[]> {
    this.#listed ??= this.#list();
    const listed = await this.#listed;
    if (listed !== undefined) return listed.get(subject) ?? [];
    const found: LegacyTag[] = [];
    for (const ending of ["att", "sbom", "sig"]) {
      const tag = `${digestAlgorithm(subject)}-${digestEncoded(subject)}.${ending}`;
      if (await this.#exists(tag)) found.push({ tag, subject });
    }
    return found;
  }

  async #list(): Promise<ReadonlyMap<Digest, readonly LegacyTag[]> | undefined> {
    const found = new Map<Digest, LegacyTag[]>();
    try {
      for await (const name of this.#source.tags(this.#options)) {
        const subject = parseLegacyTag(name)?.subject;
        if (subject === undefined) continue;
        const those = found.get(subject) ?? [];
        those.push({ tag: name, subject });
        found.set(subject, those);
      }
    } catch (error) {
      this.#options.signal?.throwIfAborted();
      // To list tags may need a right that pulling an image does not.
      if (isOciError(error) && error.code !== "REGISTRY") return undefined;
      throw error;
    }
    return found;
  }

  async #exists(tag: string): Promise<boolean> {
    try {
      await this.#source.resolve(tag, this.#options);
      return true;
    } catch (error) {
      if (isOciError(error, "NOT_FOUND")) return false;
      throw error;
    }
  }
}
