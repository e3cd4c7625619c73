import { type Abortable, type Digest, isOciError, type Source } from "@stowage/layout";
import { RegistryError } from "../registry-error.js";

/** A repository with more tags than this is asked for each. */
const MAXIMUM_TAGS = 2000;

/** What a tag stands for at a target. */
export interface TagState {
  /** Undefined where it stands for nothing. */
  readonly digest: Digest | undefined;
  /** There was nothing in the repository when the run came to it. */
  readonly isNew: boolean;
}

/**
 * The tags of the repositories that a run comes across, each listed once and only where that is less to ask than each tag by itself.
 * They are as they were when that was done.
 */
export class KnownTags {
  readonly #options: Abortable;
  readonly #listed = new Map<Source, Promise<ReadonlySet<string> | "no repository" | undefined>>();
  readonly #asked = new Set<Source>();

  constructor(options: Abortable) {
    this.#options = options;
  }

  /** All tags, those of referrers lists included, from the second time on; undefined before, and where they cannot be listed. */
  async all(source: Source): Promise<ReadonlySet<string> | undefined> {
    if (!this.#asked.has(source)) {
      this.#asked.add(source);
      return undefined;
    }
    const listed = await this.#list(source);
    return listed === "no repository" ? new Set() : listed;
  }

  /** What a tag stands for; undefined where a registry does not let it be looked at. Once one was not there, the others are looked up in the list. */
  async at(target: Source, tag: string): Promise<TagState | undefined> {
    if (!this.#listed.has(target)) {
      const state = await this.#lookAt(target, tag);
      if (state === undefined || state.digest !== undefined) return state;
    }
    const listed = await this.#list(target);
    if (listed === "no repository") return { digest: undefined, isNew: true };
    if (listed === undefined || listed.has(tag)) return this.#lookAt(target, tag);
    return { digest: undefined, isNew: false };
  }

  async #lookAt(target: Source, tag: string): Promise<TagState | undefined> {
    try {
      return { digest: (await target.resolve(tag, this.#options)).digest, isNew: false };
    } catch (error) {
      if (isOciError(error, "NOT_FOUND")) return { digest: undefined, isNew: false };
      if (isOciError(error, "DENIED") || isOciError(error, "UNAUTHORIZED")) return undefined;
      throw error;
    }
  }

  #list(source: Source): Promise<ReadonlySet<string> | "no repository" | undefined> {
    const known = this.#listed.get(source) ?? this.#read(source);
    this.#listed.set(source, known);
    return known;
  }

  async #read(source: Source): Promise<ReadonlySet<string> | "no repository" | undefined> {
    const tags = new Set<string>();
    try {
      for await (const tag of source.tags({ ...this.#options, all: true, atMost: MAXIMUM_TAGS })) tags.add(tag);
      return tags;
    } catch (error) {
      this.#options.signal?.throwIfAborted();
      const isUnknown = error instanceof RegistryError && error.diagnostics.some(({ code }) => code === "NAME_UNKNOWN");
      return isUnknown ? "no repository" : undefined;
    }
  }
}
