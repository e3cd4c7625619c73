import type { Content, Presence, PushOptions, Target } from "./content.js";
import type { Descriptor } from "./model/descriptor.js";
import { OciError } from "./model/errors.js";
import { verified } from "./model/verified.js";
import { visitKey } from "./walk.js";

/**
 * A target that reads what is copied to it, verifies it and keeps nothing: a copy to it tells whether the same copy to
 * another target would find everything it needs. What was verified once is present from then on.
 */
export class VerifyingTarget implements Target {
  readonly closed = false;
  readonly name: string;
  readonly #verified = new Set<string>();

  /** `name` is what it is called in messages. */
  constructor(name: string) {
    this.name = name;
  }

  async resolve(reference: string): Promise<Descriptor> {
    throw new OciError("NOT_FOUND", `${this.name} has no ${reference}`);
  }

  fetch(descriptor: Descriptor): AsyncIterable<Uint8Array> {
    throw new OciError("NOT_FOUND", `${this.name} has no ${descriptor.digest}`);
  }

  async *referrers(): AsyncIterable<Descriptor> {}

  async *tags(): AsyncIterable<string> {}

  async has(descriptor: Descriptor): Promise<boolean> {
    return this.#verified.has(visitKey(descriptor));
  }

  async push({ descriptor, open }: Content, options: PushOptions = {}): Promise<Presence> {
    if (await this.has(descriptor)) return "present";
    for await (const chunk of verified(open(), descriptor)) {
      options.signal?.throwIfAborted();
      options.onBytes?.(chunk.byteLength);
    }
    this.#verified.add(visitKey(descriptor));
    return "written";
  }

  async tag(): Promise<void> {}
}
