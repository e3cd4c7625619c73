import type { Abortable, FetchOptions, ReferrersOptions, Source } from "../content.js";
import { type Descriptor, formatDescriptor } from "../model/descriptor.js";
import type { Digest } from "../model/digest.js";
import { isOciError, OciError } from "../model/errors.js";
import { childrenOf } from "../model/manifest.js";
import { isManifestType } from "../model/media-types.js";
import { readManifest } from "../model/verified.js";
import { compareText } from "./index-json.js";

/**
 * Several sources as one. Content comes from the source whose manifest or listing named it; where none did, from the first
 * that has it. Names and referrers are those of all; where two sources know a name, the first one says what it stands for.
 */
export class Union implements Source {
  readonly name: string;
  readonly #sources: readonly Source[];
  readonly #origins = new Map<Digest, Source>();

  constructor(name: string, sources: Iterable<Source>) {
    this.name = name;
    this.#sources = [...new Set(sources)];
  }

  /** Says where content is to be read from. Fails with `TypeError` where that is none of the sources. */
  assign(descriptor: Descriptor, source: Source): void {
    if (!this.#sources.includes(source)) throw new TypeError(`${source.name} is no part of ${this.name}`);
    if (!this.#origins.has(descriptor.digest)) this.#origins.set(descriptor.digest, source);
  }

  async resolve(reference: string, options?: Abortable): Promise<Descriptor> {
    for (const source of this.#sources) {
      try {
        const descriptor = await source.resolve(reference, options);
        this.assign(descriptor, source);
        return descriptor;
      } catch (error) {
        if (!isOciError(error, "NOT_FOUND")) throw error;
      }
    }
    throw new OciError("NOT_FOUND", `${this.name} has no ${reference}`);
  }

  async *fetch(descriptor: Descriptor, options: FetchOptions = {}): AsyncIterable<Uint8Array> {
    const known = this.#origins.get(descriptor.digest);
    for (const source of known === undefined ? this.#sources : [known]) {
      try {
        yield* this.#fetchFrom(source, descriptor, options);
        return;
      } catch (error) {
        if (known !== undefined || !isOciError(error, "NOT_FOUND")) throw error;
      }
    }
    throw new OciError("NOT_FOUND", `${this.name} has no ${formatDescriptor(descriptor)}`);
  }

  async *#fetchFrom(source: Source, descriptor: Descriptor, options: FetchOptions): AsyncIterable<Uint8Array> {
    if (!isManifestType(descriptor.mediaType) || (options.from ?? 0) > 0) {
      yield* source.fetch(descriptor, options);
      return;
    }
    const { bytes, manifest } = await readManifest(source, descriptor, { signal: options.signal });
    this.assign(descriptor, source);
    for (const child of childrenOf(manifest)) this.assign(child, source);
    yield bytes;
  }

  /** Of what nothing has named yet, the union itself. */
  sourceOf({ digest }: Descriptor): Source {
    return this.#origins.get(digest) ?? this;
  }

  async *referrers(subject: Descriptor, options?: ReferrersOptions): AsyncIterable<Descriptor> {
    const found = new Map<Digest, Descriptor>();
    for (const source of this.#sources) {
      // Which source has it must be known: a listing may name what is gone.
      for await (const referrer of source.referrers(subject, { ...options, unchecked: false })) {
        this.assign(referrer, source);
        if (!found.has(referrer.digest)) found.set(referrer.digest, referrer);
      }
    }
    yield* [...found.values()].sort((a, b) => compareText(a.digest, b.digest));
  }

  async *tags(options?: Abortable): AsyncIterable<string> {
    const tags = new Set<string>();
    for (const source of this.#sources) for await (const tag of source.tags(options)) tags.add(tag);
    yield* [...tags].sort(compareText);
  }
}
