import type { Descriptor, Digest, FetchOptions, Source } from "@stowage/layout";

/** A source that counts how often each digest is fetched, and may refuse some. */
export class Watched implements Source {
  readonly name = "watched";
  readonly fetched = new Map<Digest, number>();
  readonly refused = new Set<Digest>();
  readonly #source: Source;

  constructor(source: Source) {
    this.#source = source;
  }

  resolve(reference: string): Promise<Descriptor> {
    return this.#source.resolve(reference);
  }

  async *fetch(descriptor: Descriptor, options?: FetchOptions): AsyncIterable<Uint8Array> {
    this.fetched.set(descriptor.digest, (this.fetched.get(descriptor.digest) ?? 0) + 1);
    if (this.refused.has(descriptor.digest)) throw new RangeError(`refused ${descriptor.digest}`);
    yield* this.#source.fetch(descriptor, options);
  }

  async *referrers(subject: Descriptor): AsyncIterable<Descriptor> {
    if (this.refused.has(subject.digest)) throw new RangeError(`refused the referrers of ${subject.digest}`);
    yield* this.#source.referrers(subject);
  }

  tags(): AsyncIterable<string> {
    return this.#source.tags();
  }
}
