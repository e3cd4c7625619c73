import type { Abortable } from "./content.js";
import type { Descriptor } from "./model/descriptor.js";
import { annotationKeys, mediaTypes } from "./model/media-types.js";
import { isTag, parseReference } from "./model/reference.js";
import { compareEntries, type LayoutIndex, refName } from "./store/index-json.js";
import type { Layout } from "./store/layout.js";

/**
 * Writes `index.json` as Stowage would have written it: with its media type, each entry once, sorted by name and digest,
 * and full image names as a tag beside the annotation `io.containerd.image.name`. A name whose tag another entry has stays
 * as it is, and so does whatever is not known here. No entry and no content is lost. Returns the index as it is then.
 */
export function normalize(layout: Layout, options: Abortable = {}): Promise<LayoutIndex> {
  return layout.update(({ schemaVersion, mediaType: _mediaType, manifests, ...rest }) => {
    const taken = new Map<string, number>();
    for (const entry of manifests) {
      const name = shortName(entry) ?? refName(entry);
      if (name !== undefined) taken.set(name, (taken.get(name) ?? 0) + 1);
    }
    const entries = new Map<string, Descriptor>();
    for (const entry of manifests) {
      const short = shortName(entry);
      const renamed = short !== undefined && taken.get(short) === 1 ? withTagAndName(entry, short) : entry;
      entries.set(JSON.stringify(renamed), renamed);
    }
    // A new object also where nothing changed but the form: the file is written anew from it.
    return {
      schemaVersion,
      mediaType: mediaTypes.index,
      manifests: [...entries.values()].sort(compareEntries),
      ...rest,
    };
  }, options);
}

/** The tag in a full image name, or undefined where the name is none or has no tag of its own. */
function shortName(entry: Descriptor): string | undefined {
  const name = refName(entry);
  if (name === undefined || !name.includes("/") || name.includes("@")) return undefined;
  try {
    const { tag } = parseReference(name);
    return tag !== undefined && isTag(tag) && name.endsWith(`:${tag}`) ? tag : undefined;
  } catch {
    return undefined;
  }
}

function withTagAndName(entry: Descriptor, tag: string): Descriptor {
  const annotations = { [annotationKeys.containerdName]: refName(entry) as string, ...entry.annotations };
  return { ...entry, annotations: { ...annotations, [annotationKeys.refName]: tag } };
}
