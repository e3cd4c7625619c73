import {
  type Abortable,
  type Descriptor,
  type Digest,
  digestOf,
  encodeJson,
  type JsonObject,
  MAXIMUM_MANIFEST_SIZE,
  mediaTypes,
  OciError,
  parseJsonObject,
  referrersTag,
} from "@stowage/layout";
import type { Endpoint } from "./endpoint.js";
import type { Manifests } from "./manifests.js";
import { parseReferrersList } from "./referrers-list.js";
import { ReferrersWriter } from "./referrers-writer.js";
import { hasStatus } from "./registry-error.js";

/** A list as it stands under its tag. */
interface StoredList {
  readonly value: JsonObject;
  readonly entries: readonly Descriptor[];
  readonly etag: string | undefined;
}

/** What became of one look at the list: it `has` all that was wanted, was `written`, or somebody else was faster and the registry `refused`. */
export interface ListRound {
  readonly outcome: "has" | "written" | "refused";
  /** What was on the list when it was read. */
  readonly entries: readonly Descriptor[];
  /** Wanted, and not put on the list because the registry does not have them any more. */
  readonly gone: readonly Digest[];
}

/**
 * The list of referrers that clients keep themselves, under a tag made of the subject's digest, on a registry without the
 * referrers API. distribution-spec v1.1.1, "Referrers Tag Schema".
 */
export class ReferrersTag {
  readonly #endpoint: Endpoint;
  readonly #manifests: Manifests;
  readonly #writers = new Map<Digest, ReferrersWriter>();

  constructor(endpoint: Endpoint, manifests: Manifests) {
    this.#endpoint = endpoint;
    this.#manifests = manifests;
  }

  /** The entries of the list; none where there is no list, or something else stands under its tag. */
  async entries(subject: Digest, options: Abortable): Promise<readonly Descriptor[]> {
    const list = await this.#read(referrersTag(subject), subject, options);
    return list === undefined || list === "something else" ? [] : list.entries;
  }

  /**
   * Puts a referrer on the list of its subject, beside all that stands there, and returns when it has stayed there; see
   * {@link ReferrersWriter}. What is added to one list at the same time is written together. Fails with `CONFLICT` where
   * something else than a list has the tag or others keep changing it, and with `LIMIT` where the list would become too
   * large to be read.
   */
  add(subject: Digest, referrer: Descriptor, options: Abortable): Promise<void> {
    let writer = this.#writers.get(subject);
    if (writer === undefined) {
      const { registry, repository } = this.#endpoint;
      const tag = referrersTag(subject);
      writer = new ReferrersWriter({
        name: `${this.#endpoint.name}:${tag}`,
        key: `${registry.url.origin}/${repository}:${tag}`,
        retry: registry.retry,
        round: (wanted, also, signal) => this.#round(subject, wanted, also, { signal }),
      });
      this.#writers.set(subject, writer);
    }
    return writer.add(referrer, options);
  }

  /** Reads the list; where one of `wanted` or, on a list that is there, of `also` is missing, writes it with them. */
  async #round(
    subject: Digest,
    wanted: readonly Descriptor[],
    also: readonly Descriptor[],
    options: Abortable,
  ): Promise<ListRound> {
    const tag = referrersTag(subject);
    const list = await this.#read(tag, subject, { ...options, once: true });
    if (list === "something else") throw this.#occupied(tag);
    const entries = list?.entries ?? [];
    const known = new Set(entries.map(({ digest }) => digest));
    const missing = [...wanted, ...(list === undefined ? [] : also)].filter(({ digest }) => !known.has(digest));
    if (missing.length === 0) return { outcome: "has", entries, gone: [] };
    try {
      return { outcome: "written", entries, gone: await this.#write(tag, list, missing, wanted, options) };
    } catch (error) {
      if (hasStatus(error, 412)) return { outcome: "refused", entries, gone: [] };
      throw error;
    }
  }

  /** Not tried again with the same list: by then it may be out of date. */
  async #read(
    tag: string,
    subject: Digest,
    options: Abortable & { readonly once?: boolean },
  ): Promise<StoredList | "something else" | undefined> {
    const found = await this.#manifests.read(tag, options);
    if (found === undefined) return undefined;
    // Some registries answer with the subject itself where the tag is not there.
    if (digestOf(found.bytes) === subject) return "something else";
    if (found.mediaType !== mediaTypes.index) return "something else";
    const where = `the list ${this.#endpoint.name}:${tag}`;
    return {
      value: parseJsonObject(found.bytes, where),
      entries: parseReferrersList(found.bytes, where),
      etag: found.etag,
    };
  }

  async #write(
    tag: string,
    list: StoredList | undefined,
    missing: readonly Descriptor[],
    wanted: readonly Descriptor[],
    options: Abortable,
  ): Promise<readonly Digest[]> {
    const all = [...(list?.entries ?? []), ...missing];
    try {
      await this.#put(tag, list, all, options);
      return [];
    } catch (error) {
      if (!hasStatus(error, 400, 404)) throw error;
      // A registry that looks at what a list names refuses one with entries that were deleted meanwhile.
      const own = new Set(wanted.map(({ digest }) => digest));
      const present: Descriptor[] = [];
      for (const entry of all)
        if (own.has(entry.digest) || (await this.#manifests.has(entry, "push", options))) present.push(entry);
      // With nothing to leave out it is sent once more as well: the registry may have looked at a bad moment.
      await this.#put(tag, list, present, options);
      return all.filter((entry) => !present.includes(entry)).map(({ digest }) => digest);
    }
  }

  async #put(
    tag: string,
    list: StoredList | undefined,
    entries: readonly Descriptor[],
    options: Abortable,
  ): Promise<void> {
    const bytes = encodeJson({ schemaVersion: 2, mediaType: mediaTypes.index, ...list?.value, manifests: entries });
    if (bytes.byteLength > MAXIMUM_MANIFEST_SIZE)
      throw new OciError(
        "LIMIT",
        `cannot write the list ${this.#endpoint.name}:${tag}: with ${entries.length} referrers it is larger than the ${MAXIMUM_MANIFEST_SIZE} bytes a manifest may have`,
        { hint: "Delete referrers that are not needed any more, or use a registry with the referrers API." },
      );
    await this.#manifests.put(tag, bytes, mediaTypes.index, {
      signal: options.signal,
      etag: list?.etag,
      once: true,
    });
  }

  #occupied(tag: string): OciError {
    return new OciError(
      "CONFLICT",
      `the tag ${this.#endpoint.name}:${tag} must hold a list of referrers, and holds something else`,
      {
        hint: "Delete that tag, or push to a registry with the referrers API.",
      },
    );
  }
}
