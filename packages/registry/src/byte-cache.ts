import type { Digest } from "@stowage/layout";

/** Verified bytes by digest, up to a total size; what was used longest ago goes first. */
export class ByteCache {
  readonly #capacity: number;
  readonly #entries = new Map<Digest, Uint8Array>();
  #size = 0;

  /** `capacity` in bytes. */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get(digest: Digest): Uint8Array | undefined {
    const bytes = this.#entries.get(digest);
    if (bytes === undefined) return undefined;
    // A map keeps the order of insertion: put it last.
    this.#entries.delete(digest);
    this.#entries.set(digest, bytes);
    return bytes;
  }

  put(digest: Digest, bytes: Uint8Array): void {
    if (this.#entries.has(digest) || bytes.byteLength > this.#capacity / 4) return;
    this.#entries.set(digest, bytes);
    this.#size += bytes.byteLength;
    for (const [oldest, { byteLength }] of this.#entries) {
      if (this.#size <= this.#capacity) break;
      this.#entries.delete(oldest);
      this.#size -= byteLength;
    }
  }
}
