import {
  type Abortable,
  annotationKeys,
  type Descriptor,
  isOciError,
  OciError,
  type Platform,
  type Source,
} from "@stowage/layout";
import type { BaseImage } from "./base.js";
import { platformOf } from "./config.js";
import { type Image, readImage } from "./image.js";

/** What an image says of the image it was built on. image-spec v1.1.1, annotations.md. */
export interface RecordedBase {
  readonly image: Image;
  /** `org.opencontainers.image.base.name`. */
  readonly name?: string;
  /** `org.opencontainers.image.base.digest`: that of the image, or of the index it was in. */
  readonly digest?: string;
}

/** What {@link checkBase} found. */
export interface BaseCheck {
  readonly descriptor: Descriptor;
  /** Where the base was looked for. */
  readonly base: string;
  readonly recorded?: string;
  /** The digest that the reference of the base has now, and that of its image for the platform. */
  readonly current: { readonly digest: string; readonly image: string };
  /** True where the base is another one than was recorded. */
  readonly isNewer: boolean;
  /** True where the lowest layers of the image are those of the base as it is now. */
  readonly hasCurrentLayers: boolean;
  /** The same for the base that was recorded; absent where that one is not to be had any more. */
  readonly hasRecordedLayers?: boolean;
}

/** Reads what an image says of its base. Fails as {@link readImage} does. */
export async function recordedBase(
  source: Source,
  reference: string | Descriptor,
  options: Abortable & { readonly platform?: Platform | undefined } = {},
): Promise<RecordedBase> {
  const image = await readImage(source, reference, options.platform, options);
  const { [annotationKeys.baseName]: name, [annotationKeys.baseDigest]: digest } = image.annotations;
  return { image, ...(name === undefined ? {} : { name }), ...(digest === undefined ? {} : { digest }) };
}

/**
 * Looks whether the base of an image is still what it was when the image was built, and whether the image still starts with
 * its layers. Fails with `NOT_FOUND` where the base is not there, with `INVALID` where the image does not tell the digest
 * of its base and its layers are not those of the base as it is now.
 */
export async function checkBase(recorded: RecordedBase, base: BaseImage, options: Abortable = {}): Promise<BaseCheck> {
  const { image, digest } = recorded;
  const { source } = base;
  const platform = platformOf(image.config);
  const root = typeof base.reference === "string" ? await source.resolve(base.reference, options) : base.reference;
  const now = await readImage(source, root, platform, { ...options, role: "base image" });
  const hasCurrentLayers = startsWith(image, now);
  if (digest === undefined && !hasCurrentLayers) {
    throw new OciError("INVALID", `${image.descriptor.digest} does not say what it was built on`, {
      hint: `It has no annotation ${annotationKeys.baseDigest}, and its layers are not those of the base.`,
    });
  }
  const then = digest === undefined ? undefined : await readOld(source, digest, platform, options);
  return {
    descriptor: image.descriptor,
    base: base.name ?? source.name,
    ...(digest === undefined ? {} : { recorded: digest }),
    current: { digest: root.digest, image: now.descriptor.digest },
    isNewer: digest !== undefined && digest !== root.digest && digest !== now.descriptor.digest,
    hasCurrentLayers,
    ...(then === undefined ? {} : { hasRecordedLayers: startsWith(image, then) }),
  };
}

/** A base by its digest, which may be gone. */
async function readOld(
  source: Source,
  digest: string,
  platform: Platform,
  options: Abortable,
): Promise<Image | undefined> {
  try {
    return await readImage(source, digest, platform, options);
  } catch (error) {
    if (isOciError(error, "NOT_FOUND")) return undefined;
    throw error;
  }
}

function startsWith(image: Image, base: Image): boolean {
  const { diff_ids: lower } = base.config.rootfs;
  return lower.every((diffId, at) => image.config.rootfs.diff_ids[at] === diffId);
}
