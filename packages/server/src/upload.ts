import { randomUUID } from "node:crypto";
import {
  type BlobUpload,
  type BlobUploads,
  type Bytes,
  type Digest,
  type DigestAlgorithm,
  isOciError,
  isRepository,
  OciError,
} from "@stowage/layout";
import { Refusal } from "./errors.js";
import type { Limits } from "./limits.js";
import type { Repository, Store } from "./store.js";

/** A blob that arrives in parts, before anybody has said what its digest is. */
export class Upload {
  readonly id: string;
  readonly repositoryName: string;
  readonly #blob: BlobUpload;
  readonly #limit: number;
  readonly #abort = new AbortController();
  /** Settles when nothing is being added to it. */
  #running: Promise<void> = Promise.resolve();
  #busy = false;
  #last = Date.now();

  constructor(id: string, repositoryName: string, blob: BlobUpload, limit: number) {
    this.id = id;
    this.repositoryName = repositoryName;
    this.#blob = blob;
    this.#limit = limit;
  }

  /** The bytes that have arrived. */
  get size(): number {
    return this.#blob.size;
  }

  /** True while a request is adding to it. */
  get busy(): boolean {
    return this.#busy;
  }

  /** How long nothing has happened to it, in ms. */
  get idle(): number {
    return this.#busy ? 0 : Date.now() - this.#last;
  }

  /** Adds a part. Where `body` breaks off, what came before it stays and the upload goes on from there. */
  async append(body: Bytes): Promise<void> {
    this.#busy = true;
    const work = this.#blob.append(this.#limited(body), { signal: this.#abort.signal });
    this.#running = work.catch(() => {});
    try {
      await work;
    } finally {
      this.#busy = false;
      this.#last = Date.now();
    }
  }

  /** Ends it. Fails with `MISMATCH`, and nothing is stored, where the content does not have the digest. */
  finish(digest: Digest): Promise<void> {
    this.#busy = true;
    return this.#blob.commit(digest);
  }

  /** Gives it up; nothing stays behind. */
  async cancel(): Promise<void> {
    this.#abort.abort(new OciError("CONFLICT", "the upload was cancelled"));
    await this.#running;
    await this.#blob.remove();
  }

  /** Leaves it to the next server. */
  async leave(): Promise<void> {
    await this.#running;
    await this.#blob.leave();
  }

  async *#limited(body: Bytes): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of body) {
      if (this.size + chunk.byteLength > this.#limit) throw tooLarge(this.#limit);
      yield chunk;
    }
  }
}

/** The refusal of a blob with more than `limit` bytes. */
export function tooLarge(limit: number): Refusal {
  return new Refusal(413, "SIZE_INVALID", `a blob may have ${limit} bytes`);
}

/**
 * The uploads that are open. One that nobody adds to any more is given up after a while, also where the server that it was
 * begun at has ended since: what that one had is gone on with.
 */
export class Uploads {
  readonly #limits: Limits;
  readonly #open = new Map<string, Upload>();
  readonly #finding = new Map<string, Promise<Upload | undefined>>();
  readonly #closed = new AbortController();
  readonly #timers: NodeJS.Timeout[] = [];
  #expiring: Promise<void> = Promise.resolve();

  constructor(limits: Limits) {
    this.#limits = limits;
    this.#every(limits.uploadIdle / 4, () => this.#sweep());
  }

  /** Removes from the store, now and from time to time, what earlier servers have left and nobody has asked for since. */
  expireIn(store: Store, onError: (error: unknown) => void): void {
    const idle = this.#limits.uploadIdle;
    const { signal } = this.#closed;
    const expire = (): void => {
      this.#expiring = this.#expiring
        .then(() => (signal.aborted ? undefined : store.expireUploads(idle, { signal })))
        .catch((error: unknown) => (signal.aborted ? undefined : onError(error)));
    };
    expire();
    this.#every(idle, expire);
  }

  #every(time: number, work: () => void): void {
    // A timer that is set for longer would run at once.
    this.#timers.push(setInterval(work, Math.min(Math.max(time, 10), 2 ** 31 - 1)).unref());
  }

  /** Opens one. Refuses with 429 where too many are open. */
  async open(name: string, repository: Repository, algorithm: DigestAlgorithm): Promise<Upload> {
    this.#checkCount();
    const id = randomUUID();
    // It counts from here on: others may be opened while its file is made.
    const opening = repository.uploads.begin(keyOf(name, id), algorithm);
    const upload = opening.then((blob) => new Upload(id, name, blob, this.#limits.blobSize));
    this.#finding.set(id, upload);
    try {
      this.#open.set(id, await upload);
      return await upload;
    } finally {
      this.#finding.delete(id);
    }
  }

  /** The upload with this id in this repository, or a refusal with 404. */
  async get(store: Store, name: string, id: string): Promise<Upload> {
    const upload = this.#open.get(id) ?? (await this.#find(store, name, id));
    if (upload?.repositoryName === name) return upload;
    throw new Refusal(404, "BLOB_UPLOAD_UNKNOWN", "there is no such upload; it may have been given up after a pause");
  }

  /** How many are open. */
  get count(): number {
    return this.#open.size + this.#finding.size;
  }

  /** Forgets one that has come to its end. */
  remove(upload: Upload): void {
    this.#open.delete(upload.id);
  }

  /** Leaves all of them to the next server; those of a store that is gone with this one are given up. */
  async close(): Promise<void> {
    this.#closed.abort();
    for (const timer of this.#timers) clearInterval(timer);
    const uploads = [...this.#open.values()];
    this.#open.clear();
    await Promise.allSettled([...uploads.map((upload) => upload.leave()), this.#expiring]);
  }

  /** Looks for one of an earlier server. Who asks for the same one meanwhile gets the same one. */
  async #find(store: Store, name: string, id: string): Promise<Upload | undefined> {
    if (!/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id)) return undefined;
    const running = this.#finding.get(id);
    if (running !== undefined) return running;
    this.#checkCount();
    const work = this.#goOn(store, name, id);
    this.#finding.set(id, work);
    try {
      return await work;
    } finally {
      this.#finding.delete(id);
    }
  }

  async #goOn(store: Store, name: string, id: string): Promise<Upload | undefined> {
    const blob = await (await uploadsOf(store, name))?.find(keyOf(name, id), this.#limits.uploadIdle);
    if (blob === undefined) return undefined;
    // It may have nothing but uploads so far.
    await store.repository(name, { create: true });
    const upload = new Upload(id, name, blob, this.#limits.blobSize);
    this.#open.set(id, upload);
    return upload;
  }

  #checkCount(): void {
    if (this.count < this.#limits.uploads) return;
    throw new Refusal(429, "TOOMANYREQUESTS", "too many uploads are open", { "Retry-After": "10" });
  }

  #sweep(): void {
    for (const upload of this.#open.values()) {
      if (upload.idle < this.#limits.uploadIdle) continue;
      this.#open.delete(upload.id);
      void upload.cancel().catch(() => {});
    }
  }
}

/** None where there can be no such repository. */
async function uploadsOf(store: Store, name: string): Promise<BlobUploads | undefined> {
  if (!isRepository(name)) return undefined;
  try {
    return await store.uploads(name);
  } catch (error) {
    if (isOciError(error, "INVALID")) return undefined;
    throw error;
  }
}

/** Repositories may share a layout; an upload belongs to one of them. */
function keyOf(repository: string, id: string): string {
  return `${repository} ${id}`;
}
