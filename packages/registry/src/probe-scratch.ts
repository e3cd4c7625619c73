import { randomBytes } from "node:crypto";
import {
  type Abortable,
  type Descriptor,
  type Digest,
  type DigestAlgorithm,
  digestOf,
  encodeJson,
  type JsonObject,
  mediaTypes,
} from "@stowage/layout";
import { declaredDigest, type Endpoint } from "./endpoint.js";
import { appendQuery } from "./http/url.js";
import {
  type Attempt,
  cancelUpload,
  cookieHeader,
  type OpenedUpload,
  openUpload,
  tryOut,
  uploadOf,
} from "./probe-requests.js";

/** What a probe stores in a repository, all of it made for the occasion, and removes again. */
export class ProbeScratch {
  /** The tag that is tried out. */
  readonly tag: string = `stowage-probe-${randomBytes(8).toString("hex")}`;
  readonly #endpoint: Endpoint;
  readonly #options: Abortable;
  readonly #blobs = new Map<Digest, number>();
  readonly #manifests: Digest[] = [];
  #tagged = false;

  constructor(endpoint: Endpoint, options: Abortable) {
    this.#endpoint = endpoint;
    this.#options = options;
  }

  /** Bytes that nobody else has. */
  static bytes(): Uint8Array {
    return encodeJson({ probe: randomBytes(16).toString("hex") });
  }

  /** Takes note of a blob that was stored, to remove it. */
  stored(digest: Digest, size: number): void {
    this.#blobs.set(digest, size);
  }

  /** Pushes bytes as a blob in one piece. */
  async blob(
    bytes: Uint8Array,
    mediaType: string,
    algorithm: DigestAlgorithm = "sha256",
  ): Promise<{ readonly attempt: Attempt; readonly descriptor: Descriptor }> {
    const descriptor = { mediaType, digest: digestOf(bytes, algorithm), size: bytes.byteLength };
    const opened = await openUpload(this.#endpoint, this.#options);
    if (opened.upload?.location === undefined) return { attempt: opened, descriptor };
    return { attempt: await this.#send(opened.upload, opened.upload.location, bytes, descriptor), descriptor };
  }

  /** Asks for a blob to be mounted, and pushes it in the upload that the registry opens instead. */
  async blobAfterMount(bytes: Uint8Array, mediaType: string): Promise<Attempt | "mounted"> {
    const descriptor = { mediaType, digest: digestOf(bytes), size: bytes.byteLength };
    const { attempt, upload } = await this.mount(descriptor.digest);
    if (attempt.answer === undefined) return attempt;
    if (upload?.location === undefined) return "mounted";
    return this.#send(upload, upload.location, bytes, descriptor);
  }

  /** Asks for a blob to be mounted, from wherever it is where no repository is named; `upload` is what was opened instead. */
  async mount(
    digest: Digest,
    from?: string,
  ): Promise<{ readonly attempt: Attempt; readonly upload: OpenedUpload | undefined }> {
    const attempt = await tryOut(this.#endpoint, {
      action: `cannot mount a blob in ${this.#endpoint.name}`,
      method: "POST",
      at: `blobs/uploads/?mount=${digest}${from === undefined ? "" : `&from=${encodeURIComponent(from)}`}`,
      needs: "push",
      accept: [201, 202],
      signal: this.#options.signal,
    });
    return { attempt, upload: attempt.answer?.status === 202 ? uploadOf(attempt.answer) : undefined };
  }

  async #send(upload: OpenedUpload, location: URL, bytes: Uint8Array, { digest, size }: Descriptor): Promise<Attempt> {
    const attempt = await tryOut(this.#endpoint, {
      action: `cannot push a blob to ${this.#endpoint.name}`,
      method: "PUT",
      at: appendQuery(location, "digest", digest),
      needs: "push",
      accept: [200, 201, 204],
      headers: { "content-type": mediaTypes.octetStream, ...cookieHeader(upload) },
      body: bytes,
      signal: this.#options.signal,
    });
    if (attempt.answer !== undefined) this.stored(digest, size);
    else await cancelUpload(this.#endpoint, upload);
    return attempt;
  }

  /** Pushes the blob `{}`, which is not removed again: others may rest on it by then. */
  async emptyBlob(bytes: Uint8Array): Promise<{ readonly attempt: Attempt }> {
    const { attempt, descriptor } = await this.blob(bytes, mediaTypes.empty);
    this.#blobs.delete(descriptor.digest);
    return { attempt };
  }

  /** Pushes a manifest under its digest, or under the tag. */
  async manifest(
    value: JsonObject,
    how: { readonly algorithm?: DigestAlgorithm; readonly tagged?: boolean } = {},
  ): Promise<{ readonly attempt: Attempt; readonly descriptor: Descriptor }> {
    const bytes = encodeJson({ schemaVersion: 2, mediaType: mediaTypes.manifest, ...value });
    const digest = digestOf(bytes, how.algorithm);
    const attempt = await tryOut(this.#endpoint, {
      action: `cannot push a manifest to ${this.#endpoint.name}`,
      method: "PUT",
      at: `manifests/${how.tagged === true ? this.tag : digest}`,
      needs: "push",
      accept: [200, 201, 202],
      headers: { "content-type": mediaTypes.manifest },
      body: bytes,
      signal: this.#options.signal,
    });
    if (attempt.answer !== undefined) {
      // A registry may take it and know it only by a digest of its own choice.
      this.#manifests.push(...new Set([digest, declaredDigest(attempt.answer) ?? digest]));
      this.#tagged ||= how.tagged === true;
    }
    return { attempt, descriptor: { mediaType: mediaTypes.manifest, digest, size: bytes.byteLength } };
  }

  /** Deletes a manifest of the probe. */
  async deleteManifest(digest: Digest): Promise<Attempt> {
    const attempt = await this.#delete(`manifests/${digest}`);
    const at = this.#manifests.indexOf(digest);
    if (attempt.answer !== undefined && at >= 0) this.#manifests.splice(at, 1);
    return attempt;
  }

  /** Deletes the tag of the probe, and nothing else. */
  async deleteTag(): Promise<Attempt> {
    const attempt = await this.#delete(`manifests/${this.tag}`);
    if (attempt.answer !== undefined) this.#tagged = false;
    return attempt;
  }

  /** Removes all that is left, in an order in which nothing is removed that something else rests on. Says what stays, and how blobs fared. */
  async clear(): Promise<{ readonly leftBehind: readonly string[]; readonly blobs: Attempt | undefined }> {
    const leftBehind: string[] = [];
    if (this.#tagged) await this.deleteTag();
    for (const digest of [...new Set(this.#manifests)].reverse()) {
      const { answer, refusal } = await this.#delete(`manifests/${digest}`);
      // With the last manifest its tags go as well.
      if (answer === undefined && !refusal?.startsWith("404")) leftBehind.push(`the manifest ${digest} (${refusal})`);
      else this.#tagged &&= leftBehind.length > 0;
    }
    if (this.#tagged) leftBehind.push(`the tag ${this.tag}`);
    let blobs: Attempt | undefined;
    for (const [digest, size] of this.#blobs) {
      const attempt = await this.#delete(`blobs/${digest}`);
      blobs ??= attempt;
      if (attempt.answer === undefined && !attempt.refusal.startsWith("404"))
        leftBehind.push(`the blob ${digest} (${size} bytes; ${attempt.refusal})`);
    }
    return { leftBehind, blobs };
  }

  #delete(at: string): Promise<Attempt> {
    return tryOut(this.#endpoint, {
      action: `cannot delete ${at} from ${this.#endpoint.name}`,
      method: "DELETE",
      at,
      needs: "delete",
      accept: [200, 202, 204],
      // Also where the caller has given up: what was stored is to be removed.
      signal: this.#options.signal?.aborted === false ? this.#options.signal : AbortSignal.timeout(10_000),
    });
  }
}
