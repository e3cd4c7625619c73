import {
  contentOf,
  type Descriptor,
  descriptorOf,
  encodeJson,
  formatPlatform,
  mediaTypes,
  normalizePlatform,
  OciError,
  type Platform,
  parseAnnotations,
} from "@stowage/layout";
import { type BuildEvent, type BuildOptions, type BuiltImage, buildImage, withData } from "./build-image.js";
import { sorted } from "./config.js";
import type { BuildTarget } from "./content-writer.js";
import { keyOfPlatform } from "./index-entries.js";
import { annotationsAt } from "./leveled-annotation.js";

/** The names that what is built gets. */
export interface BuildTags {
  /** In the target. Without any it is found by its digest only. */
  readonly tags?: readonly string[] | undefined;
}

/** What {@link build} made. */
export interface BuildResult extends BuiltImage {
  readonly tags: readonly string[];
}

/** The options of {@link buildIndex}. */
export interface BuildIndexOptions extends Omit<BuildOptions, "platform">, BuildTags {
  /** One image is built for each. */
  readonly platforms: readonly [Platform, ...Platform[]];
}

/** What {@link buildIndex} made. */
export interface IndexBuildResult {
  /** Of the index. */
  readonly descriptor: Descriptor;
  /** In the order in which the index lists them: by platform. */
  readonly images: readonly BuiltImage[];
  readonly tags: readonly string[];
}

/** Builds an image as {@link buildImage} does. Tags are set last, when all content is there. */
export async function build(target: BuildTarget, options: BuildOptions & BuildTags): Promise<BuildResult> {
  if (["index", "index-descriptor"].some((level) => hasAny(options, level as "index")))
    throw new OciError("INVALID", "an annotation is for the index, and a single image has none", {
      hint: "Name several platforms, or ask for an index of one: --index.",
    });
  const image = await buildImage(target, options);
  return { ...image, tags: await nameIn(target, image.descriptor, options) };
}

/**
 * Builds an image for each platform, as {@link buildImage} does, and an index of them: the same names in mappings may stand
 * for other files on each (see {@link FileMapping}). The order of `platforms` does not matter. Fails with `CONFLICT` where two of
 * them are the same, and as {@link buildImage} does. image-spec v1.1.1, image-index.md.
 */
export async function buildIndex(target: BuildTarget, options: BuildIndexOptions): Promise<IndexBuildResult> {
  const { platforms, annotations, dataMax = -1, signal } = options;
  const wanted = new Map<string, Platform>();
  for (const platform of platforms.map(normalizePlatform)) {
    const key = keyOfPlatform(platform);
    if (wanted.has(key)) throw new OciError("CONFLICT", `two images for ${formatPlatform(platform)}`);
    wanted.set(key, platform);
  }
  const own = sorted(annotationsAt(annotations, "index"));
  parseAnnotations(own, "the index");
  const images: BuiltImage[] = [];
  for (const [, platform] of [...wanted].sort(([one], [other]) => (one < other ? -1 : 1)))
    images.push(await buildImage(target, { ...options, platform }));
  const bytes = encodeJson({
    schemaVersion: 2,
    mediaType: mediaTypes.index,
    manifests: await Promise.all(images.map(({ descriptor }) => withData(target, descriptor, dataMax))),
    ...(Object.keys(own).length === 0 ? {} : { annotations: own }),
  });
  const described = annotationsAt(annotations, "index-descriptor");
  const descriptor = descriptorOf(bytes, mediaTypes.index, {
    ...(Object.keys(described).length === 0 ? {} : { annotations: sorted(described) }),
  });
  await target.push(contentOf(bytes, descriptor), { signal });
  options.onEvent?.({ type: "manifest", descriptor });
  return { descriptor, images, tags: await nameIn(target, descriptor, options) };
}

function hasAny({ annotations }: BuildOptions, level: "index" | "index-descriptor"): boolean {
  return Object.keys(annotationsAt(annotations, level)).length > 0;
}

/** Tags what was built, or lists it without a name. */
export async function nameIn(
  target: BuildTarget,
  descriptor: Descriptor,
  { tags: wanted = [], signal, onEvent }: BuildTags & Pick<BuildOptions, "signal" | "onEvent">,
): Promise<readonly string[]> {
  const tags = [...new Set(wanted)];
  for (const tag of tags) {
    await target.tag(tag, descriptor, { signal });
    onEvent?.({ type: "tag", tag } satisfies BuildEvent);
  }
  if (tags.length === 0) await target.addEntry(descriptor, { signal });
  return tags;
}
