import {
  type Abortable,
  type Descriptor,
  type Digest,
  embeddedData,
  isManifestType,
  isOciError,
  MAXIMUM_MANIFEST_SIZE,
  type Manifest,
  mediaTypes,
  OciError,
  parseDigest,
  parseManifest,
  type ReferrersOptions,
  referrerDescriptor,
  referrersTag,
} from "@stowage/layout";
import type { Endpoint } from "./endpoint.js";
import type { Answer } from "./http/answer.js";
import type { Manifests } from "./manifests.js";
import { pages } from "./pages.js";
import { MAXIMUM_ENTRIES, parseReferrersList } from "./referrers-list.js";
import { ReferrersTag } from "./referrers-tag.js";
import { answerError, parseDiagnostics } from "./registry-error.js";

/** A subject nobody has. */
const ZERO = parseDigest(`sha256:${"0".repeat(64)}`);
/** The statuses by which registries tell, in their ways, that they have no referrers API. */
const NOT_OFFERED = [301, 302, 303, 307, 308, 400, 404, 405, 406, 410, 415, 501];
/** How many manifests on a list are read at a time. */
const CONCURRENCY = 16;

/** The referrers in one repository: from the registry's API where it has one that works, otherwise from the referrers tag. */
export class Referrers {
  readonly #endpoint: Endpoint;
  readonly #manifests: Manifests;
  readonly #tag: ReferrersTag;
  #offered: boolean | undefined;

  constructor(endpoint: Endpoint, manifests: Manifests) {
    this.#endpoint = endpoint;
    this.#manifests = manifests;
    this.#tag = new ReferrersTag(endpoint, manifests);
  }

  /**
   * The referrers of a subject, sorted by digest. Each was read: its `subject` is the one asked for, its artifactType and
   * annotations are its own. What an entry brings as `data` is not fetched. Entries that name what is gone, or a manifest of another subject, are left out.
   * With `unchecked` none is read, and they are as the list has them.
   * distribution-spec v1.1.1, "Listing Referrers".
   */
  async list(subject: Digest, options: ReferrersOptions = {}): Promise<readonly Descriptor[]> {
    const entries = await this.#entries(subject, options);
    if (options.unchecked === true) return entries.filter((entry) => this.#isListed(entry, options)).sort(byDigest);
    const found: Descriptor[] = [];
    const queue = [...entries];
    const work = async (): Promise<void> => {
      for (let entry = queue.pop(); entry !== undefined; entry = queue.pop()) {
        const referrer = await this.#check(entry, subject, options);
        if (referrer !== undefined) found.push(referrer);
      }
    };
    await Promise.all(Array.from({ length: Math.min(CONCURRENCY, queue.length) }, work));
    return found.sort(byDigest);
  }

  /**
   * Sees to it that a manifest just pushed, or present before, is found as a referrer of its subject. `told` is the
   * OCI-Subject the registry answered with. distribution-spec v1.1.1, "Pushing Manifests with Subject".
   */
  async ensure(
    descriptor: Descriptor,
    manifest: Manifest,
    told: string | undefined,
    options: Abortable,
  ): Promise<void> {
    const subject = manifest.subject?.digest;
    if (subject === undefined) return;
    if (await this.offered(options)) {
      // A registry that lists what it has answers so. One that only learned of subjects later may still list it.
      if (told === subject) return;
      if ((await this.#fromApi(subject, options))?.some(({ digest }) => digest === descriptor.digest)) return;
    }
    await this.#tag.add(subject, referrerDescriptor(descriptor, manifest), options);
  }

  /**
   * True if the registry has a referrers API that works: an answer 200 with an image index, from the registry itself. The header
   * OCI-Subject is no proof. Asked once, unless the repository is not there yet.
   */
  async offered(options: Abortable): Promise<boolean> {
    if (this.#offered === undefined) await this.#fromApi(ZERO, options);
    return this.#offered ?? false;
  }

  /** What the API lists, as it lists it; undefined where there is no API. Whether there is one is asked anew. */
  listed(subject: Digest, options: ReferrersOptions): Promise<readonly Descriptor[] | undefined> {
    return this.#fromApi(subject, options);
  }

  /**
   * As {@link listed}, without a question where it is known that there is no API. With `early` nothing of the repository need be there:
   * that nothing is found then does not say that there is no API.
   */
  async listedIfOffered(
    subject: Digest,
    options: ReferrersOptions & { readonly early?: boolean },
  ): Promise<readonly Descriptor[] | undefined> {
    return this.#offered === false ? undefined : this.#fromApi(subject, options);
  }

  async #entries(subject: Digest, options: ReferrersOptions): Promise<readonly Descriptor[]> {
    const listed = await this.listedIfOffered(subject, options);
    if (listed !== undefined) return listed;
    const tags = await options.allTags?.();
    if (tags !== undefined && !tags.has(referrersTag(subject))) return [];
    return [...new Map((await this.#tag.entries(subject, options)).map((entry) => [entry.digest, entry])).values()];
  }

  /** What the API lists; undefined where there is none. */
  async #fromApi(
    subject: Digest,
    options: ReferrersOptions & { readonly early?: boolean },
  ): Promise<readonly Descriptor[] | undefined> {
    const where = `the referrers of ${subject} in ${this.#endpoint.name}`;
    const filter =
      options.artifactType === undefined ? "" : `?artifactType=${encodeURIComponent(options.artifactType)}`;
    const action = `cannot list ${where}`;
    const entries = new Map<Digest, Descriptor>();
    let first = true;
    for await (const answer of pages(this.#endpoint, {
      action,
      method: "GET",
      at: `referrers/${subject}${filter}`,
      needs: "pull",
      accept: [200, ...NOT_OFFERED],
      headers: { accept: mediaTypes.index },
      stayHere: true,
      signal: options.signal,
    })) {
      if (answer.status !== 200 || answer.mediaType !== mediaTypes.index) {
        // Only the first page can tell that there is no API; a later one that fails is a failure.
        if (!first)
          throw await answerError(action, answer, { host: this.#endpoint.registry.host, authenticated: false });
        if (options.early === true && answer.status === 404) await answer.discard();
        else await this.#notOffered(answer, subject);
        return undefined;
      }
      this.#offered = true;
      first = false;
      for (const entry of parseReferrersList(await answer.bytes(MAXIMUM_MANIFEST_SIZE, where), where))
        entries.set(entry.digest, entry);
      if (entries.size > MAXIMUM_ENTRIES)
        throw new OciError("LIMIT", `${action}: there are more than ${MAXIMUM_ENTRIES}`);
    }
    return [...entries.values()];
  }

  /** Remembers that there is no API, unless the answer may only mean that there is no repository yet, or be about this digest. */
  async #notOffered(answer: Answer, subject: Digest): Promise<void> {
    const codes = parseDiagnostics(await answer.excerpt()).map(({ code }) => code);
    if (answer.status === 404 && codes.includes("NAME_UNKNOWN")) return;
    if (answer.status === 400 && subject !== ZERO) return;
    this.#offered ??= false;
  }

  /** Whether an entry may be what is asked for. What it brings as `data` is kept. */
  #isListed(entry: Descriptor, { artifactType }: ReferrersOptions): boolean {
    if (artifactType !== undefined && entry.artifactType && entry.artifactType !== artifactType) return false;
    if (!isManifestType(entry.mediaType)) return false;
    const data = embeddedData(entry);
    if (data !== undefined) this.#manifests.keep(entry.digest, data);
    return true;
  }

  /** The entry as its manifest makes it, or undefined where it is not a referrer of `subject` or not of the type asked for. */
  async #check(entry: Descriptor, subject: Digest, options: ReferrersOptions): Promise<Descriptor | undefined> {
    const { artifactType, signal } = options;
    if (!this.#isListed(entry, options)) return undefined;
    let bytes: Uint8Array;
    try {
      bytes = await this.#manifests.bytes(entry, { signal });
    } catch (error) {
      if (isOciError(error, "NOT_FOUND")) return undefined;
      throw error;
    }
    const manifest = parseManifest(bytes, entry.mediaType, `the referrer ${entry.digest} in ${this.#endpoint.name}`);
    if (manifest.subject?.digest !== subject) return undefined;
    const referrer = referrerDescriptor(entry, manifest);
    return artifactType === undefined || referrer.artifactType === artifactType ? referrer : undefined;
  }
}

function byDigest(one: Descriptor, other: Descriptor): number {
  return one.digest < other.digest ? -1 : 1;
}
