import type {
  Abortable,
  Content,
  FetchOptions,
  Presence,
  PushOptions,
  ReferrersOptions,
  TagListOptions,
  Target,
} from "./content.js";
import type { Descriptor } from "./model/descriptor.js";
import { isManifestType } from "./model/media-types.js";
import { IndexedTarget } from "./store/indexed-target.js";

/** A target to which nothing happens: it says of everything that is pushed how that would become present. */
export class Rehearsal implements Target {
  readonly name: string;
  readonly closed: boolean;
  /** What is looked at. */
  readonly target: Target;

  constructor(target: Target) {
    this.target = target;
    this.name = target.name;
    this.closed = target.closed;
  }

  resolve(reference: string, options?: Abortable): Promise<Descriptor> {
    return this.target.resolve(reference, options);
  }

  fetch(descriptor: Descriptor, options?: FetchOptions): AsyncIterable<Uint8Array> {
    return this.target.fetch(descriptor, options);
  }

  referrers(subject: Descriptor, options?: ReferrersOptions): AsyncIterable<Descriptor> {
    return this.target.referrers(subject, options);
  }

  tags(options?: TagListOptions): AsyncIterable<string> {
    return this.target.tags(options);
  }

  async has(descriptor: Descriptor, options?: Abortable): Promise<boolean> {
    // A layout takes it as a claim when it is asked, and writes that down.
    if (this.target instanceof IndexedTarget) return (await this.target.size(descriptor.digest)) === descriptor.size;
    return this.target.has(descriptor, options);
  }

  async presentReferrers(subject: Descriptor, options?: Abortable): Promise<readonly Descriptor[] | undefined> {
    return this.target.presentReferrers?.(subject, options);
  }

  async push(content: Content, options: PushOptions = {}): Promise<Presence> {
    const presence = await this.#foresee(content, options);
    if (presence === "written") options.onBytes?.(content.descriptor.size);
    return presence;
  }

  async tag(): Promise<void> {}

  async #foresee(content: Content, { found, signal }: PushOptions): Promise<Presence> {
    if (found === true) return "present";
    if (found === false && isManifestType(content.descriptor.mediaType)) return "written";
    if (this.target.foresee !== undefined) return this.target.foresee(content, { signal });
    return (await this.has(content.descriptor, { signal })) ? "present" : "written";
  }
}

/** What is behind a rehearsal, or the target itself. */
export function actualTarget(target: Target): Target {
  return target instanceof Rehearsal ? target.target : target;
}
