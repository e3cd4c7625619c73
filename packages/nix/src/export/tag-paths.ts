import { type Abortable, annotationKeys, type Descriptor, IndexedTarget, refName, type Target } from "@stowage/layout";
import { baseNameOf } from "../formats/path-info.js";

/** Lets the hash of each store path be the tag of its manifest; in a layout with one change for all of them. */
export async function tagPaths(
  target: Target,
  paths: ReadonlyMap<string, Descriptor>,
  options: Abortable,
): Promise<void> {
  const tags = new Map([...paths].map(([path, descriptor]) => [baseNameOf(path).slice(0, 32), descriptor]));
  if (!(target instanceof IndexedTarget)) {
    for (const [tag, descriptor] of tags) await target.tag(tag, descriptor, options);
    return;
  }
  await target.update((index) => {
    const kept = index.manifests.filter((entry) => !tags.has(refName(entry) ?? ""));
    const entries = [...tags].map(([tag, descriptor]) => ({
      ...descriptor,
      annotations: { ...descriptor.annotations, [annotationKeys.refName]: tag },
    }));
    return { ...index, manifests: [...kept, ...entries] };
  }, options);
}
