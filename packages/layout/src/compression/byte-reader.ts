import type { Abortable, Bytes } from "../content.js";
import { OciError } from "../model/errors.js";

/** A stream that can be read by the number of bytes. What it gives are parts of the chunks it got, where they reach. */
export class ByteReader {
  /** How many bytes were given out. */
  position = 0;
  readonly #chunks: AsyncIterator<Uint8Array> | Iterator<Uint8Array>;
  readonly #what: string;
  readonly #signal: AbortSignal | undefined;
  #chunk: Buffer = Buffer.alloc(0);

  constructor(bytes: Bytes, what: string, { signal }: Abortable) {
    this.#chunks = Symbol.asyncIterator in bytes ? bytes[Symbol.asyncIterator]() : bytes[Symbol.iterator]();
    this.#what = what;
    this.#signal = signal;
  }

  /** Makes sure that there is a byte; false at the end. */
  async fill(): Promise<boolean> {
    while (this.#chunk.byteLength === 0) {
      this.#signal?.throwIfAborted();
      const next = await this.#chunks.next();
      if (next.done === true) return false;
      this.#chunk = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength);
    }
    return true;
  }

  /** The next `size` bytes in one piece. Fails with `INVALID` where there are fewer. */
  async take(size: number): Promise<Buffer> {
    if (this.#chunk.byteLength >= size) return this.#give(size);
    const parts: Buffer[] = [];
    for await (const part of this.until(this.position + size)) parts.push(part);
    return Buffer.concat(parts, size);
  }

  /** The bytes up to a position. Fails with `INVALID` where the stream ends before it. */
  async *until(end: number): AsyncGenerator<Buffer, void, undefined> {
    while (this.position < end) {
      if (!(await this.fill())) throw new OciError("INVALID", `${this.#what} ends too early`);
      yield this.#give(Math.min(end - this.position, this.#chunk.byteLength));
    }
  }

  /** Passes over `size` bytes. Fails with `INVALID` where there are fewer. */
  async skip(size: number): Promise<void> {
    for await (const _ of this.until(this.position + size));
  }

  /** Passes over `size` bytes, or those there are. */
  async skipAny(size: number): Promise<void> {
    const end = this.position + size;
    while (this.position < end && (await this.fill()))
      this.#give(Math.min(end - this.position, this.#chunk.byteLength));
  }

  /** Forgets the chunk at hand. */
  drop(): void {
    this.#give(this.#chunk.byteLength);
  }

  /** Gives the stream up. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }

  #give(size: number): Buffer {
    const part = this.#chunk.subarray(0, size);
    this.#chunk = this.#chunk.subarray(size);
    this.position += size;
    return part;
  }
}
