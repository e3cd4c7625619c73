import type { Abortable, FetchOptions, ReferrersOptions, Source, TagListOptions } from "../content.js";
import type { Descriptor } from "../model/descriptor.js";
import type { Digest } from "../model/digest.js";
import { isManifestType } from "../model/media-types.js";
import { compareText } from "./index-json.js";
import type { IndexedSource } from "./indexed-source.js";

/** A source with something added to it: content and referrers are those of both, names those of the source below. */
export class Overlay implements Source {
  readonly name: string;
  readonly #below: Source;
  readonly #above: IndexedSource;

  constructor(below: Source, above: IndexedSource) {
    this.name = below.name;
    this.#below = below;
    this.#above = above;
  }

  resolve(reference: string, options?: Abortable): Promise<Descriptor> {
    return this.#below.resolve(reference, options);
  }

  async *fetch(descriptor: Descriptor, options?: FetchOptions): AsyncIterable<Uint8Array> {
    const added = (await this.#above.size(descriptor.digest)) !== undefined;
    yield* (added ? this.#above : this.#below).fetch(descriptor, options);
  }

  /** Manifests may have been added; blobs hardly ever are. */
  sourceOf({ mediaType }: Descriptor): Source {
    return isManifestType(mediaType) ? this : this.#below;
  }

  async *referrers(subject: Descriptor, options?: ReferrersOptions): AsyncIterable<Descriptor> {
    const found = new Map<Digest, Descriptor>();
    for (const source of [this.#below, this.#above])
      for await (const referrer of source.referrers(subject, options)) found.set(referrer.digest, referrer);
    yield* [...found.values()].sort((a, b) => compareText(a.digest, b.digest));
  }

  tags(options?: TagListOptions): AsyncIterable<string> {
    return this.#below.tags(options);
  }
}
