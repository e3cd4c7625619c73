import { type Descriptor, OciError, type Platform, type Source } from "@stowage/layout";
import { readImage } from "../image.js";
import { ImageFiles, type ImageFilesOptions } from "./image-files.js";
import { selectedEntries } from "./selected-entries.js";

/** The options of {@link cat}. */
export interface CatOptions extends ImageFilesOptions {
  /** Which image of an index. Default: Linux on this machine's processor. */
  readonly platform?: Platform | undefined;
}

/**
 * The content of a file of an image. Symbolic links are followed inside of the image only, as in a container whose root it
 * is. The image is read twice, once to find the file; whoever receives the end of the stream has received what the layer
 * holds. Fails with `NOT_FOUND` where there is no such file, with `INVALID` where it is a directory or device.
 */
export async function* cat(
  source: Source,
  reference: string | Descriptor,
  path: string,
  options: CatOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const image = await readImage(source, reference, options.platform, options);
  const file = (await ImageFiles.read(source, image, options)).get(path);
  if (file.type !== "file") throw new OciError("INVALID", `${JSON.stringify(path)} is a ${file.type} in the image`);
  for await (const { body } of selectedEntries(source, image, [file], () => true, options)) yield* body;
}
