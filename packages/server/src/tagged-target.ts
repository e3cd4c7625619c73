import {
  type Abortable,
  type BlobUploads,
  type Content,
  type Descriptor,
  type Digest,
  type FetchOptions,
  isDigest,
  isNamed,
  isTag,
  Layout,
  type LayoutIndex,
  OciError,
  type OpenBlob,
  type Presence,
  type PushOptions,
  type ReferrersOptions,
  type Removable,
  refName,
  removeBlob,
  removeManifest,
} from "@stowage/layout";
import type { Repository } from "./store.js";

/** How the names in an `index.json` and the tags of one repository belong together. */
export interface Naming {
  /** The tag a name stands for in this repository; undefined where the name is another repository's or no tag at all. */
  tagOf(name: string): string | undefined;
  /** The name a tag that is new is stored under. */
  nameOf(tag: string): string;
}

/** A repository whose tags are some of the names in an `index.json`. */
export class TaggedTarget implements Repository {
  readonly name: string;
  readonly closed = false;
  readonly #target: Removable;
  readonly #naming: Naming;
  readonly stampOf: ((digest: Digest) => () => string | undefined) | undefined;
  readonly openBlob: ((descriptor: Descriptor) => Promise<OpenBlob>) | undefined;

  constructor(name: string, target: Removable, naming: Naming) {
    this.name = name;
    this.#target = target;
    this.#naming = naming;
    this.stampOf = target instanceof Layout ? (digest) => target.stampOf(digest) : undefined;
    this.openBlob = target instanceof Layout ? (descriptor) => target.openBlob(descriptor) : undefined;
  }

  get origin(): Removable {
    return this.#target;
  }

  async resolve(reference: string, options: Abortable = {}): Promise<Descriptor> {
    if (isDigest(reference)) return this.#target.resolve(reference, options);
    return this.#target.resolve(await this.#existing(reference, options), options);
  }

  async *tags(options: Abortable = {}): AsyncIterable<string> {
    const tags = new Set<string>();
    for (const entry of (await this.#target.index(options)).manifests) {
      const tag = isNamed(entry) ? this.#tagOf(entry) : undefined;
      if (tag !== undefined) tags.add(tag);
    }
    yield* [...tags].sort();
  }

  async tag(reference: string, descriptor: Descriptor, options: Abortable = {}): Promise<void> {
    const name = this.#nameIn(await this.#target.index(options), reference) ?? this.#naming.nameOf(reference);
    await this.#target.tag(name, descriptor, options);
  }

  async untag(reference: string, options: Abortable = {}): Promise<void> {
    await this.#target.untag(await this.#existing(reference, options), options);
  }

  removeManifest(digest: Digest, options: Abortable = {}): Promise<void> {
    return removeManifest(this.#target, digest, { ...options, goes: (name) => this.#naming.tagOf(name) !== undefined });
  }

  removeBlob(digest: Digest, options?: Abortable): Promise<void> {
    return removeBlob(this.#target, digest, options);
  }

  size(digest: Digest): Promise<number | undefined> {
    return this.#target.size(digest);
  }

  has(descriptor: Descriptor, options?: Abortable): Promise<boolean> {
    return this.#target.has(descriptor, options);
  }

  fetch(descriptor: Descriptor, options?: FetchOptions): AsyncIterable<Uint8Array> {
    return this.#target.fetch(descriptor, options);
  }

  referrers(subject: Descriptor, options?: ReferrersOptions): AsyncIterable<Descriptor> {
    return this.#target.referrers(subject, options);
  }

  push(content: Content, options?: PushOptions): Promise<Presence> {
    return this.#target.push(content, options);
  }

  get uploads(): BlobUploads {
    return this.#target.uploads;
  }

  async #existing(tag: string, options: Abortable): Promise<string> {
    const name = this.#nameIn(await this.#target.index(options), tag);
    if (name === undefined) throw new OciError("NOT_FOUND", `${this.name} has no tag ${tag}`);
    return name;
  }

  /** The name that stands for the tag: the one this server would write, otherwise the first that means the same. */
  #nameIn(index: LayoutIndex, tag: string): string | undefined {
    const preferred = this.#naming.nameOf(tag);
    let found: string | undefined;
    for (const entry of index.manifests) {
      if (refName(entry) === preferred) return preferred;
      if (found === undefined && this.#tagOf(entry) === tag) found = refName(entry);
    }
    return found;
  }

  #tagOf(entry: Descriptor): string | undefined {
    const name = refName(entry);
    const tag = name === undefined ? undefined : this.#naming.tagOf(name);
    return tag !== undefined && isTag(tag) ? tag : undefined;
  }
}

/** The naming of a layout that is one repository: a name is a tag, or a full image name that ends in one. */
export const plainNaming: Naming = {
  tagOf: (name) => splitName(name).tag,
  nameOf: (tag) => tag,
};

/** Splits a name in an `index.json` into repository and tag. A name without a repository is a tag. */
export function splitName(name: string): { readonly repository?: string; readonly tag?: string } {
  const colon = name.lastIndexOf(":");
  if (colon < 0) return name.includes("/") || name.includes("@") ? {} : { tag: name };
  if (colon < name.lastIndexOf("/") || name.includes("@")) return {};
  return { repository: name.slice(0, colon), tag: name.slice(colon + 1) };
}
