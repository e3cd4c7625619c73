import { type Descriptor, OciError, type Platform, type Source } from "@stowage/layout";
import { entryPath } from "../entry-path.js";
import { type Image, readImage } from "../image.js";
import { readLayers } from "../read-layers.js";
import { readTar } from "../tar-reader.js";
import type { ImageFile } from "./image-file.js";
import { ImageFiles, type ImageFilesOptions } from "./image-files.js";

/** The options of {@link listFiles}. */
export interface ListFilesOptions extends ImageFilesOptions {
  /** Which image of an index. Default: Linux on this machine's processor. */
  readonly platform?: Platform | undefined;
  /** The entries of this layer as they stand in it; the lowest is 1. Default: the files of the whole image. */
  readonly layer?: number | undefined;
}

/** A file of an image or an entry of a layer, as plain data. */
export interface ListedFile extends Omit<ImageFile, "type" | "xattrs" | "layer" | "entry"> {
  /** In a layer also `hardlink`, `whiteout` and `opaque`; the last two with the path they take away or empty. */
  readonly type: ImageFile["type"] | "hardlink" | "whiteout" | "opaque" | "unknown";
  /** Extended attributes in base64. */
  readonly xattrs: Readonly<Record<string, string>>;
  /** The layer it comes from, the lowest is 1; absent for a directory that no layer describes. */
  readonly layer?: number;
}

/**
 * The files of an image, each directory before what is in it and names in bytewise order, or the entries of one layer in
 * their order. Every layer that is read is verified. Fails as {@link ImageFiles} does, and with `NOT_FOUND` where there is no such layer.
 */
export async function* listFiles(
  source: Source,
  reference: string | Descriptor,
  options: ListFilesOptions = {},
): AsyncGenerator<ListedFile, void, undefined> {
  const image = await readImage(source, reference, options.platform, options);
  if (options.layer !== undefined) {
    yield* listLayer(source, image, options.layer, options);
    return;
  }
  for (const { entry: _entry, layer, xattrs, ...file } of await ImageFiles.read(source, image, options))
    yield { ...file, xattrs: inBase64(xattrs), ...(layer === undefined ? {} : { layer: layer + 1 }) };
}

async function* listLayer(
  source: Source,
  image: Image,
  layer: number,
  options: ListFilesOptions,
): AsyncGenerator<ListedFile, void, undefined> {
  if (image.layers[layer - 1] === undefined)
    throw new OciError(
      "NOT_FOUND",
      `the image ${image.descriptor.digest} has ${image.layers.length} layers, none is ${layer}`,
    );
  for await (const { tar, what } of readLayers(source, image, { ...options, only: new Set([layer - 1]) })) {
    for await (const { header } of readTar(tar, what, options)) {
      const { name, xattrs, ...rest } = header;
      const path = entryPath(name, what);
      if (path.kind === "metadata") continue;
      const type = path.kind === "path" ? rest.type : path.kind;
      yield { ...rest, type, path: path.parts.join("/"), xattrs: inBase64(xattrs), layer };
    }
  }
}

function inBase64(xattrs: ReadonlyMap<string, Uint8Array>): Record<string, string> {
  return Object.fromEntries([...xattrs].map(([name, value]) => [name, Buffer.from(value).toString("base64")]));
}
