import type { Abortable, Descriptor, Platform, Source } from "@stowage/layout";
import { ImageFiles } from "../files/image-files.js";
import { selectedEntries } from "../files/selected-entries.js";
import { Ignore } from "../ignore.js";
import { readImage } from "../image.js";
import type { LayerLimits } from "../open-layer.js";
import { readLayers } from "../read-layers.js";
import { readTar } from "../tar-reader.js";
import { prepareDestination } from "./destination.js";
import type { Written } from "./file-writer.js";
import { LayerWriter, type LayerWriterOptions } from "./layer-writer.js";

/** The options of {@link unpack}. */
export interface UnpackOptions extends LayerWriterOptions, LayerLimits, Abortable {
  /** Which image of an index. Default: Linux on this machine's processor. */
  readonly platform?: Platform | undefined;
  /** Let there be something in the directory; the image goes on top of it. Default: false. */
  readonly force?: boolean | undefined;
  /**
   * Only what matches one of these patterns, which mean what they do in a `.dockerignore` file, and the directories it is
   * in. The layers are read twice then. Default: everything.
   */
  readonly files?: readonly string[] | undefined;
  /** Told of bytes of tar that were taken in. */
  readonly onBytes?: ((count: number) => void) | undefined;
}

/** What {@link unpack} did. */
export interface UnpackResult extends Readonly<Written> {
  /** Of the image itself, also where it was found through an index. */
  readonly descriptor: Descriptor;
  readonly directory: string;
  readonly layers: number;
}

/**
 * Unpacks an image into a directory, its layers one onto the other, as {@link LayerWriter} says. Layers are verified while
 * they stream, against their descriptors and diff_ids. A directory that did not exist is there in the end whole or not at
 * all. Nothing is written outside of it, whatever the image holds; hostile names, links, devices and sizes fail with
 * `INVALID` or `LIMIT` and are named. Memory grows with the number of directories, not with the size of the image.
 */
export async function unpack(
  source: Source,
  reference: string | Descriptor,
  directory: string,
  options: UnpackOptions = {},
): Promise<UnpackResult> {
  const image = await readImage(source, reference, options.platform, options);
  const destination = prepareDestination(directory, options.force ?? false);
  const writer = new LayerWriter(destination.path, options);
  try {
    if (destination.isNew) writer.begin();
    if (options.files === undefined) {
      for await (const { tar, what } of readLayers(source, image, options))
        await writer.apply(readTar(tar, what, options), what);
    } else {
      const files = await ImageFiles.read(source, image, options);
      const wanted = new Ignore(options.files);
      const entries = selectedEntries(source, image, files, (path) => wanted.ignores(path), options);
      await writer.apply(entries, `the image ${image.descriptor.digest}`);
    }
    await writer.finish();
    destination.commit();
  } catch (error) {
    destination.abandon(() => writer.clear());
    throw error;
  } finally {
    writer.close();
  }
  return { descriptor: image.descriptor, directory, layers: image.layers.length, ...writer.written };
}
