import { OciError, type TarReadHeader } from "@stowage/layout";
import type { History } from "../config.js";
import type { ImageFile } from "../files/image-file.js";
import { ImageFiles } from "../files/image-files.js";
import { selectedEntries } from "../files/selected-entries.js";
import { type EncodedTarEntry, writeTar } from "../tar.js";
import { copyTarEntry } from "../tar-copy.js";
import { type LayerContent, writeTarLayer } from "./layer-content.js";
import type { MutableImage, MutableLayer } from "./mutable-image.js";

/** Layers that lie one onto the other, by number; the lowest is 0. */
export interface LayerRange {
  readonly first: number;
  readonly last: number;
}

/**
 * The image with one layer in the place of several, and with the same files: what the last of them leaves, without what it
 * hides. Below it whiteouts take away what the layers did; where nothing is below there are none. A single layer stays as it is. Fails as
 * {@link ImageFiles} does. image-spec v1.1.1, layer.md.
 */
export async function squash(run: LayerContent, image: MutableImage, range: LayerRange): Promise<MutableImage> {
  const { first, last } = range;
  if (first >= last) return image;
  const squashed = image.layers.slice(first, last + 1);
  const below = await readFiles(run, image, first);
  const files = await readFiles(run, image, last + 1);
  const key = `squash ${first} ${image.layers.slice(0, last + 1).map(({ diffId }) => diffId)}`;
  const made = await writeTarLayer(run, key, squashed[0]?.descriptor, () =>
    writeTar(entries(run, image, below, files, last + 1), { signal: run.signal }),
  );
  const layer: MutableLayer = { ...made, history: [stepOf(squashed, image.config.created)] };
  return { ...image, layers: [...image.layers.slice(0, first), layer, ...image.layers.slice(last + 1)] };
}

/** The history of a layer that others became. */
function stepOf(layers: readonly MutableLayer[], created: string | undefined): History {
  return {
    created: created ?? "1970-01-01T00:00:00Z",
    created_by: "stowage mutate",
    comment: `${layers.length} layers in one`,
  };
}

function readFiles(run: LayerContent, image: MutableImage, count: number): Promise<ImageFiles> {
  return ImageFiles.read(run.content, upTo(image, count), { ...run, allowDuplicates: true });
}

/** The image without its upper layers. */
function upTo(image: MutableImage, count: number) {
  const layers = image.layers.slice(0, count);
  const rootfs = { type: "layers" as const, diff_ids: layers.map(({ diffId }) => diffId) };
  return { layers: layers.map(({ descriptor }) => descriptor), config: { ...image.config, rootfs } };
}

async function* entries(
  run: LayerContent,
  image: MutableImage,
  below: ImageFiles,
  files: ImageFiles,
  count: number,
): AsyncGenerator<EncodedTarEntry, void, undefined> {
  const what = "the new layer";
  const lower = new Map([...below].map((file) => [file.path, file]));
  for (const path of whiteouts(lower, files)) yield copyTarEntry(whiteout(path), what);
  const selected = selectedEntries(run.content, upTo(image, count), changed(lower, files), () => true, run);
  for await (const { header, body } of selected) {
    const name = header.type === "directory" ? `${header.name || "."}/` : header.name;
    yield copyTarEntry({ header: { ...header, name }, body }, what);
  }
}

/** The files that are not as they are below. All names of such a file are among them, so that they stay names of one file. */
function* changed(lower: ReadonlyMap<string, ImageFile>, files: ImageFiles): Generator<ImageFile, void, undefined> {
  const renamed = new Set<string>();
  for (const file of files) if (!isSame(file, lower.get(file.path)) && isLinkable(file)) renamed.add(entryOf(file));
  for (const file of files)
    if (isLinkable(file) ? renamed.has(entryOf(file)) : !isSame(file, lower.get(file.path))) yield file;
}

function isLinkable({ type }: ImageFile): boolean {
  return type === "file" || type === "symlink";
}

function isSame(file: ImageFile, known: ImageFile | undefined): boolean {
  return known !== undefined && file.type === known.type && entryOf(file) === entryOf(known);
}

function entryOf({ layer, entry }: ImageFile): string {
  return `${layer} ${entry}`;
}

/** What is below and not there any more, each with all that is in it. */
function* whiteouts(lower: ReadonlyMap<string, ImageFile>, files: ImageFiles): Generator<string, void, undefined> {
  const upper = new Map([...files].map(({ path, type }) => [path, type]));
  for (const path of lower.keys()) {
    if (upper.has(path)) continue;
    const parent = path.slice(0, Math.max(path.lastIndexOf("/"), 0));
    // What takes the place of a directory hides what was in it.
    if (upper.get(parent) === "directory") yield path;
  }
}

function whiteout(path: string): { readonly header: TarReadHeader; readonly body: AsyncIterable<Uint8Array> } {
  const slash = path.lastIndexOf("/") + 1;
  return {
    header: {
      name: `${path.slice(0, slash)}.wh.${path.slice(slash)}`,
      type: "file",
      mode: 0o600,
      uid: 0,
      gid: 0,
      size: 0,
      mtime: 0,
      pax: {},
      xattrs: new Map(),
    },
    body: { async *[Symbol.asyncIterator]() {} },
  };
}

/** Reads a range as people count: the lowest layer is 1. Fails with `INVALID` where there are no such layers. */
export function rangeOf(image: MutableImage, { first, last }: LayerRange): LayerRange {
  if (
    Number.isSafeInteger(first) &&
    Number.isSafeInteger(last) &&
    first >= 1 &&
    first <= last &&
    last <= image.layers.length
  )
    return { first: first - 1, last: last - 1 };
  throw new OciError(
    "INVALID",
    `the image ${image.before.digest} has ${image.layers.length} layers, not ${first} to ${last}`,
  );
}
