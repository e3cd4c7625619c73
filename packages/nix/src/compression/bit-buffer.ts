import type { Bytes } from "@stowage/layout";

/** Bits from a stream, the highest of each byte first. What is to be read at once has to be filled in before. */
export class BitBuffer {
  readonly #chunks: AsyncIterator<Uint8Array> | Iterator<Uint8Array>;
  readonly #fail: (problem: string) => never;
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;
  #ended = false;
  /** Bits that were taken from the bytes and not given out: the lowest `#count` of `#held`. */
  #held = 0;
  #count = 0;

  constructor(bytes: Bytes, fail: (problem: string) => never) {
    this.#chunks = Symbol.asyncIterator in bytes ? bytes[Symbol.asyncIterator]() : bytes[Symbol.iterator]();
    this.#fail = fail;
  }

  /** Has so many bytes at hand, or all that there are. */
  async fill(size: number): Promise<void> {
    if (this.#bytes.byteLength - this.#at >= size) return;
    const parts: Uint8Array[] = [this.#bytes.subarray(this.#at)];
    let length = this.#bytes.byteLength - this.#at;
    while (length < size && !this.#ended) {
      const next = await this.#chunks.next();
      if (next.done === true) this.#ended = true;
      else {
        parts.push(next.value);
        length += next.value.byteLength;
      }
    }
    this.#bytes = Buffer.concat(parts);
    this.#at = 0;
  }

  /** True where there is another byte. */
  async more(): Promise<boolean> {
    await this.fill(1);
    return this.#at < this.#bytes.byteLength;
  }

  /** The next bits, at most 24, as a number. */
  bits(count: number): number {
    while (this.#count < count) {
      if (this.#at >= this.#bytes.byteLength) this.#fail("it ends too early");
      this.#held = ((this.#held << 8) | (this.#bytes[this.#at++] as number)) >>> 0;
      this.#count += 8;
    }
    this.#count -= count;
    return (this.#held >>> this.#count) & ((1 << count) - 1);
  }

  /** Passes over what is left of a byte. */
  align(): void {
    this.#count -= this.#count % 8;
  }

  fail(problem: string): never {
    return this.#fail(problem);
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}
