import { setTimeout as sleep } from "node:timers/promises";
import {
  type Abortable,
  type Descriptor,
  type Digest,
  digestOf,
  encodeJson,
  type JsonObject,
  mediaTypes,
  OciError,
  parseJsonObject,
  referrersTag,
} from "@stowage/layout";
import type { Endpoint } from "./endpoint.js";
import { inTurn } from "./in-turn.js";
import type { Manifests } from "./manifests.js";
import { parseReferrersList } from "./referrers-list.js";
import { hasStatus } from "./registry-error.js";

/** How often a list that somebody else changed meanwhile is read and written again. */
const TRIES = 8;
/** The longest random wait before the next of them, in ms. */
const WAIT = 200;

/** A list as it stands under its tag. */
interface StoredList {
  readonly value: JsonObject;
  readonly entries: readonly Descriptor[];
  readonly etag: string | undefined;
}

/**
 * The list of referrers that clients keep themselves, under a tag made of the subject's digest, on a registry without the
 * referrers API. distribution-spec v1.1.1, "Referrers Tag Schema".
 */
export class ReferrersTag {
  readonly #endpoint: Endpoint;
  readonly #manifests: Manifests;

  constructor(endpoint: Endpoint, manifests: Manifests) {
    this.#endpoint = endpoint;
    this.#manifests = manifests;
  }

  /** The entries of the list; none where there is no list, or something else stands under its tag. */
  async entries(subject: Digest, options: Abortable): Promise<readonly Descriptor[]> {
    const list = await this.#read(subject, options);
    return list === undefined || list === "something else" ? [] : list.entries;
  }

  /**
   * Puts a referrer on the list of its subject, beside all that stands there. Within this process one change follows the other;
   * a change from elsewhere is seen by the registry's If-Match where it has that, otherwise by reading again. Fails with
   * `CONFLICT` where something else than a list has the tag, or others keep changing it.
   */
  async add(subject: Digest, referrer: Descriptor, options: Abortable): Promise<void> {
    const tag = referrersTag(subject);
    await inTurn(`${this.#endpoint.registry.url.origin} ${this.#endpoint.repository} ${tag}`, async () => {
      for (let count = 0; count < TRIES; count++) {
        if (count > 1) await sleep(Math.random() * WAIT);
        options.signal?.throwIfAborted();
        const list = await this.#read(subject, options);
        if (list === "something else") throw this.#occupied(tag);
        if (list?.entries.some(({ digest }) => digest === referrer.digest)) return;
        await this.#write(tag, list, referrer, options);
      }
      // The last write was not read back yet.
      if ((await this.entries(subject, options)).some(({ digest }) => digest === referrer.digest)) return;
      throw new OciError(
        "CONFLICT",
        `cannot put ${referrer.digest} on the list ${this.#endpoint.name}:${tag}: others keep changing it`,
        {
          hint: "The referrer itself was pushed. Run it again when nobody else pushes referrers of the same subject.",
        },
      );
    });
  }

  async #read(subject: Digest, options: Abortable): Promise<StoredList | "something else" | undefined> {
    const tag = referrersTag(subject);
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

  async #write(tag: string, list: StoredList | undefined, referrer: Descriptor, options: Abortable): Promise<void> {
    const before = list?.entries ?? [];
    try {
      await this.#put(tag, list, [...before, referrer], options);
    } catch (error) {
      if (hasStatus(error, 412)) return;
      if (!hasStatus(error, 400, 404) || before.length === 0) throw error;
      // A registry that looks at what a list names refuses one with entries that were deleted meanwhile.
      const present: Descriptor[] = [];
      for (const entry of before) if (await this.#manifests.has(entry, "push", options)) present.push(entry);
      if (present.length === before.length) throw error;
      await this.#put(tag, list, [...present, referrer], options);
    }
  }

  async #put(
    tag: string,
    list: StoredList | undefined,
    entries: readonly Descriptor[],
    options: Abortable,
  ): Promise<void> {
    const value = { schemaVersion: 2, mediaType: mediaTypes.index, ...list?.value, manifests: entries };
    await this.#manifests.put(tag, encodeJson(value), mediaTypes.index, { signal: options.signal, etag: list?.etag });
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
