import {
  type Abortable,
  acceptedManifestTypes,
  collect,
  type Descriptor,
  type Digest,
  descriptorOf,
  digestAlgorithm,
  digestOf,
  type FetchOptions,
  formatDescriptor,
  Hasher,
  isDigest,
  isManifestType,
  isTag,
  isVerifiable,
  MAXIMUM_MANIFEST_SIZE,
  OciError,
  PORTABLE_MANIFEST_SIZE,
  parseJsonObject,
  sniffManifestType,
  verified,
} from "@stowage/layout";
import { ByteCache } from "./byte-cache.js";
import { checkDeclaredDigest, declaredDigest, type Endpoint } from "./endpoint.js";
import type { Answer } from "./http/answer.js";
import { hasStatus } from "./registry-error.js";
import { whileUnknown } from "./while-unknown.js";

const ACCEPT = acceptedManifestTypes.join(", ");

/** The options of {@link Manifests.put}. */
export interface PutOptions extends Abortable {
  /** Replace only what has this ETag. */
  readonly etag?: string | undefined;
  /** The digest of the bytes. Default: their SHA-256. */
  readonly digest?: Digest;
  /** Do not send it again where it fails for a while. */
  readonly once?: boolean;
  /** As of a {@link Request}. */
  readonly lane?: number | undefined;
}

/** The manifests of one repository. Bytes that were sent or fetched are kept for a while, to be tagged or read again. */
export class Manifests {
  readonly #endpoint: Endpoint;
  readonly #cache = new ByteCache(16 * 1024 * 1024);

  constructor(endpoint: Endpoint) {
    this.#endpoint = endpoint;
  }

  /**
   * What a tag or digest stands for. HEAD suffices where the registry tells type, size and digest; otherwise the manifest is
   * read and hashed. distribution-spec v1.1.1, "Pulling manifests".
   */
  async resolve(reference: string, options: Abortable = {}): Promise<Descriptor> {
    if (!isTag(reference) && !isDigest(reference)) {
      throw new OciError("INVALID", `${JSON.stringify(reference.slice(0, 200))} is neither a tag nor a digest`);
    }
    const action = `cannot resolve ${this.#endpoint.name}${isDigest(reference) ? "@" : ":"}${reference}`;
    const head = await this.#ask(action, "HEAD", reference, options);
    const told = head === undefined ? undefined : fromHeaders(head, reference, action);
    return told ?? (await this.#read(action, reference, options));
  }

  /** HEAD; undefined where it failed in a way that a GET would explain. */
  async #ask(
    action: string,
    method: "HEAD" | "GET",
    reference: string,
    options: Abortable,
  ): Promise<Answer | undefined> {
    try {
      const answer = await this.#endpoint.send({
        action,
        method,
        at: `manifests/${reference}`,
        needs: "pull",
        accept: [200],
        headers: { accept: ACCEPT },
        signal: options.signal,
      });
      if (method === "HEAD") await answer.discard();
      return answer;
    } catch (error) {
      if (method === "HEAD" && hasStatus(error, 400, 403, 405, 406, 415, 500, 501)) return undefined;
      throw error;
    }
  }

  async #read(action: string, reference: string, options: Abortable): Promise<Descriptor> {
    const answer = (await this.#ask(action, "GET", reference, options)) as Answer;
    const bytes = await answer.bytes(MAXIMUM_MANIFEST_SIZE, `the manifest ${reference} from ${this.#endpoint.name}`);
    const declared = declaredDigest(answer);
    const wanted = isDigest(reference)
      ? reference
      : declared !== undefined && isVerifiable(declared)
        ? declared
        : undefined;
    const hasher = wanted === undefined ? new Hasher() : Hasher.for(wanted);
    hasher.update(bytes);
    const digest = hasher.digest();
    if (wanted !== undefined && wanted !== digest) {
      throw new OciError("MISMATCH", `${action}: ${answer.url.host} sent ${digest} as ${wanted}`, {
        hint: "The content was damaged or replaced on the way.",
      });
    }
    const descriptor = { mediaType: typeOf(answer, bytes, action), digest, size: bytes.byteLength };
    this.#cache.put(digest, bytes);
    return descriptor;
  }

  /** The bytes of a manifest, verified. */
  async *fetch(descriptor: Descriptor, options: FetchOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    const bytes = await this.bytes(descriptor, options);
    yield options.from === undefined ? bytes : bytes.subarray(options.from);
  }

  /** All bytes of a manifest, verified. Fails with `LIMIT` where it is declared larger than what is read at once. */
  async bytes(descriptor: Descriptor, options: Abortable = {}): Promise<Uint8Array> {
    options.signal?.throwIfAborted();
    const kept = this.#cache.get(descriptor.digest);
    if (kept !== undefined && kept.byteLength === descriptor.size) return kept;
    const action = `cannot fetch ${formatDescriptor(descriptor)} from ${this.#endpoint.name}`;
    if (descriptor.size > MAXIMUM_MANIFEST_SIZE) {
      throw new OciError("LIMIT", `${action}: manifests of more than ${MAXIMUM_MANIFEST_SIZE} bytes are not read`);
    }
    const answer = await this.#endpoint.send({
      action,
      method: "GET",
      at: `manifests/${descriptor.digest}`,
      needs: "pull",
      accept: [200],
      headers: {
        accept: [descriptor.mediaType, ...acceptedManifestTypes.filter((type) => type !== descriptor.mediaType)].join(
          ", ",
        ),
      },
      signal: options.signal,
    });
    const where = `${formatDescriptor(descriptor)} from ${this.#endpoint.name}`;
    const bytes = await collect(verified(answer.stream(), descriptor, where), MAXIMUM_MANIFEST_SIZE);
    this.#cache.put(descriptor.digest, bytes);
    return bytes;
  }

  /** Keeps the verified bytes of a manifest that came in another way. */
  keep(digest: Digest, bytes: Uint8Array): void {
    this.#cache.put(digest, bytes);
  }

  /**
   * The manifest a tag stands for, with the mark of its version for a conditional PUT; undefined where the tag is not there. Fails
   * with `INVALID` where a web page comes instead.
   */
  async read(
    tag: string,
    options: Abortable & { readonly once?: boolean } = {},
  ): Promise<{ bytes: Uint8Array; mediaType: string | undefined; etag: string | undefined } | undefined> {
    const answer = await this.#endpoint.send({
      action: `cannot read ${this.#endpoint.name}:${tag}`,
      method: "GET",
      at: `manifests/${tag}`,
      needs: "pull",
      accept: [200, 404],
      headers: { accept: ACCEPT },
      once: options.once ?? false,
      signal: options.signal,
    });
    if (answer.status === 404) {
      await answer.discard();
      return undefined;
    }
    if (answer.mediaType === "text/html") {
      await answer.discard();
      throw new OciError("INVALID", `cannot read ${this.#endpoint.name}:${tag}: ${answer.url.host} sent a web page`);
    }
    const bytes = await answer.bytes(MAXIMUM_MANIFEST_SIZE, `${this.#endpoint.name}:${tag}`);
    return { bytes, mediaType: answer.mediaType, etag: answer.header("etag") };
  }

  /** True if the repository has the manifest with the declared size. */
  async has(descriptor: Descriptor, needs: "pull" | "push", options: Abortable = {}): Promise<boolean> {
    const answer = await this.#endpoint.send({
      action: `cannot look for ${formatDescriptor(descriptor)} in ${this.#endpoint.name}`,
      method: "HEAD",
      at: `manifests/${descriptor.digest}`,
      needs,
      accept: [200, 404],
      headers: {
        accept: [descriptor.mediaType, ...acceptedManifestTypes.filter((type) => type !== descriptor.mediaType)].join(
          ", ",
        ),
      },
      signal: options.signal,
    });
    await answer.discard();
    return answer.status === 200 && (answer.length === undefined || answer.length === descriptor.size);
  }

  /**
   * PUTs exactly these bytes, under the digest or under a tag, and returns the answer. Fails with `MISMATCH` where the
   * registry then names another digest. A registry that does not know what the manifest points at is asked again twice: it may
   * be about to know. distribution-spec v1.1.1, "Pushing manifests".
   */
  async put(reference: string, bytes: Uint8Array, mediaType: string, options: PutOptions = {}): Promise<Answer> {
    const digest = options.digest ?? descriptorOf(bytes, mediaType).digest;
    const action = `cannot push the manifest ${reference === digest ? digest : `${digest} as ${reference}`} to ${this.#endpoint.name}`;
    const send = (): Promise<Answer> =>
      this.#endpoint.send({
        action,
        method: "PUT",
        at: `manifests/${reference}`,
        needs: "push",
        accept: [200, 201, 202],
        headers: { "content-type": mediaType, ...(options.etag === undefined ? {} : { "if-match": options.etag }) },
        body: bytes,
        lane: options.lane,
        once: options.once ?? false,
        signal: options.signal,
      });
    let answer: Answer;
    try {
      answer = await (options.once === true ? send() : whileUnknown(send, options.signal));
    } catch (error) {
      // Docker's registry calls it invalid, and not why.
      if (bytes.byteLength <= PORTABLE_MANIFEST_SIZE || !hasStatus(error, 400, 413)) throw error;
      throw new OciError("LIMIT", `${action}: the registry does not take its ${bytes.byteLength} bytes`, {
        hint: "Registries rarely take manifests of more than 4 MiB. Split what it lists, or shorten its annotations.",
        cause: error,
      });
    }
    await answer.discard();
    checkDeclaredDigest(answer, digest, action);
    this.#cache.put(digest, bytes);
    return answer;
  }

  /**
   * Lets a tag stand for a manifest that is present. The bytes are those kept from pushing or fetching it, or are fetched. A
   * registry that refuses to write a tag again is satisfied where the tag stands for the manifest already.
   */
  async tag(tag: string, descriptor: Descriptor, options: Abortable = {}): Promise<void> {
    if (!isTag(tag)) throw new OciError("INVALID", `${JSON.stringify(tag.slice(0, 200))} is no tag`);
    if (!isManifestType(descriptor.mediaType)) {
      throw new OciError("INVALID", `cannot tag ${formatDescriptor(descriptor)}: a registry tags manifests only`);
    }
    const bytes = await this.bytes(descriptor, options);
    if (digestAlgorithm(descriptor.digest) !== "sha256" && (await this.#tagByDigest(tag, descriptor, bytes, options)))
      return;
    // Under a tag a registry hashes with sha256, whatever the content was pushed with.
    const digest = digestOf(bytes);
    try {
      await this.put(tag, bytes, descriptor.mediaType, { signal: options.signal, digest });
    } catch (error) {
      if (!hasStatus(error, 400, 403, 405, 409, 412)) throw error;
      const current = await this.resolve(tag, options).catch(() => undefined);
      if (current?.digest !== descriptor.digest) throw error;
    }
  }

  /** Sets the tag along with pushing the manifest by its digest. False where the registry does not know of that. distribution-spec (after v1.1.1), "Pushing manifests". */
  async #tagByDigest(
    tag: string,
    { digest, mediaType }: Descriptor,
    bytes: Uint8Array,
    { signal }: Abortable,
  ): Promise<boolean> {
    const answer = await this.put(`${digest}?tag=${tag}`, bytes, mediaType, { signal, digest });
    return answer.headers("oci-tag").some((value) => value.split(",").some((one) => one.trim() === tag));
  }

  /** Deletes a tag and nothing else. Fails with `NOT_FOUND`, and with `UNSUPPORTED` where the registry does not do that. */
  async untag(tag: string, options: Abortable = {}): Promise<void> {
    if (!isTag(tag)) throw new OciError("INVALID", `${JSON.stringify(tag.slice(0, 200))} is no tag`);
    const action = `cannot delete the tag ${this.#endpoint.name}:${tag}`;
    try {
      const answer = await this.#endpoint.send({
        action,
        method: "DELETE",
        at: `manifests/${tag}`,
        needs: "delete",
        accept: [200, 202, 204],
        signal: options.signal,
      });
      await answer.discard();
    } catch (error) {
      if (!hasStatus(error, 400, 405)) throw error;
      throw new OciError("UNSUPPORTED", `${action}: the registry does not delete tags`, {
        hint: "Deleting the manifest instead would delete all its tags, so that is not done.",
        cause: error,
      });
    }
  }
}

/** The descriptor that the headers of an answer to HEAD tell; undefined where they do not tell enough. */
function fromHeaders(head: Answer, reference: string, action: string): Descriptor | undefined {
  const { mediaType, length } = head;
  if (isDigest(reference)) checkDeclaredDigest(head, reference, action);
  const digest = isDigest(reference) ? reference : declaredDigest(head);
  if (
    digest === undefined ||
    length === undefined ||
    length === 0 ||
    mediaType === undefined ||
    !isManifestType(mediaType)
  )
    return undefined;
  return { mediaType, digest, size: length };
}

/** The type of a manifest that was read: what it says itself, which the header may not contradict. */
function typeOf(answer: Answer, bytes: Uint8Array, action: string): string {
  const sniffed = sniffManifestType(parseJsonObject(bytes, `the manifest from ${answer.url.host}`));
  const declared = answer.mediaType;
  if (sniffed !== undefined && declared !== undefined && isManifestType(declared) && declared !== sniffed) {
    throw new OciError("INVALID", `${action}: ${answer.url.host} calls it ${declared}, it calls itself ${sniffed}`);
  }
  const type = sniffed ?? (declared !== undefined && isManifestType(declared) ? declared : undefined);
  if (type !== undefined) return type;
  throw new OciError(
    "UNSUPPORTED",
    `${action}: it is ${declared ?? "of unknown type"}, which is no OCI or Docker manifest`,
    {
      hint: declared?.includes("manifest.v1+")
        ? "It is an image of Docker schema 1. Push it again with a current tool."
        : undefined,
    },
  );
}
