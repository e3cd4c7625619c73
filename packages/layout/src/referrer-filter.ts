import type { Descriptor } from "./model/descriptor.js";
import { OciError } from "./model/errors.js";
import { annotationKeys } from "./model/media-types.js";
import { compareText } from "./store/index-json.js";

/** An annotation a referrer has to have, with any value where none is given. */
export interface AnnotationFilter {
  readonly key: string;
  readonly value?: string;
}

/**
 * Which referrers are meant. Every condition has to hold, at every level: what refers to a referrer that is left out is left
 * out as well.
 */
export interface ReferrerFilter {
  /** The artifactType is one of these. Default: any. */
  readonly artifactTypes?: readonly string[] | undefined;
  /** It has all of these annotations. */
  readonly annotations?: readonly AnnotationFilter[] | undefined;
  /** Of each artifactType only the latest that a subject has, see {@link compareCreated}. Default: false. */
  readonly latest?: boolean | undefined;
  /** How many levels: 1 is referrers without theirs, 0 none at all. Default: all. */
  readonly depth?: number | undefined;
}

/** Reads `KEY` or `KEY=VALUE`. Fails with `INVALID` where there is no key. */
export function parseAnnotationFilter(text: string): AnnotationFilter {
  const equals = text.indexOf("=");
  const key = equals < 0 ? text : text.slice(0, equals);
  if (key === "")
    throw new OciError("INVALID", `not an annotation: ${JSON.stringify(text.slice(0, 200))}`, {
      hint: "Write KEY, or KEY=VALUE.",
    });
  return equals < 0 ? { key } : { key, value: text.slice(equals + 1) };
}

/**
 * Those of a subject's referrers that the filter lets through, in their order. `level` is how far below an image they stand: 1
 * for its own referrers.
 */
export function selectReferrers(
  referrers: readonly Descriptor[],
  filter: ReferrerFilter,
  level: number,
): readonly Descriptor[] {
  if (filter.depth !== undefined && level > filter.depth) return [];
  const matching = referrers.filter((referrer) => matches(referrer, filter));
  if (filter.latest !== true) return matching;
  const latest = new Map<string, Descriptor>();
  for (const referrer of matching) {
    const type = referrer.artifactType ?? "";
    const known = latest.get(type);
    if (known === undefined || compareCreated(known, referrer) < 0) latest.set(type, referrer);
  }
  return matching.filter((referrer) => latest.get(referrer.artifactType ?? "") === referrer);
}

function matches(referrer: Descriptor, { artifactTypes, annotations }: ReferrerFilter): boolean {
  if (artifactTypes !== undefined && !artifactTypes.includes(referrer.artifactType ?? "")) return false;
  return (annotations ?? []).every(({ key, value }) => {
    const own = Object.hasOwn(referrer.annotations ?? {}, key) ? referrer.annotations?.[key] : undefined;
    return value === undefined ? own !== undefined : own === value;
  });
}

/**
 * Orders by the time in `org.opencontainers.image.created`, then by digest. What has no such time, or none that can be read,
 * comes before all that has.
 */
export function compareCreated(
  a: Pick<Descriptor, "annotations" | "digest">,
  b: Pick<Descriptor, "annotations" | "digest">,
): number {
  const [timeA, timeB] = [createdTime(a), createdTime(b)];
  if (timeA !== timeB) return timeA < timeB ? -1 : 1;
  return compareText(a.digest, b.digest);
}

function createdTime({ annotations }: Pick<Descriptor, "annotations">): number {
  const time = Date.parse(annotations?.[annotationKeys.created] ?? "");
  return Number.isNaN(time) ? Number.NEGATIVE_INFINITY : time;
}
