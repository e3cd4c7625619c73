import { OciError } from "@stowage/layout";
import { baseNameOf, type PathInfo } from "./path-info.js";

/** What only needs references. */
export type Referring = Pick<PathInfo, "path" | "references">;

/** The paths in an order in which each stands in front of what it refers to. Fails with `INVALID` where there is a circle. */
export function topologicalOrder<Info extends Referring>(infos: readonly Info[]): Info[] {
  const byBase = new Map(infos.map((info) => [baseNameOf(info.path), info]));
  const counts = new Map<string, number>();
  for (const info of infos)
    for (const base of others(info)) if (byBase.has(base)) counts.set(base, (counts.get(base) ?? 0) + 1);
  const ready = infos.filter(({ path }) => !counts.has(baseNameOf(path)));
  const order: Info[] = [];
  for (let info = ready.pop(); info !== undefined; info = ready.pop()) {
    order.push(info);
    for (const base of others(info)) {
      const left = (counts.get(base) ?? 0) - 1;
      counts.set(base, left);
      const referred = byBase.get(base);
      if (left === 0 && referred !== undefined) ready.push(referred);
    }
  }
  if (order.length === infos.length) return order;
  const [circular] = infos.filter((info) => !order.includes(info));
  throw new OciError("INVALID", `${circular?.path} refers to itself through others, which no store path does`);
}

/** What a path refers to beside itself, each once. */
export function others({ path, references }: Referring): string[] {
  const own = baseNameOf(path);
  return [...new Set(references)].filter((base) => base !== own);
}
