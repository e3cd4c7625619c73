import { randomUUID } from "node:crypto";
import {
  type Bytes,
  type Descriptor,
  type Digest,
  type DigestAlgorithm,
  digestAlgorithm,
  Hasher,
  mediaTypes,
  OciError,
} from "@stowage/layout";
import { Refusal } from "./errors.js";
import type { Limits } from "./limits.js";
import type { Repository, Store } from "./store.js";
import { keepUploadRecords, takeUploadRecords, type UploadRecord } from "./upload-records.js";

/** A part of an upload on its way into the store, and what to tell whoever brought it. */
interface Part {
  readonly body: Bytes;
  readonly taken: () => void;
  readonly failed: (reason: unknown) => void;
}

/**
 * A blob that arrives in parts, before anybody has said what its digest is. All parts go into the store as one stream
 * which stays open between them: the content is written once and is never held in memory.
 */
export class Upload {
  readonly id: string;
  readonly repositoryName: string;
  /** The bytes that have arrived. */
  size = 0;
  #busy = false;
  #last: number;
  readonly #repository: Repository;
  readonly #hasher: Hasher;
  readonly #limit: number;
  readonly #abort = new AbortController();
  /** What arrived at an earlier server, and goes into the stream first. */
  readonly #before: Descriptor | undefined;
  #expected: Digest | undefined;
  #stored: Promise<Descriptor> | undefined;
  #give: (part: Part | undefined) => void = () => {};
  #giveUp: (reason: unknown) => void = () => {};

  constructor(
    repositoryName: string,
    repository: Repository,
    algorithm: DigestAlgorithm,
    limit: number,
    record?: UploadRecord,
  ) {
    this.id = record?.id ?? randomUUID();
    this.#before = record?.part;
    this.size = record?.part?.size ?? 0;
    this.repositoryName = repositoryName;
    this.#repository = repository;
    this.#hasher = new Hasher(algorithm);
    this.#limit = limit;
    this.#last = record?.last ?? Date.now();
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
    const next = this.#stored === undefined ? this.#start() : this.#give;
    this.#busy = true;
    try {
      await Promise.race([
        new Promise<void>((taken, failed) => next({ body, taken, failed })),
        // The store gives up before the part is through: its reason is the one to report.
        this.#stored?.then(() => {}),
      ]);
    } finally {
      this.#busy = false;
      this.#last = Date.now();
    }
  }

  /** Ends it. Fails with `MISMATCH`, and nothing is stored, where the content does not have the digest. */
  async finish(digest: Digest): Promise<void> {
    if (this.#stored === undefined) await this.append([]);
    this.#expected = digest;
    this.#busy = true;
    this.#give(undefined);
    const stored = (await this.#stored) as Descriptor;
    if (stored.digest === digest) return;
    // The client counted with another algorithm than it had announced: the content goes under that name too.
    const descriptor = { ...stored, digest };
    await this.#repository.push({ descriptor, open: () => this.#repository.fetch(stored) });
  }

  /** Ends the stream as it is, and says how another server can go on with it. What has arrived is a blob until a collection. */
  async suspend(): Promise<UploadRecord> {
    const record = {
      id: this.id,
      repository: this.repositoryName,
      algorithm: this.#hasher.algorithm,
      last: this.#last,
    };
    if (this.#stored === undefined) return { ...record, part: this.#before };
    this.#give(undefined);
    return { ...record, part: await this.#stored };
  }

  /** Gives it up; nothing stays behind. */
  async cancel(): Promise<void> {
    const reason = new OciError("CONFLICT", "the upload was cancelled");
    this.#abort.abort(reason);
    this.#giveUp(reason);
    await this.#stored?.catch(() => {});
  }

  /** Opens the stream into the store and returns how to give it its first part. */
  #start(): (part: Part | undefined) => void {
    const first = this.#nextPart();
    const give = this.#give;
    this.#stored = this.#repository.write(this.#bytes(first), mediaTypes.octetStream, {
      algorithm: this.#hasher.algorithm,
      signal: this.#abort.signal,
    });
    this.#stored.catch(() => {});
    return give;
  }

  #nextPart(): Promise<Part | undefined> {
    const next = new Promise<Part | undefined>((give, giveUp) => {
      this.#give = give;
      this.#giveUp = giveUp;
    });
    next.catch(() => {});
    return next;
  }

  async *#bytes(first: Promise<Part | undefined>): AsyncGenerator<Uint8Array, void, undefined> {
    if (this.#before !== undefined) {
      for await (const chunk of this.#repository.fetch(this.#before, { signal: this.#abort.signal })) {
        this.#hasher.update(chunk);
        yield chunk;
      }
    }
    for (let part = await first; part !== undefined; ) {
      const next = this.#nextPart();
      try {
        for await (const chunk of part.body) {
          this.#abort.signal.throwIfAborted();
          if (this.size + chunk.byteLength > this.#limit) throw tooLarge(this.#limit);
          this.size += chunk.byteLength;
          this.#hasher.update(chunk);
          yield chunk;
        }
        part.taken();
      } catch (error) {
        if (this.#abort.signal.aborted) throw error;
        part.failed(error);
      }
      part = await next;
    }
    this.#verify();
  }

  #verify(): void {
    const expected = this.#expected;
    if (expected === undefined || digestAlgorithm(expected) !== this.#hasher.algorithm) return;
    const digest = this.#hasher.digest();
    if (digest !== expected) throw new OciError("MISMATCH", `the content has the digest ${digest}, not ${expected}`);
  }
}

/** The refusal of a blob with more than `limit` bytes. */
export function tooLarge(limit: number): Refusal {
  return new Refusal(413, "SIZE_INVALID", `a blob may have ${limit} bytes`);
}

/** The uploads that are open. One that nobody adds to any more is given up after a while. */
export class Uploads {
  readonly #limits: Limits;
  readonly #open = new Map<string, Upload>();
  readonly #sweeper: NodeJS.Timeout;

  constructor(limits: Limits) {
    this.#limits = limits;
    this.#sweeper = setInterval(() => this.#sweep(), Math.max(limits.uploadIdle / 4, 10));
    this.#sweeper.unref();
  }

  /** Opens one. Refuses with 429 where too many are open. */
  open(name: string, repository: Repository, algorithm: DigestAlgorithm): Upload {
    if (this.#open.size >= this.#limits.uploads) {
      throw new Refusal(429, "TOOMANYREQUESTS", "too many uploads are open", { "Retry-After": "10" });
    }
    const upload = new Upload(name, repository, algorithm, this.#limits.blobSize);
    this.#open.set(upload.id, upload);
    return upload;
  }

  /** The upload with this id in this repository, or a refusal with 404. */
  get(name: string, id: string): Upload {
    const upload = this.#open.get(id);
    if (upload?.repositoryName === name) return upload;
    throw new Refusal(404, "BLOB_UPLOAD_UNKNOWN", "there is no such upload; it may have been given up after a pause");
  }

  /** How many are open. */
  get count(): number {
    return this.#open.size;
  }

  /** Forgets one that has come to its end. */
  remove(upload: Upload): void {
    this.#open.delete(upload.id);
  }

  /** Goes on with those that an earlier server has left, as long as they have not been idle for too long. */
  async restore(store: Store): Promise<void> {
    if (store.uploadsFile === undefined) return;
    for (const record of await takeUploadRecords(store.uploadsFile)) {
      const isOld = Date.now() - record.last > this.#limits.uploadIdle;
      if (isOld || this.#open.size >= this.#limits.uploads) continue;
      const repository = await store.repository(record.repository, { create: true }).catch(() => undefined);
      if (repository === undefined) continue;
      const { id, algorithm } = record;
      this.#open.set(id, new Upload(record.repository, repository, algorithm, this.#limits.blobSize, record));
    }
  }

  /** Leaves all of them to the next server, or gives them up where the store is gone with this one. */
  async close(store: Store): Promise<void> {
    clearInterval(this.#sweeper);
    const uploads = [...this.#open.values()];
    this.#open.clear();
    const file = store.uploadsFile;
    if (file === undefined) {
      await Promise.all(uploads.map((upload) => upload.cancel()));
      return;
    }
    const suspended = await Promise.allSettled(uploads.map((upload) => upload.suspend()));
    const records = suspended.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    await keepUploadRecords(file, records);
  }

  #sweep(): void {
    for (const upload of this.#open.values()) {
      if (upload.idle < this.#limits.uploadIdle) continue;
      this.#open.delete(upload.id);
      void upload.cancel();
    }
  }
}
