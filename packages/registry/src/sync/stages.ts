import { keyOfPlace } from "./places.js";
import type { SyncItem, SyncPlace } from "./sync-file.js";

/** The numbers of the items in groups: those of a later group may read what those of an earlier one write. */
export function stagesOf(all: readonly SyncItem[]): readonly (readonly number[])[] {
  const stages: number[][] = [];
  /** The last stage in which a place is written. */
  const written = new Map<string, number>();
  for (const [at, item] of all.entries()) {
    const stage = (written.get(spot(item.source)) ?? -1) + 1;
    const items = stages[stage] ?? [];
    stages[stage] = items;
    items.push(at);
    const targets = item.target === undefined ? item.rename.map(({ host }) => `host ${host}`) : [spot(item.target)];
    for (const target of targets) written.set(target, Math.max(stage, written.get(target) ?? 0));
  }
  return stages;
}

function spot(place: SyncPlace): string {
  if (place.kind === "registry-prefix") return `host ${place.host}`;
  return place.kind === "registry" ? `host ${place.reference.host}` : keyOfPlace(place);
}
