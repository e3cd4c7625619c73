/**
 * The model, on one page. A layout directory, a registry repository, an archive and a memory store are all a
 * {@link Source}, most of them a {@link Target}; `copy` moves a graph from one to the other.
 */
import type { ReceiptRoot } from "./delta/receipt.js";
import type { SizedDigest } from "./delta/sized-digest.js";
import type { Descriptor } from "./model/descriptor.js";

/** A stream of bytes. Chunks may be of any size; a consumer must not change them. */
export type Bytes = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** Something that can be stored: what it is, and how to read it from the beginning, as often as asked. */
export interface Content {
  readonly descriptor: Descriptor;
  /** The bytes from the beginning. They need not be verified: whoever stores them does that. */
  open(): Bytes;
  /**
   * The bytes from an offset on, where going on is cheaper than beginning again. A target that has kept what came before, also
   * from an earlier run, asks for the rest only; it verifies the whole.
   */
  openFrom?(offset: number): Bytes;
  /** Where the content comes from. A target that knows it may mount, link or clone instead of calling `open`. */
  readonly origin?: Source;
}

/** An operation that can be given up. It then fails with the signal's reason. */
export interface Abortable {
  readonly signal?: AbortSignal | undefined;
}

/** The options of {@link Source.fetch}. */
export interface FetchOptions extends Abortable {
  /**
   * The offset in bytes to start from, to resume. The bytes before it are the caller's: what is yielded then is checked
   * for size only, and the caller verifies the whole.
   */
  readonly from?: number;
  /**
   * The offset at which no more is wanted, where a part is enough. A source that cannot stop there goes on; what is yielded is not
   * verified then, nor is it the end of the content.
   */
  readonly to?: number;
  /**
   * The caller verifies the bytes itself, as a target does with what it stores. A source that would verify them while they pass may
   * then check their number only. Default: false.
   */
  readonly unchecked?: boolean;
}

/** The options of {@link Source.referrers}. */
export interface ReferrersOptions extends Abortable {
  /** Only referrers of this artifactType. */
  readonly artifactType?: string | undefined;
  /**
   * The caller reads each of them, and sees then whether it is what the listing says. A source that would have to fetch them for
   * that may leave it to the caller. Default: false.
   */
  readonly unchecked?: boolean | undefined;
}

/** The options of {@link Source.tags}. */
export interface TagListOptions extends Abortable {
  /** Also tags that only carry a referrers list. Default: false. */
  readonly all?: boolean | undefined;
}

/** Where content can be read from. */
export interface Source {
  /** What this is, for messages: `oci:dir`, `docker.io/library/alpine`. Never holds a credential. */
  readonly name: string;
  /** The descriptor a tag or a digest stands for. Fails with `NOT_FOUND` where there is none. */
  resolve(reference: string, options?: Abortable): Promise<Descriptor>;
  /**
   * The bytes of the content, verified unless the options say otherwise: whoever receives the last chunk has received exactly that
   * content. Fails with `NOT_FOUND` where it is not there and with `MISMATCH` where the bytes are not what the descriptor says.
   */
  fetch(descriptor: Descriptor, options?: FetchOptions): AsyncIterable<Uint8Array>;
  /**
   * The manifests whose `subject` is the given one, each once, sorted by digest, with artifactType and annotations filled in.
   * Nothing is yielded where there are none, also where the subject itself is not there.
   */
  referrers(subject: Descriptor, options?: ReferrersOptions): AsyncIterable<Descriptor>;
  /** The tags, each once, in bytewise order. Tags that only carry a referrers list are not among them unless asked for. */
  tags(options?: TagListOptions): AsyncIterable<string>;
  /**
   * Of a source that is made of others: the one that has the content, as far as that is known without asking. A target that knows
   * that one mounts, links or clones from it. Default: the source itself.
   */
  sourceOf?(descriptor: Descriptor): Source;
}

/** How content came to be present: `written` by this call, `present` before it, `mounted` from another repository, `linked` from another store. */
export type Presence = "written" | "present" | "mounted" | "linked";

/** The options of {@link Target.push}. */
export interface PushOptions extends Abortable {
  /** What {@link Target.has} has just said of the content, so that the target need not look for it again. Default: it looks. */
  readonly found?: boolean | undefined;
  /** Told the number of bytes as they are stored or sent. */
  readonly onBytes?: (count: number) => void;
  /**
   * Takes over the part of the push that makes a referrer found by its subject, where that takes a while and is better done for
   * many of them together: `push` then returns before it. The content counts as pushed only when it has succeeded.
   */
  readonly later?: (listed: Promise<void>) => void;
}

/** Where content can be stored as well. Deleting is not part of it. */
export interface Target extends Source {
  /**
   * True where the target takes a manifest only when everything it points at is there, as a registry does. Then a manifest
   * that is present needs no look at its children.
   */
  readonly closed: boolean;
  /** The most pieces of content it can take at once, where there is such a bound. */
  readonly concurrency?: number;
  /** True if the content is there, with the declared size. */
  has(descriptor: Descriptor, options?: Abortable): Promise<boolean>;
  /**
   * Makes the content present: success means "it is there", not "this call wrote it". `open` is not called when the target
   * has it already or can get it otherwise (mount, link, clone). A manifest with a `subject` is found by `referrers` from
   * then on. Fails with `MISMATCH` where the bytes are not what the descriptor says; then nothing was stored.
   */
  push(content: Content, options?: PushOptions): Promise<Presence>;
  /**
   * How {@link push} would make the content present, as far as that can be told without trying; nothing is changed. Where it is
   * missing, the answer is `present` or `written`, as {@link has} says.
   */
  foresee?(content: Content, options?: Abortable): Promise<Presence>;
  /** Told at the end of a copy what a base consists of and what was left out because of it. A target that travels notes it. */
  leave?(since: readonly ReceiptRoot[], blobs: readonly SizedDigest[]): Promise<void>;
  /** Lets the tag stand for a manifest that is present, instead of whatever it stood for. Fails with `NOT_FOUND` where it is not present. */
  tag(reference: string, descriptor: Descriptor, options?: Abortable): Promise<void>;
}
