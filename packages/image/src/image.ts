import {
  type Abortable,
  type Descriptor,
  formatDescriptor,
  formatPlatform,
  hostPlatform,
  isImageConfigType,
  isIndexType,
  matchesPlatform,
  OciError,
  type Platform,
  readBytes,
  readManifest,
  runnablePlatforms,
  type Source,
  selectPlatform,
} from "@stowage/layout";
import { type ImageConfig, parseConfig, platformOf } from "./config.js";

/** An image that was found and read: its manifest and config, no layer. */
export interface Image {
  /** Of the image itself, also where it was found through an index. */
  readonly descriptor: Descriptor;
  readonly config: ImageConfig;
  readonly layers: readonly Descriptor[];
  readonly annotations: Readonly<Record<string, string>>;
}

/**
 * Finds the image for the wanted platform and reads its configuration; without a wanted platform an index gives the image
 * for Linux on this machine's processor. A lower variant of the wanted platform is taken where the platform itself is not there, unless it
 * must be `exact`. Fails with `NOT_FOUND` where there is no such image, with `INVALID` where it is an
 * artifact or where its layers and diff_ids do not match up; `role`, such as `base image`, names it in the message.
 */
export async function readImage(
  source: Source,
  reference: string | Descriptor,
  wanted: Platform | undefined,
  options: Abortable & { readonly role?: string; readonly exact?: boolean } = {},
): Promise<Image> {
  const root = typeof reference === "string" ? await source.resolve(reference, options) : reference;
  const isIndex = isIndexType(root.mediaType);
  const selected = isIndex ? await selectPlatform(source, root, wanted ?? hostPlatform(), options) : root;
  const { descriptor, manifest } = await readManifest(source, selected, { signal: options.signal });
  const where = `the ${options.role ?? "image"} ${descriptor.digest} of ${source.name}`;
  if (manifest.kind !== "image" || !isImageConfigType(manifest.config.mediaType)) {
    throw new OciError(
      "INVALID",
      `${where} is no container image: ${manifest.kind === "image" ? `its config is ${manifest.config.mediaType}` : formatDescriptor(descriptor)}`,
    );
  }
  const config = parseConfig(
    await readBytes(source, manifest.config, { signal: options.signal }),
    `the config ${manifest.config.digest} of ${where}`,
  );
  const runnable = wanted === undefined || options.exact === true ? [wanted] : runnablePlatforms(wanted);
  if (!runnable.some((one) => one === undefined || matchesPlatform(platformOf(config), one))) {
    throw new OciError(
      "NOT_FOUND",
      `${where} is for ${formatPlatform(platformOf(config))}, not for ${formatPlatform(wanted as Platform)}`,
    );
  }
  if (config.rootfs.diff_ids.length !== manifest.layers.length) {
    throw new OciError(
      "INVALID",
      `${where} has ${manifest.layers.length} layers, but its config names ${config.rootfs.diff_ids.length}`,
    );
  }
  return { descriptor, config, layers: manifest.layers, annotations: manifest.annotations ?? {} };
}
