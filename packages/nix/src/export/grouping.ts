import { OciError } from "@stowage/layout";
import { baseNameOf, type PathInfo } from "../formats/path-info.js";
import { popularity } from "./popularity.js";

/**
 * Which store paths get a layer of their own where there are not enough layers for all; the others share one.
 *
 * - `popularity`: those that most others need, as nixpkgs does it; small ones only where layers are left.
 * - `size`: the largest.
 * - `per-path`: all, however many there are.
 * - `single`: none.
 */
export type Layering = "popularity" | "size" | "per-path" | "single";

/** The values of {@link Layering}, the default first. */
export const layerings: readonly Layering[] = ["popularity", "size", "per-path", "single"];

/** The most layers that runtimes which know nothing of disjoint layers are sure to take: that is Docker's bound of 125, and room for some of one's own. */
export const DEFAULT_MAXIMUM_LAYERS = 100;
/** For less than this a layer of its own costs more than it saves, unless there are layers enough. */
const WORTH_A_LAYER = 1024 * 1024;

/**
 * Divides a closure into at most `maximum` layers. What many need comes first, so that images share the beginning of their lists; the paths that
 * share a layer come last, in bytewise order. The same closure is always divided in the same way. Fails with `INVALID` where
 * there is no layer to divide into.
 */
export function groupPaths<Info extends PathInfo>(
  infos: readonly Info[],
  layering: Layering,
  maximum: number,
): readonly (readonly Info[])[] {
  if (maximum < 1)
    throw new OciError("INVALID", "cannot put store paths into no layer", { hint: "Raise --max-layers." });
  const inOrder = [...infos].sort((one, other) => (one.path < other.path ? -1 : 1));
  if (layering === "single" || (maximum === 1 && layering !== "per-path")) return [inOrder];
  const scores = popularity(infos);
  const score = ({ path }: Info): bigint => scores.get(path) as bigint;
  const byPopularity = [...infos].sort((one, other) => compareDown(score(one), score(other)) || byName(one, other));
  if (layering === "per-path" || infos.length <= maximum) return byPopularity.map((info) => [info]);
  const candidates =
    layering === "size"
      ? [...infos].sort((one, other) => compareDown(one.narSize, other.narSize) || byName(one, other))
      : [
          ...byPopularity.filter(({ narSize }) => narSize >= WORTH_A_LAYER),
          ...byPopularity.filter(({ narSize }) => narSize < WORTH_A_LAYER),
        ];
  const alone = new Set(candidates.slice(0, maximum - 1));
  return [
    ...byPopularity.filter((info) => alone.has(info)).map((info) => [info]),
    inOrder.filter((info) => !alone.has(info)),
  ];
}

function compareDown<Value extends bigint | number>(one: Value, other: Value): number {
  return one === other ? 0 : one > other ? -1 : 1;
}

/** By name, and then by hash, which changes more often. */
function byName(one: PathInfo, other: PathInfo): number {
  const key = ({ path }: PathInfo): string => {
    const base = baseNameOf(path);
    return `${base.slice(33)}-${base.slice(0, 32)}`;
  };
  return key(one) < key(other) ? -1 : 1;
}
