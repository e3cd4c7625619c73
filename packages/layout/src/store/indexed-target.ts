import type { Abortable, Bytes, Content, Presence, PushOptions, Target } from "../content.js";
import { type Descriptor, formatDescriptor } from "../model/descriptor.js";
import { type Digest, type DigestAlgorithm, isDigest, isVerifiable } from "../model/digest.js";
import { isOciError, OciError } from "../model/errors.js";
import { MAXIMUM_MANIFEST_SIZE, parseManifest, referrerDescriptor } from "../model/manifest.js";
import { isManifestType, mediaTypes } from "../model/media-types.js";
import { collect, readBytes, readManifest, verified } from "../model/verified.js";
import { findEntry, type LayoutIndex, refName, unnamed, withEntry, withoutTag, withTag } from "./index-json.js";
import { IndexedSource } from "./indexed-source.js";
import { withItem } from "./list-bytes.js";
import { encodeList, entryForm, findLists, requiredLists, withReferrer } from "./referrer-forms.js";

/** The options of {@link IndexedTarget.write}. */
export interface WriteOptions extends PushOptions {
  /** Default: sha256. */
  readonly algorithm?: DigestAlgorithm;
}

/** The options of {@link IndexedTarget.tag}. */
export interface TagOptions extends Abortable {
  /** What the tag must stand for until it is changed. Default: anything or nothing. */
  readonly expected?: Digest | undefined;
}

/** A change of the index: a function of what it was. Returning its argument changes nothing. */
export type IndexChange = (index: LayoutIndex) => LayoutIndex | Promise<LayoutIndex>;

/** A target whose tags and referrers stand in an `index.json`: a layout directory or a store in memory. */
export abstract class IndexedTarget extends IndexedSource implements Target {
  readonly closed = false;

  /**
   * Replaces the index by what `change` makes of it; nobody else changes it meanwhile. Returns the index as it is then.
   * Where `change` fails, the index stays and the error is the caller's.
   */
  abstract update(change: IndexChange, options?: Abortable): Promise<LayoutIndex>;
  /** Stores bytes whose digest is not known yet, and says what they are. This is where a digest is born. */
  abstract write(bytes: Bytes, mediaType: string, options?: WriteOptions): Promise<Descriptor>;
  /** Stores a blob under its digest, verified; nothing stays behind where it does not match. */
  protected abstract store(content: Content, options: PushOptions): Promise<Presence>;

  /** Told what is left out on purpose of what is pushed. A target that has to be complete in itself, an archive, does not miss it. */
  leaveOut(_descriptors: readonly Descriptor[]): void {}

  async has(descriptor: Descriptor, options: Abortable = {}): Promise<boolean> {
    options.signal?.throwIfAborted();
    return (await this.size(descriptor.digest)) === descriptor.size;
  }

  async push(content: Content, options: PushOptions = {}): Promise<Presence> {
    options.signal?.throwIfAborted();
    const { descriptor } = content;
    if (!isManifestType(descriptor.mediaType))
      return (await this.has(descriptor)) ? "present" : this.store(content, options);
    if (descriptor.size > MAXIMUM_MANIFEST_SIZE) {
      throw new OciError(
        "LIMIT",
        `${formatDescriptor(descriptor)} is too large for a manifest; ${MAXIMUM_MANIFEST_SIZE} bytes are allowed`,
      );
    }
    const present = await this.#presentBytes(descriptor, options);
    const bytes = present ?? (await collect(verified(content.open(), descriptor), MAXIMUM_MANIFEST_SIZE));
    // Parsed before it is stored: what cannot be read is not taken in.
    const manifest = parseManifest(bytes, descriptor.mediaType, descriptor.digest);
    const presence = present === undefined ? await this.store({ ...content, open: () => [bytes] }, options) : "present";
    this.remember({ descriptor, manifest });
    if (manifest.subject !== undefined) {
      await this.#register(
        entryForm(descriptor, manifest),
        referrerDescriptor(descriptor, manifest),
        manifest.subject.digest,
        presence,
        options,
      );
    }
    return presence;
  }

  /** The bytes of a manifest that is there already; undefined where it is absent or damaged, so that it is stored anew. */
  async #presentBytes(descriptor: Descriptor, options: Abortable): Promise<Uint8Array | undefined> {
    if (!(await this.has(descriptor, options))) return undefined;
    try {
      return await readBytes(this, descriptor, options);
    } catch (error) {
      if (isOciError(error, "MISMATCH") || isOciError(error, "NOT_FOUND")) return undefined;
      throw error;
    }
  }

  /**
   * As {@link update}, for a change that depends on nothing but the entries of these names and digests, and changes no
   * others: it may be told only those. A target that can change a part of its index without reading all of it does so here.
   */
  protected async updateTouching(
    _references: readonly string[],
    change: IndexChange,
    options: Abortable,
  ): Promise<void> {
    await this.update(change, options);
  }

  /** The part of the index that {@link updateTouching} tells a change of these names and digests. */
  protected touching(_references: readonly string[], options: Abortable): Promise<LayoutIndex> {
    return this.index(options);
  }

  async #register(
    entry: Descriptor,
    listed: Descriptor,
    subject: Digest,
    presence: Presence,
    options: Abortable,
  ): Promise<void> {
    const references = [entry.digest, subject];
    // Without a change there is nothing to wait for. What has just been written is hardly registered already.
    const index = presence === "present" ? await this.touching(references, options) : undefined;
    if (index !== undefined && (await this.#isRegistered(index, entry.digest, subject, options))) return;
    await this.updateTouching(
      references,
      async (current) => {
        const list = await this.#listWith(findLists(current, subject), listed, options);
        return list === undefined ? withEntry(current, entry) : withReferrer(current, entry, subject, list);
      },
      options,
    );
  }

  /** Stores a list of all that the given lists name, and one more. Undefined where it would be too large for a manifest. */
  async #listWith(
    lists: readonly Descriptor[],
    listed: Descriptor,
    options: Abortable,
  ): Promise<Descriptor | undefined> {
    if (lists.some(({ size }) => size > MAXIMUM_MANIFEST_SIZE)) return undefined;
    const [first, ...others] = lists;
    const isOnly = first !== undefined && others.every(({ digest }) => digest === first.digest);
    const before = isOnly ? await this.#presentBytes(first, options) : undefined;
    // Every list there is goes into the new one, which takes the place of some of them.
    const bytes =
      (before === undefined ? undefined : withItem(before, listed)) ??
      encodeList([...(await this.listed(lists, options)), listed]).bytes;
    if (bytes.byteLength > MAXIMUM_MANIFEST_SIZE) return undefined;
    return this.write([bytes], mediaTypes.index, { signal: options.signal });
  }

  /** True if every form that this index needs names the referrer, or cannot name any more. */
  async #isRegistered(index: LayoutIndex, referrer: Digest, subject: Digest, options: Abortable): Promise<boolean> {
    if (!index.manifests.some((entry) => entry.digest === referrer)) return false;
    for (const list of requiredLists(index, subject)) {
      if (list === undefined || !(await this.#mentions(list, referrer, options))) return false;
      const names = await this.listed([list], options);
      if (!names.some((item) => item.digest === referrer)) return false;
    }
    return true;
  }

  /** False where the bytes of a manifest do not have the digest in them: then nothing in it can be that digest. */
  async #mentions(manifest: Descriptor, digest: Digest, options: Abortable): Promise<boolean> {
    const bytes = await this.#presentBytes(manifest, options);
    return bytes !== undefined && Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).includes(digest);
  }

  /** As every target. With `expected` it fails with `CONFLICT` where the tag stands for something else than that by now. */
  async tag(reference: string, descriptor: Descriptor, options: TagOptions = {}): Promise<void> {
    checkName(reference);
    await this.#checkPresent(reference, descriptor, options);
    const change: IndexChange = async (index) => {
      this.#checkExpected(index, reference, options);
      // Somebody may have removed it while this change waited for its turn.
      await this.#checkPresent(reference, descriptor, options);
      return this.#keepReferrers(index, reference, withTag(index, reference, descriptor), options);
    };
    await this.updateTouching([reference], change, options);
  }

  #checkExpected(index: LayoutIndex, reference: string, { expected }: TagOptions): void {
    if (expected === undefined) return;
    const current = findEntry(index, reference, this.name)?.digest;
    if (current === expected) return;
    throw new OciError(
      "CONFLICT",
      `the tag ${reference} in ${this.name} stands for ${current ?? "nothing"}, not for ${expected} any more`,
    );
  }

  async #checkPresent(reference: string, descriptor: Descriptor, options: Abortable): Promise<void> {
    if (await this.has(descriptor, options)) return;
    const what = formatDescriptor(descriptor);
    throw new OciError("NOT_FOUND", `cannot tag ${reference} in ${this.name}: ${what} is not there`);
  }

  /** Lists a manifest in the index without a name, where it has no entry yet: it is there for its own sake. */
  async addEntry(descriptor: Descriptor, options: Abortable = {}): Promise<void> {
    await this.updateTouching([descriptor.digest], (index) => withEntry(index, unnamed(descriptor)), options);
  }

  /** Removes the tag; the content stays, and a referrer is still found. Fails with `NOT_FOUND` where there is no such tag. */
  async untag(reference: string, options: Abortable = {}): Promise<void> {
    const change: IndexChange = (index) => {
      const entry = findEntry(index, reference, this.name);
      const name = entry === undefined ? undefined : refName(entry);
      if (name === undefined || (name !== reference && !name.endsWith(`:${reference}`))) {
        throw new OciError("NOT_FOUND", `${this.name} has no tag ${reference}`);
      }
      return this.#keepReferrers(index, name, withoutTag(index, name), options);
    };
    await this.updateTouching([reference], change, options);
  }

  /** The index after `name` was taken away or moved, with an entry for each referrer that the name was the only entry of: as oras keeps them. */
  async #keepReferrers(
    before: LayoutIndex,
    name: string,
    after: LayoutIndex,
    options: Abortable,
  ): Promise<LayoutIndex> {
    let index = after;
    for (const entry of before === after ? [] : before.manifests.filter((one) => refName(one) === name)) {
      if (index.manifests.some((one) => one.digest === entry.digest) || !isManifestType(entry.mediaType)) continue;
      const read = await readManifest(this, entry, options).catch(() => undefined);
      if (read?.manifest.subject !== undefined) index = withEntry(index, entryForm(read.descriptor, read.manifest));
    }
    return index;
  }
}

/**
 * What this program writes into ref.name: any name without control characters or blanks that is no digest, which would
 * stand for itself when it is resolved. Reading takes whatever others wrote.
 */
function checkName(name: string): void {
  if (/^[^\s\p{C}]{1,1024}$/u.test(name) && !(isDigest(name) && isVerifiable(name))) return;
  throw new OciError("INVALID", `not a tag: ${JSON.stringify(name.slice(0, 200))}`, {
    hint: "A tag has letters, digits, dots, hyphens and underscores.",
  });
}
