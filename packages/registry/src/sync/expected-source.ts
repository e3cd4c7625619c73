import {
  type Abortable,
  type Descriptor,
  type FetchOptions,
  isOciError,
  OciError,
  type ReferrersOptions,
  type Source,
} from "@stowage/layout";

/** A tag that would be at a place, and where what it stands for is now. */
export interface ExpectedTag {
  readonly descriptor: Descriptor;
  readonly origin: Source;
}

/** A place as it would be after what has been rehearsed so far: what is expected there is read from where it would come from. */
export class ExpectedSource implements Source {
  readonly name: string;
  /** Undefined where the place itself is not there yet. */
  readonly #base: Source | undefined;
  readonly #expected: ReadonlyMap<string, ExpectedTag>;

  constructor(name: string, base: Source | undefined, expected: ReadonlyMap<string, ExpectedTag>) {
    this.name = name;
    this.#base = base;
    this.#expected = expected;
  }

  async resolve(reference: string, options: Abortable = {}): Promise<Descriptor> {
    const found = this.#expected.get(reference)?.descriptor;
    if (found !== undefined) return found;
    for (const { descriptor } of this.#expected.values()) if (descriptor.digest === reference) return descriptor;
    if (this.#base !== undefined) return this.#base.resolve(reference, options);
    throw new OciError("NOT_FOUND", `${this.name} would have no ${reference}`);
  }

  async *fetch(descriptor: Descriptor, options: FetchOptions = {}): AsyncIterable<Uint8Array> {
    for (const source of this.#sources()) {
      try {
        yield* source.fetch(descriptor, options);
        return;
      } catch (error) {
        if (!isOciError(error, "NOT_FOUND")) throw error;
      }
    }
    throw new OciError("NOT_FOUND", `${this.name} would have no ${descriptor.digest}`);
  }

  /** By the time it is read, everything is at the place. */
  sourceOf(): Source {
    return this.#base ?? this;
  }

  async *referrers(subject: Descriptor, options: ReferrersOptions = {}): AsyncIterable<Descriptor> {
    const seen = new Set<string>();
    for (const source of this.#sources())
      for await (const referrer of source.referrers(subject, options)) {
        if (seen.has(referrer.digest)) continue;
        seen.add(referrer.digest);
        yield referrer;
      }
  }

  async *tags(options: Abortable = {}): AsyncIterable<string> {
    const tags = new Set(this.#expected.keys());
    if (this.#base !== undefined) for await (const tag of this.#base.tags(options)) tags.add(tag);
    yield* [...tags].sort();
  }

  #sources(): ReadonlySet<Source> {
    const origins = [...this.#expected.values()].map(({ origin }) => origin);
    return new Set(this.#base === undefined ? origins : [this.#base, ...origins]);
  }
}
