import type { Abortable } from "./content.js";
import { type Descriptor, embeddedData, formatDescriptor } from "./model/descriptor.js";
import type { Digest } from "./model/digest.js";
import { OciError } from "./model/errors.js";
import { childrenOf } from "./model/manifest.js";
import { isIndexType, isManifestType } from "./model/media-types.js";
import { readManifest } from "./model/verified.js";
import type { IndexedSource } from "./store/indexed-source.js";
import { isExternal } from "./verify-content.js";
import { checkDepth } from "./walk.js";

/**
 * The children of an index, nested ones included, of which the source does not have everything: Docker saves an image so of
 * which it pulled one platform. `leftOut` is not looked at. Fails with `NOT_FOUND` where there is no child of which it has
 * everything. image-spec v1.1.1, image-layout.md "blobs".
 */
export async function absentChildren(
  source: IndexedSource,
  root: Descriptor,
  leftOut: readonly Descriptor[],
  options: Abortable = {},
): Promise<readonly Descriptor[]> {
  if (!isIndexType(root.mediaType) || (await source.size(root.digest)) === undefined) return [];
  const search: Search = { source, options, leftOut: new Set(leftOut.map(({ digest }) => digest)), known: new Map() };
  const { present, absent } = await look(root, search, []);
  if (present || absent.length === 0) return absent;
  throw new OciError("NOT_FOUND", `${source.name} has nothing of ${formatDescriptor(root)} but the index`);
}

interface Search {
  readonly source: IndexedSource;
  readonly options: Abortable;
  readonly leftOut: ReadonlySet<Digest>;
  readonly known: Map<Digest, Looked>;
}

interface Looked {
  /** True where there is something of it. */
  readonly present: boolean;
  readonly absent: readonly Descriptor[];
}

async function look(index: Descriptor, search: Search, path: readonly string[]): Promise<Looked> {
  checkDepth(path, index);
  const { manifest } = await readManifest(search.source, index, search.options);
  const absent: Descriptor[] = [];
  let present = false;
  for (const child of childrenOf(manifest)) {
    if (search.leftOut.has(child.digest)) continue;
    const looked = search.known.get(child.digest) ?? (await lookAtChild(child, search, [...path, child.digest]));
    search.known.set(child.digest, looked);
    if (looked.present) present = true;
    absent.push(...looked.absent);
  }
  return { present, absent };
}

async function lookAtChild(child: Descriptor, search: Search, path: readonly string[]): Promise<Looked> {
  const { source, options } = search;
  if (embeddedData(child) === undefined && (await source.lacks(child.digest)))
    return { present: false, absent: [child] };
  if (!isManifestType(child.mediaType)) return { present: true, absent: [] };
  if (isIndexType(child.mediaType)) {
    const looked = await look(child, search, path);
    return looked.present || looked.absent.length === 0
      ? { ...looked, present: true }
      : { present: false, absent: [child] };
  }
  const { manifest } = await readManifest(source, child, options);
  for (const part of childrenOf(manifest)) {
    if (isExternal(part) || embeddedData(part) !== undefined) continue;
    if (await source.lacks(part.digest)) return { present: false, absent: [child] };
  }
  return { present: true, absent: [] };
}
