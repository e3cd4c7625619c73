import type { Source, TarReadHeader } from "@stowage/layout";
import type { Image } from "../image.js";
import { type ReadLayersOptions, readLayers } from "../read-layers.js";
import { readTar, type TarReadEntry } from "../tar-reader.js";
import type { ImageFile } from "./image-file.js";

const NOTHING: AsyncIterable<Uint8Array> = { async *[Symbol.asyncIterator]() {} };

/**
 * The files for which `isWanted` is true and the directories they are in, as the entries of one layer that has the same
 * files when it stands alone: directories and what has no content first, then what each layer still has in the image, each
 * file once and its other names as hard links behind it. Only the layers that hold such content are read.
 */
export async function* selectedEntries(
  source: Pick<Source, "fetch">,
  image: Pick<Image, "layers" | "config">,
  files: Iterable<ImageFile>,
  isWanted: (path: string) => boolean,
  options: Omit<ReadLayersOptions, "only"> = {},
): AsyncGenerator<TarReadEntry, void, undefined> {
  const contents = new Map<number, Map<number, ImageFile[]>>();
  for (const file of select(files, isWanted)) {
    if (file.type !== "file" && file.type !== "symlink") {
      yield { header: headerOf(file), body: NOTHING };
      continue;
    }
    const layer = file.layer as number;
    const entries = contents.get(layer) ?? new Map<number, ImageFile[]>();
    contents.set(layer, entries.set(file.entry, [...(entries.get(file.entry) ?? []), file]));
  }
  for await (const { at, tar, what } of readLayers(source, image, { ...options, only: new Set(contents.keys()) })) {
    let entry = 0;
    for await (const { body } of readTar(tar, what, options)) {
      const [first, ...more] = contents.get(at)?.get(entry++) ?? [];
      if (first === undefined) continue;
      yield { header: headerOf(first), body };
      for (const name of more)
        yield { header: { ...headerOf(name), size: 0, type: "hardlink", linkname: first.path }, body: NOTHING };
    }
  }
}

/** The wanted files, and before them the directories on the way that are not wanted for themselves. */
function* select(
  files: Iterable<ImageFile>,
  isWanted: (path: string) => boolean,
): Generator<ImageFile, void, undefined> {
  let waiting: ImageFile[] = [];
  for (const file of files) {
    // A directory comes before what is in it.
    waiting = waiting.filter(({ path }) => path === "" || file.path.startsWith(`${path}/`));
    if (isWanted(file.path)) {
      yield* waiting;
      waiting = [];
      yield file;
    } else if (file.type === "directory") waiting.push(file);
  }
}

function headerOf({ path, linkname, device, ...file }: ImageFile): TarReadHeader {
  const { type, mode, uid, gid, mtime, size, xattrs, pax } = file;
  return {
    name: path,
    type,
    mode,
    uid,
    gid,
    mtime,
    size,
    xattrs,
    pax,
    ...(linkname === undefined ? {} : { linkname }),
    ...(device === undefined ? {} : { device }),
  };
}
