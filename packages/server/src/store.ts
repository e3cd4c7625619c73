import type { Abortable, BlobUploads, Descriptor, Digest, OpenBlob, Source, Target } from "@stowage/layout";

/** One repository of a {@link Store}. References are tags and digests, never full names. */
export interface Repository extends Target {
  /** What another target may link or clone content from. Default: the repository itself. */
  readonly origin?: Source;
  /** The size in bytes of the content with this digest, or undefined where it is not there. */
  size(digest: Digest): Promise<number | undefined>;
  /** Tells what changes whenever what references stand for does, or the manifest with this digest; undefined where that cannot be told. */
  readonly stampOf?: ((digest: Digest) => () => string | undefined) | undefined;
  /** Opens a blob in a file. Missing where blobs do not lie in files, or have to be fetched first. */
  readonly openBlob?: ((descriptor: Descriptor) => Promise<OpenBlob>) | undefined;
  /** The blobs that arrive in parts. */
  readonly uploads: BlobUploads;
  /** Removes a tag; the content stays. Fails with `NOT_FOUND` where there is no such tag. */
  untag(reference: string, options?: Abortable): Promise<void>;
  /** Removes a manifest and its tags. Fails with `NOT_FOUND` where it is not there and with `CONFLICT` where an index needs it. */
  removeManifest(digest: Digest, options?: Abortable): Promise<void>;
  /** Removes a blob. Fails with `NOT_FOUND` where it is not there and with `CONFLICT` where a manifest needs it. */
  removeBlob(digest: Digest, options?: Abortable): Promise<void>;
}

/** What a server keeps its repositories in. */
export interface Store {
  /** What this is, for messages. */
  readonly name: string;
  /** What is here already, where the store fetches from elsewhere what it does not have. */
  readonly kept?: Store;
  /**
   * The repository with this name, or undefined where it is not there. With `create` it is made, or at least promised: the
   * first content written makes it. `name` is a valid repository name. Fails with `INVALID` where this store cannot hold
   * a repository of that name and with `CONFLICT` where another one is in its way.
   */
  repository(name: string, options?: { readonly create?: boolean }): Promise<Repository | undefined>;
  /** The uploads into a repository, also one that has nothing but uploads yet; undefined where it is not there. Fails as {@link repository} does. */
  uploads(name: string): Promise<BlobUploads | undefined>;
  /** Removes the uploads that nobody is at and to which nothing was added for `idle` ms. */
  expireUploads(idle: number, options?: Abortable): Promise<void>;
  /** The names of the repositories, each once, in bytewise order. */
  repositories(options?: Abortable): AsyncIterable<string>;
}
