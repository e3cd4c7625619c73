import type { Abortable, Source, Target } from "../content.js";
import type { Descriptor } from "../model/descriptor.js";
import { isManifestType } from "../model/media-types.js";
import { IndexedSource } from "../store/indexed-source.js";
import { walk } from "../walk.js";
import type { Delta } from "./delta.js";
import { type Receipt, type ReceiptRoot, rootOf, rootsOf } from "./receipt.js";
import type { SizedDigest } from "./sized-digest.js";

/** What somebody has already: according to a receipt, or because it can be looked up. */
export interface Base {
  /** For messages. */
  readonly name: string;
  /** The images it consists of, as far as they are known. */
  readonly roots: readonly ReceiptRoot[];
  /** Where what it has can be read. A receipt knows only of it. */
  readonly source?: Source;
  /** True if it has the blob, with the declared size. Manifests are not asked for: they are small and always travel. */
  has(blob: Descriptor, options?: Abortable): Promise<boolean>;
}

/** What a receipt says was delivered. Whether it is still there shows where it is needed. */
export function receiptBase(receipt: Receipt, name: string): Base {
  return { name, roots: receipt.roots, has: listed(receipt.content) };
}

/** What a delta needs, and so whoever it is for has. */
export function deltaBase({ since, needs }: Delta, name: string): Base {
  return { name, roots: since, has: listed(needs) };
}

/**
 * All that a layout, an archive or a repository has, whatever leads to it; an archive that is a delta has what it needs as well. It is
 * looked up when it is asked for: of a registry, with a HEAD each.
 */
export async function sourceBase(source: Source, options: Abortable = {}): Promise<Base> {
  if (!(source instanceof IndexedSource)) return { name: source.name, roots: [], source, has: lookup(source) };
  const { manifests } = await source.index(options);
  return { name: source.name, roots: rootsOf(manifests), source, has: lookup(source) };
}

/**
 * What one image consists of, with its referrers and theirs, as far as the source has it. Fails as reading the image itself
 * does; what is missing below it is not in the base.
 */
export async function imageBase(
  source: Source,
  root: Descriptor,
  name?: string,
  options: Abortable = {},
): Promise<Base> {
  const blobs: SizedDigest[] = [];
  for await (const { descriptor, relation, error } of walk(source, [root], options)) {
    if (relation === "root" && error !== undefined) throw error;
    if (!isManifestType(descriptor.mediaType)) blobs.push(descriptor);
  }
  const isPart = listed(blobs);
  // A registry that has the manifest has what it points at; a layout may be sparse.
  const isThere = source instanceof IndexedSource ? lookup(source) : async () => true;
  return {
    name: name === undefined ? source.name : `${source.name}:${name}`,
    roots: [rootOf(root, name)],
    source,
    has: async (blob, more) => (await isPart(blob)) && isThere(blob, more),
  };
}

/** The first of the bases that has the blob. */
export async function firstWith(
  bases: readonly Base[],
  blob: Descriptor,
  options: Abortable = {},
): Promise<Base | undefined> {
  for (const base of bases) if (await base.has(blob, options)) return base;
  return undefined;
}

function listed(content: readonly SizedDigest[]): Base["has"] {
  const sizes = new Map(content.map(({ digest, size }) => [digest, size]));
  return async ({ digest, size }) => sizes.get(digest) === size;
}

function lookup(source: Source): Base["has"] {
  if (source instanceof IndexedSource) {
    const needed = listed(source.needs);
    return async (blob) => (await source.size(blob.digest)) === blob.size || needed(blob);
  }
  const { has } = source as Partial<Target>;
  if (has === undefined) throw new TypeError(`${source.name} cannot tell what it has`);
  return (blob, options) => has.call(source, blob, options);
}
