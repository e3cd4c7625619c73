import {
  type Abortable,
  type Content,
  collect,
  type Descriptor,
  type FetchOptions,
  formatDescriptor,
  isManifestType,
  MAXIMUM_MANIFEST_SIZE,
  type Manifest,
  OciError,
  type Presence,
  type PushOptions,
  parseJsonObject,
  parseManifest,
  type ReferrersOptions,
  type TagListOptions,
  type Target,
  verified,
} from "@stowage/layout";
import type { UploadOptions } from "./blob-upload.js";
import { fetchBlob, hasBlob } from "./blobs.js";
import type { Endpoint } from "./endpoint.js";
import { fetchExternal } from "./external.js";
import { Manifests } from "./manifests.js";
import { type ProbeOptions, type ProbeReport, probeRepository } from "./probe.js";
import { cancelUpload, openUpload } from "./probe-requests.js";
import { type RepositoryReconcileOptions, type RepositoryReconcileReport, reconcileRepository } from "./reconcile.js";
import { ReferrerPuts } from "./referrer-puts.js";
import { Referrers } from "./referrers.js";
import { listTags } from "./tags.js";
import { foreseeBlobPush, pushBlob } from "./upload.js";

/** A repository on a registry. Made by `openRepository` or a client. */
export class Repository implements Target {
  /** As the user names it: `docker.io/library/alpine`. */
  readonly name: string;
  /** A registry takes a manifest only when all it points at is there. */
  readonly closed = true;
  readonly #endpoint: Endpoint;
  readonly #owner: { close(): Promise<void> };
  readonly #manifests: Manifests;
  readonly #referrers: Referrers;
  readonly #puts: ReferrerPuts;
  readonly #upload: UploadOptions;

  constructor(endpoint: Endpoint, owner: { close(): Promise<void> }, upload: UploadOptions = {}) {
    this.#upload = upload;
    this.#endpoint = endpoint;
    this.#owner = owner;
    this.name = endpoint.name;
    this.#manifests = new Manifests(endpoint);
    this.#referrers = new Referrers(endpoint, this.#manifests);
    this.#puts = new ReferrerPuts(endpoint, this.#manifests, this.#referrers);
  }

  /**
   * The manifest a tag or digest stands for. Fails with `NOT_FOUND`; with `MISMATCH` where what the registry sends is not what it
   * says; with `UNSUPPORTED` where it is no OCI or Docker manifest. distribution-spec v1.1.1, "Pulling manifests".
   */
  resolve(reference: string, options: Abortable = {}): Promise<Descriptor> {
    return this.#manifests.resolve(reference, options);
  }

  /** The verified bytes of a manifest or blob, which one the media type tells. distribution-spec v1.1.1, "Pull". */
  fetch(descriptor: Descriptor, options: FetchOptions = {}): AsyncIterable<Uint8Array> {
    return isManifestType(descriptor.mediaType)
      ? this.#manifests.fetch(descriptor, options)
      : fetchBlob(this.#endpoint, descriptor, options);
  }

  /**
   * The verified bytes of a layer of an image of this repository that lies elsewhere, at one of its https `urls`. Nothing nearer
   * than the registry is reached. Fails with `NOT_FOUND` where it has no such URL. image-spec v1.1.1, descriptor.md "urls".
   */
  external(layer: Descriptor, options: Abortable = {}): AsyncIterable<Uint8Array> {
    return fetchExternal(this.#endpoint.registry, layer, options);
  }

  /** The manifests with this subject, each read and checked. distribution-spec v1.1.1, "Listing Referrers". */
  async *referrers(subject: Descriptor, options: ReferrersOptions = {}): AsyncIterable<Descriptor> {
    yield* await this.#referrers.list(subject.digest, options);
  }

  /** The tags in bytewise order, without those that only carry a referrers list unless asked for. Fails with `NOT_FOUND` where the repository is not there. distribution-spec v1.1.1, "Listing Tags". */
  async *tags(options: TagListOptions = {}): AsyncIterable<string> {
    yield* await listTags(this.#endpoint, options);
  }

  /** True if the manifest or blob is there with the declared size. */
  has(descriptor: Descriptor, options: Abortable = {}): Promise<boolean> {
    return isManifestType(descriptor.mediaType)
      ? this.#manifests.has(descriptor, "pull", options)
      : hasBlob(this.#endpoint, descriptor, "pull", options);
  }

  /**
   * Makes content present. A blob is mounted where it comes from another repository of the same registry. A manifest with a
   * `subject` is found by `referrers` afterwards: the registry lists it, or it is put on the list under the referrers tag. Fails with
   * `MISMATCH` where the bytes are wrong; nothing is stored then. distribution-spec v1.1.1, "Push".
   */
  async push(content: Content, options: PushOptions = {}): Promise<Presence> {
    if (isManifestType(content.descriptor.mediaType)) return this.#pushManifest(content, options);
    return pushBlob(this.#endpoint, content, this.#mountable(content), this.#upload, options);
  }

  /** The referrers that the registry itself lists; undefined where it has no referrers API. distribution-spec v1.1.1, "Listing Referrers". */
  presentReferrers(subject: Descriptor, options: Abortable = {}): Promise<readonly Descriptor[] | undefined> {
    return this.#referrers.listedIfOffered(subject.digest, { ...options, early: true });
  }

  /** How {@link push} would make content present, if the registry mounts what it can. Sends one HEAD. */
  async foresee(content: Content, options: Abortable = {}): Promise<Presence> {
    if (!isManifestType(content.descriptor.mediaType))
      return foreseeBlobPush(this.#endpoint, content, this.#mountable(content), options);
    return (await this.#manifests.has(content.descriptor, "push", options)) ? "present" : "written";
  }

  /** Lets a tag stand for a manifest that is present. Fails with `NOT_FOUND` where it is not, and with `CONFLICT` or `DENIED` where the registry keeps tags as they are. */
  tag(reference: string, descriptor: Descriptor, options: Abortable = {}): Promise<void> {
    return this.#manifests.tag(reference, descriptor, options);
  }

  /**
   * Deletes a tag and nothing else. Fails with `NOT_FOUND`, and with `UNSUPPORTED` where the registry refuses.
   * distribution-spec v1.1.1, "Deleting tags".
   */
  untag(reference: string, options: Abortable = {}): Promise<void> {
    return this.#manifests.untag(reference, options);
  }

  /**
   * Finds out what the repository supports: with a handful of requests that store nothing, or with `write` by storing small
   * things and removing them again. Answers are remembered for a day. Fails where the registry cannot be reached.
   */
  probe(options: ProbeOptions = {}): Promise<ProbeReport> {
    return probeRepository(this.#endpoint, this.#referrers, options);
  }

  /**
   * Fails where nothing may be pushed here, with the registry's reason: `UNAUTHORIZED`, `DENIED`, `NOT_FOUND`, `UNSUPPORTED`.
   * Stores nothing: an upload is opened and cancelled.
   */
  async checkPush(options: Abortable = {}): Promise<void> {
    const opened = await openUpload(this.#endpoint, options);
    if (opened.upload === undefined && opened.answer === undefined) throw opened.error;
    if (opened.upload !== undefined) await cancelUpload(this.#endpoint, opened.upload);
  }

  /**
   * Moves referrers from the lists that clients kept under tags to the referrers API, which the registry has got since: what the API
   * does not list is pushed again, byte for byte, and with `prune` the tag goes when nothing on its list is missing. What was not
   * moved is in the report, and its tag stays. Fails with `UNSUPPORTED` where there is no referrers API. distribution-spec v1.1.1,
   * "Enabling the Referrers API".
   */
  reconcile(options: RepositoryReconcileOptions = {}): Promise<RepositoryReconcileReport> {
    return reconcileRepository(this.#endpoint, this.#manifests, this.#referrers, options);
  }

  /** Closes the client this repository was made by, and with it all other repositories of that client. */
  close(): Promise<void> {
    return this.#owner.close();
  }

  /** The name of the repository the content can be mounted from, where it comes from one on the same registry. */
  #mountable({ origin }: Content): string | undefined {
    if (!(origin instanceof Repository) || origin.#endpoint.registry.url.href !== this.#endpoint.registry.url.href)
      return undefined;
    const { repository } = origin.#endpoint;
    return repository === this.#endpoint.repository ? undefined : repository;
  }

  async #pushManifest(content: Content, options: PushOptions): Promise<Presence> {
    const { descriptor } = content;
    if (options.found ?? (await this.#manifests.has(descriptor, "push", options))) {
      await this.#ensurePresentReferrer(descriptor, options);
      return "present";
    }
    if (descriptor.size > MAXIMUM_MANIFEST_SIZE) {
      throw new OciError(
        "LIMIT",
        `${formatDescriptor(descriptor)} is larger than the ${MAXIMUM_MANIFEST_SIZE} bytes a manifest may have`,
      );
    }
    const bytes = await collect(verified(content.open(), descriptor), MAXIMUM_MANIFEST_SIZE);
    const manifest = manifestWithSubject(bytes, descriptor);
    const { digest, mediaType } = descriptor;
    if (manifest?.subject === undefined)
      await this.#manifests.put(digest, bytes, mediaType, { signal: options.signal, digest });
    else {
      const { answer, kept } = this.#puts.put(descriptor, bytes, manifest.subject.digest, options);
      await this.#list(descriptor, manifest, (await answer).header("oci-subject")?.trim(), { ...options, kept });
    }
    options.onBytes?.(bytes.byteLength);
    return "written";
  }

  /** A manifest that is present may still be missing on the list of its subject: the push that brought it may not have got that far. */
  async #ensurePresentReferrer(descriptor: Descriptor, options: PushOptions): Promise<void> {
    if (await this.#referrers.offered(options)) return;
    const manifest = manifestWithSubject(await this.#manifests.bytes(descriptor, options), descriptor);
    if (manifest !== undefined) await this.#list(descriptor, manifest, undefined, options);
  }

  /** Sees to it that a referrer is listed; the caller may wait for many of them together. */
  async #list(
    descriptor: Descriptor,
    manifest: Manifest,
    told: string | undefined,
    { signal, later, kept }: PushOptions & { readonly kept?: Promise<void> },
  ): Promise<void> {
    const listed = Promise.all([kept, this.#referrers.ensure(descriptor, manifest, told, { signal })]).then(() => {});
    if (later === undefined) await listed;
    else later(listed);
  }
}

/** The manifest, if it has a subject. One without is not looked at closer: whether it is acceptable is for the registry to say. */
function manifestWithSubject(bytes: Uint8Array, descriptor: Descriptor): Manifest | undefined {
  const where = formatDescriptor(descriptor);
  const { subject } = parseJsonObject(bytes, where);
  return subject === undefined || subject === null ? undefined : parseManifest(bytes, descriptor.mediaType, where);
}
