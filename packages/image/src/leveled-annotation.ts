import { type Annotations, matchesPlatform, OciError, type Platform, parsePlatform } from "@stowage/layout";

/**
 * What an annotation is of: the manifest of an image, its entry in the index (or in the index.json of a layout), the index of
 * several images, or the entry of that in index.json.
 */
export type AnnotationLevel = "manifest" | "manifest-descriptor" | "index" | "index-descriptor";

/** An annotation, and what it is of. */
export interface LeveledAnnotation {
  readonly level: AnnotationLevel;
  /** Only of images for this platform. */
  readonly platform?: Platform | undefined;
  readonly key: string;
  readonly value: string;
}

const LEVEL = "(?:manifest|index)(?:-descriptor)?";
const LEVELS = new RegExp(`^(${LEVEL}(?:\\[[^\\]]+\\])?(?:,${LEVEL}(?:\\[[^\\]]+\\])?)*):`);
const ONE_LEVEL = new RegExp(`(${LEVEL})(?:\\[([^\\]]+)\\])?`, "g");

/**
 * Reads `[LEVEL[,LEVEL]:]KEY=VALUE`, as `docker buildx build --annotation` does: a level may name a platform in brackets, and
 * without any the annotation is of the manifest. Fails with `INVALID`.
 */
export function parseLeveledAnnotation(text: string): readonly LeveledAnnotation[] {
  const levels = LEVELS.exec(text)?.[1];
  const pair = levels === undefined ? text : text.slice(levels.length + 1);
  const equals = pair.indexOf("=");
  if (equals < 1)
    throw new OciError("INVALID", `${JSON.stringify(text)} is not KEY=VALUE`, {
      hint: "Before the key may stand what it is of: manifest, index, manifest-descriptor or index-descriptor, and a colon.",
    });
  const own = { key: pair.slice(0, equals), value: pair.slice(equals + 1) };
  return [...(levels ?? "manifest").matchAll(ONE_LEVEL)].map(([, level, platform]) => ({
    level: level as AnnotationLevel,
    ...(platform === undefined ? {} : { platform: parsePlatform(platform) }),
    ...own,
  }));
}

/** The annotations of a level, for an image of this platform. Those without a level are of manifests. */
export function annotationsAt(
  annotations: Annotations | readonly LeveledAnnotation[] | undefined,
  level: AnnotationLevel,
  platform?: Platform,
): Annotations {
  if (!isLeveled(annotations)) return level === "manifest" ? (annotations ?? {}) : {};
  const own = annotations.filter(
    (one) =>
      one.level === level &&
      (one.platform === undefined || platform === undefined || matchesPlatform(platform, one.platform)),
  );
  return Object.fromEntries(own.map(({ key, value }) => [key, value]));
}

function isLeveled(
  annotations: Annotations | readonly LeveledAnnotation[] | undefined,
): annotations is readonly LeveledAnnotation[] {
  return Array.isArray(annotations);
}
