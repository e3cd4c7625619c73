import { digestAlgorithm, type PushOptions } from "@stowage/layout";
import { hasBlob } from "./blobs.js";
import type { Endpoint } from "./endpoint.js";
import { hasStatus, RegistryError } from "./registry-error.js";
import type { Sliceable } from "./stored-content.js";
import { UploadSession } from "./upload-session.js";
import { waitAfter } from "./wait-after.js";

/** How blobs are sent. */
export interface UploadOptions {
  /**
   * `monolithic`: in one request. `chunked`: in requests of `chunkSize` bytes. `auto`, the default: in one request, and in
   * chunks where the registry refuses that, or a connection was lost and the registry has kept nothing.
   */
  readonly strategy?: "auto" | "monolithic" | "chunked" | undefined;
  /** The size of a chunk in bytes; more where the registry asks for more (OCI-Chunk-Min-Length). Default: 4 MiB, the most that GHCR takes. */
  readonly chunkSize?: number | undefined;
  /**
   * Hosts (with port) of registries that are asked to mount a blob from whichever repository has it where no repository is known
   * that does. Default: those of which a probe with `write` has found, within the last day, that they answer that as they should.
   */
  readonly anonymousMount?: readonly string[] | undefined;
  /** Where the answers of probes are remembered, see the option `cache` of a probe. */
  readonly probeCache?: string | false | undefined;
}

const DEFAULT_CHUNK_SIZE = 4 * 1024 * 1024;
/** How often a registry may refuse a chunk, or take nothing of it, before that is final. */
const MAXIMUM_REFUSALS = 3;
/** What registries answer that take no blob in one piece, or none of that size. */
const NOT_IN_ONE_PIECE = [404, 405, 411, 416, 501];

/** One blob on its way to a registry. */
export class BlobUpload {
  readonly #endpoint: Endpoint;
  readonly #content: Sliceable;
  readonly #upload: UploadOptions;
  readonly #options: PushOptions;
  #session: UploadSession | undefined;
  #chunked: boolean;
  /** How many bytes the registry has, by its own word. */
  #offset = 0;
  /** How many bytes were reported; what is sent again counts once. */
  #told = 0;
  #interrupted = false;
  /** The last try ended without an answer. */
  #lost = false;
  /** The registry was asked how far it is, and nothing has been sent since without asking. */
  #asked = false;
  /** The request that completes the upload was sent: only then can the blob be there though no answer said so. */
  #completing = false;
  /** The registry failed to close an upload without bytes, as one does: the last chunk goes with the request that closes it. */
  #closesWithBytes = false;
  /** A connection was lost and with it the session: what breaks connections may do so after a number of bytes. */
  #alone = false;

  /** `session` is one that is open already. The content is closed when {@link run} ends. */
  constructor(
    endpoint: Endpoint,
    content: Sliceable,
    session: UploadSession | undefined,
    upload: UploadOptions,
    options: PushOptions,
  ) {
    this.#endpoint = endpoint;
    this.#content = content;
    this.#session = session;
    this.#upload = upload;
    this.#options = options;
    this.#chunked = upload.strategy === "chunked";
  }

  /**
   * Sends all of it. What is lost on the way is taken up where the registry says it is; as long as that leads on, there is no end
   * to the tries. Fails with `MISMATCH` where the bytes are not what the descriptor says, with the registry's last word
   * otherwise; then the upload has been cancelled.
   */
  async run(): Promise<void> {
    const { retry } = this.#endpoint.registry;
    let best = 0;
    try {
      for (let fruitless = 0; ; ) {
        try {
          return await this.#attempt(fruitless);
        } catch (error) {
          if (!(error instanceof RegistryError && error.temporary)) throw error;
          this.#lost = error.status === undefined;
          fruitless = this.#offset > best ? 1 : fruitless + 1;
          best = Math.max(best, this.#offset);
          await waitAfter(error, fruitless, retry, this.#options.signal);
        }
      }
    } catch (error) {
      await this.#session?.cancel();
      throw error;
    } finally {
      await this.#content.close();
    }
  }

  async #attempt(fruitless: number): Promise<void> {
    const { descriptor } = this.#content;
    // What breaks every other request would break all that follow a question, so every other time there is none.
    let blind = fruitless > 1 && this.#lost && this.#asked && this.#session !== undefined;
    if (blind) this.#asked = false;
    else if (this.#interrupted && (await this.#isDone())) return;
    if (fruitless > 1 && !this.#lost && this.#completing && this.#offset === descriptor.size && descriptor.size > 0) {
      this.#closesWithBytes = true;
      await this.#startOver(true);
    }
    this.#session ??= await UploadSession.begin(this.#endpoint, descriptor, this.#options);
    this.#interrupted = true;
    for (let refusals = 0; ; ) {
      const before = this.#offset;
      try {
        return await this.#transfer(this.#session);
      } catch (error) {
        if (this.#offset > before) refusals = 0;
        else if (++refusals >= MAXIMUM_REFUSALS) throw error;
        if (this.#isTooLargeAtOnce(error)) await this.#startOver(true);
        else if (hasStatus(error, 416)) await this.#takeUp();
        else if (blind && error instanceof RegistryError && error.status !== undefined && !error.temporary) {
          blind = false;
          if (await this.#isDone()) return;
        } else throw error;
        this.#session ??= await UploadSession.begin(this.#endpoint, descriptor, this.#options);
      }
    }
  }

  /** Finds out how far the last try came. The answer to it may be all that was lost: then there is nothing left to do. */
  async #isDone(): Promise<boolean> {
    if (this.#completing && (await hasBlob(this.#endpoint, this.#content.descriptor, "push", this.#options)))
      return true;
    await this.#takeUp();
    this.#asked = true;
    return false;
  }

  async #transfer(session: UploadSession): Promise<void> {
    const { size, digest } = this.#content.descriptor;
    if (!this.#chunked && this.#offset === 0) {
      this.#completing = true;
      // Not even one byte is sent of empty content, so nobody would notice what is wrong with it.
      if (size === 0) for await (const _ of this.#content.slice(0, 1));
      return session.put(digest, size === 0 ? new Uint8Array() : this.#body(0, size), this.#options);
    }
    for (let idle = 0; this.#offset < size; ) {
      const from = this.#offset;
      const end = this.#chunked ? Math.min(size, from + this.#chunkSize(session)) : size;
      if (end === size && this.#closesWithBytes) break;
      const received = await session.patch(from, this.#body(from, end), { ...this.#options, alone: this.#alone });
      // Some registries tell the size of the chunk there. Where even the status is wrong, the next chunk is refused.
      const sure = received === end ? end : ((await session.status(this.#options)) ?? end);
      this.#offset = Math.min(sure, end);
      idle = this.#offset > from ? 0 : idle + 1;
      if (idle >= MAXIMUM_REFUSALS) throw this.#takesNothing();
    }
    this.#completing = true;
    const rest = this.#offset < size ? this.#body(this.#offset, size) : new Uint8Array();
    await session.put(digest, rest, this.#options);
  }

  #body(from: number, end: number): { size: number; open(): AsyncGenerator<Uint8Array> } {
    return { size: end - from, open: () => this.#counted(this.#content.slice(from, end), from) };
  }

  async *#counted(bytes: AsyncIterable<Uint8Array>, from: number): AsyncGenerator<Uint8Array> {
    let at = from;
    for await (const chunk of bytes) {
      yield chunk;
      at += chunk.byteLength;
      if (at <= this.#told) continue;
      this.#options.onBytes?.(at - this.#told);
      this.#told = at;
    }
  }

  #chunkSize({ minimumChunk }: UploadSession): number {
    return Math.max(this.#upload.chunkSize ?? DEFAULT_CHUNK_SIZE, minimumChunk);
  }

  /** Goes on where the registry says it is, or begins again. */
  async #takeUp(): Promise<void> {
    const { size } = this.#content.descriptor;
    const monolithic = this.#upload.strategy === "monolithic";
    const received = monolithic ? undefined : await this.#session?.status(this.#options);
    this.#alone ||= received === undefined;
    if (received !== undefined && received <= size) this.#offset = received;
    else await this.#startOver(!monolithic && size > (this.#upload.chunkSize ?? DEFAULT_CHUNK_SIZE));
  }

  async #startOver(chunked: boolean): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    this.#completing = false;
    this.#offset = 0;
    this.#chunked ||= chunked;
    await session?.cancel();
  }

  /** True for the refusal of a whole blob that may be taken in chunks. */
  #isTooLargeAtOnce(error: unknown): boolean {
    if (this.#chunked || this.#offset > 0 || (this.#upload.strategy ?? "auto") !== "auto") return false;
    const { size } = this.#content.descriptor;
    if (hasStatus(error, 413)) return size > (this.#upload.chunkSize ?? DEFAULT_CHUNK_SIZE);
    return size > 0 && hasStatus(error, ...NOT_IN_ONE_PIECE);
  }

  #takesNothing(): RegistryError {
    const { digest } = this.#content.descriptor;
    const problem = `${this.#endpoint.registry.host} takes nothing beyond byte ${this.#offset}`;
    return new RegistryError("REGISTRY", `cannot push ${digest} to ${this.#endpoint.name}: ${problem}`, {
      method: "PATCH",
      url: this.#endpoint.url(`blobs/uploads/?digest-algorithm=${digestAlgorithm(digest)}`),
    });
  }
}
