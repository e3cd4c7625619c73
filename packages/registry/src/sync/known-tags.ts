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
  readonly #states = new Map<Source, Map<string, Promise<TagState | undefined>>>();

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

  /**
   * What a tag stands for; undefined where a registry does not let it be looked at. Asked once for each, and of several of one
   * repository the first decides how: where it is not there the repository may be new, so the tags are listed.
   */
  at(target: Source, tag: string): Promise<TagState | undefined> {
    const states = this.#states.get(target) ?? new Map<string, Promise<TagState | undefined>>();
    this.#states.set(target, states);
    let state = states.get(tag);
    if (state === undefined) {
      const [first] = states.values();
      state = first === undefined ? this.#lookFirst(target, tag) : this.#lookAfter(first, target, tag);
      // Whoever asks is told of a failure; it may be asked ahead.
      state.catch(() => {});
      states.set(tag, state);
    }
    return state;
  }

  async #lookFirst(target: Source, tag: string): Promise<TagState | undefined> {
    const state = await this.#lookAt(target, tag);
    return state === undefined || state.digest !== undefined ? state : this.#lookUp(target, tag);
  }

  async #lookAfter(first: Promise<unknown>, target: Source, tag: string): Promise<TagState | undefined> {
    await first.catch(() => {});
    return this.#listed.has(target) ? this.#lookUp(target, tag) : this.#lookAt(target, tag);
  }

  async #lookUp(target: Source, tag: string): Promise<TagState | undefined> {
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
