import {
  type Abortable,
  type BlobUploads,
  childrenOf,
  type Descriptor,
  type Digest,
  type FetchOptions,
  isDigest,
  isManifestType,
  isOciError,
  OciError,
  parseManifest,
  type ReferrersOptions,
  readBytes,
  type Source,
} from "@stowage/layout";
import type { Repository, Store } from "./store.js";

/** Where content comes from that is not here yet: the repository of this name at the upstream. */
export type Upstream = (name: string) => Promise<Source>;

/** How many descriptors of content that is not here yet are remembered for each repository. */
const REMEMBERED = 100_000;

/**
 * A store that fetches from an upstream what it does not have, and keeps it: what was pulled once can be pulled without the
 * upstream. A tag is looked up at the upstream each time, and stands for what it stood for last where the upstream cannot be
 * reached. Made to be served read-only.
 */
export function proxyStore(store: Store, upstream: Upstream): Store {
  const open = new Map<string, Promise<ProxiedRepository>>();
  return {
    name: store.name,
    kept: store,
    uploads: async () => undefined,
    expireUploads: async () => {},
    repositories: (options) => store.repositories(options),
    repository(name) {
      const known = open.get(name);
      if (known !== undefined) return known;
      const made = openProxied(store, upstream, name);
      open.set(name, made);
      if (open.size > 1000) open.delete(open.keys().next().value as string);
      made.catch(() => open.delete(name));
      return made;
    },
  };
}

async function openProxied(store: Store, upstream: Upstream, name: string): Promise<ProxiedRepository> {
  return new ProxiedRepository(name, store, await upstream(name));
}

/** A repository whose content comes from the upstream the first time. */
class ProxiedRepository implements Repository {
  readonly name: string;
  readonly closed = false;
  readonly #store: Store;
  readonly #upstream: Source;
  /** What manifests that were served point at: the only way to know the size of a blob before it is here. */
  readonly #expected = new Map<Digest, Descriptor>();

  constructor(name: string, store: Store, upstream: Source) {
    this.name = name;
    this.#store = store;
    this.#upstream = upstream;
  }

  async resolve(reference: string, options: Abortable = {}): Promise<Descriptor> {
    const here = await this.#here();
    if (here !== undefined && isDigest(reference)) {
      const found = await here.resolve(reference, options).catch(absent);
      if (found !== undefined && (await here.has(found, options))) return found;
    }
    try {
      const descriptor = await this.#upstream.resolve(reference, options);
      await this.#take(descriptor, options);
      if (!isDigest(reference)) await (await this.#made()).tag(reference, descriptor, options);
      return descriptor;
    } catch (error) {
      if (here === undefined || !isUnavailable(error)) throw error;
      return here.resolve(reference, options).catch(() => Promise.reject(error));
    }
  }

  async *fetch(descriptor: Descriptor, options: FetchOptions = {}): AsyncIterable<Uint8Array> {
    if ((await (await this.#here())?.has(descriptor, options)) !== true) await this.#take(descriptor, options);
    const here = await this.#made();
    if (isManifestType(descriptor.mediaType)) await this.#expect(here, descriptor, options);
    yield* here.fetch(descriptor, options);
  }

  async *referrers(subject: Descriptor, options: ReferrersOptions = {}): AsyncIterable<Descriptor> {
    try {
      for await (const referrer of this.#upstream.referrers(subject, { signal: options.signal })) {
        if ((await (await this.#here())?.has(referrer, options)) !== true) await this.#take(referrer, options);
      }
    } catch (error) {
      if (!isUnavailable(error)) throw error;
    }
    yield* (await this.#here())?.referrers(subject, options) ?? [];
  }

  async *tags(options: Abortable = {}): AsyncIterable<string> {
    const tags: string[] = [];
    try {
      for await (const tag of this.#upstream.tags(options)) tags.push(tag);
    } catch (error) {
      const here = await this.#here();
      if (here === undefined || !isUnavailable(error)) throw error;
      yield* here.tags(options);
      return;
    }
    yield* tags;
  }

  async size(digest: Digest): Promise<number | undefined> {
    return (await (await this.#here())?.size(digest)) ?? (await this.#expectedSize(digest));
  }

  async has(descriptor: Descriptor, options: Abortable = {}): Promise<boolean> {
    if ((await (await this.#here())?.has(descriptor, options)) === true) return true;
    return (await this.#expectedSize(descriptor.digest)) === descriptor.size;
  }

  get uploads(): BlobUploads {
    const refuse = (): Promise<never> => readOnly(this.name);
    return { begin: refuse, find: refuse, expire: refuse };
  }
  push(): Promise<never> {
    return readOnly(this.name);
  }
  tag(): Promise<never> {
    return readOnly(this.name);
  }
  untag(): Promise<never> {
    return readOnly(this.name);
  }
  removeManifest(): Promise<never> {
    return readOnly(this.name);
  }
  removeBlob(): Promise<never> {
    return readOnly(this.name);
  }

  #here(): Promise<Repository | undefined> {
    return this.#store.repository(this.name);
  }

  async #made(): Promise<Repository> {
    const made = await this.#store.repository(this.name, { create: true });
    if (made === undefined) throw new OciError("NOT_FOUND", `there is no repository ${this.name}`);
    return made;
  }

  /** Stores content of the upstream here. */
  async #take(descriptor: Descriptor, options: Abortable): Promise<void> {
    const open = (): AsyncIterable<Uint8Array> => this.#upstream.fetch(descriptor, { ...options, unchecked: true });
    const here = await this.#made();
    await here.push({ descriptor, open, origin: this.#upstream }, options);
    if (isManifestType(descriptor.mediaType)) await this.#expect(here, descriptor, options);
  }

  async #expect(here: Repository, descriptor: Descriptor, options: Abortable): Promise<void> {
    const bytes = await readBytes(here, descriptor, options);
    if (this.#expected.size > REMEMBERED) this.#expected.clear();
    for (const child of childrenOf(parseManifest(bytes, descriptor.mediaType, descriptor.digest))) {
      this.#expected.set(child.digest, child);
    }
  }

  /** A client that has the manifest from before a restart asks for a blob at once: the manifests here are looked through. */
  async #expectedSize(digest: Digest): Promise<number | undefined> {
    const known = this.#expected.get(digest);
    if (known !== undefined) return known.size;
    const here = await this.#here();
    if (here === undefined) return undefined;
    for await (const tag of here.tags()) {
      const pending = [await here.resolve(tag)];
      for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
        if (!isManifestType(next.mediaType) || !(await here.has(next))) continue;
        await this.#expect(here, next, {});
        const children = childrenOf(parseManifest(await readBytes(here, next), next.mediaType, next.digest));
        pending.push(...children.filter((child) => isManifestType(child.mediaType)));
      }
      const found = this.#expected.get(digest);
      if (found !== undefined) return found.size;
    }
    return undefined;
  }
}

function absent(error: unknown): undefined {
  if (isOciError(error, "NOT_FOUND")) return undefined;
  throw error;
}

/** True where the upstream could not be asked, or does not have it any more. */
function isUnavailable(error: unknown): boolean {
  return ["REGISTRY", "NOT_FOUND", "UNAUTHORIZED", "DENIED", "LIMIT"].some((code) =>
    isOciError(error, code as "REGISTRY"),
  );
}

function readOnly(name: string): Promise<never> {
  return Promise.reject(
    new OciError("UNSUPPORTED", `${name} is a copy of another registry's and cannot be changed here`),
  );
}
