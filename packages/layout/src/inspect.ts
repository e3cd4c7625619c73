import type { Abortable, Source } from "./content.js";
import type { Descriptor } from "./model/descriptor.js";
import { isJsonObject, type JsonObject, parseJsonObject } from "./model/json.js";
import { effectiveArtifactType } from "./model/manifest.js";
import { isImageConfigType } from "./model/media-types.js";
import { formatPlatform } from "./model/platform.js";
import { readBytes, readManifest } from "./model/verified.js";
import { type ReferrerFilter, selectReferrers } from "./referrer-filter.js";
import { type RelatedManifest, related } from "./related.js";

/** The options of {@link inspect}. */
export interface InspectOptions extends Abortable {
  /** Which referrers are shown. Default: all. */
  readonly referrers?: ReferrerFilter | undefined;
}

/** What a manifest or index says of itself. */
export interface Inspection {
  readonly source: string;
  readonly descriptor: Descriptor;
  readonly kind: "image" | "artifact" | "index";
  readonly artifactType?: string;
  readonly annotations?: Descriptor["annotations"];
  readonly subject?: Descriptor;
  /** Of an index: its manifests. */
  readonly manifests?: readonly Descriptor[];
  /** Of an image: `os/architecture[/variant]`, when it was created, and what runs in it, as its config has them. */
  readonly platform?: string;
  readonly created?: string;
  readonly config?: JsonObject;
  /** Of an image or artifact: its layers, and bytes in all of them together. */
  readonly layers?: readonly Descriptor[];
  readonly layersSize?: number;
  /** The digests of the uncompressed layers. */
  readonly diffIds?: readonly string[];
  readonly referrers: readonly Descriptor[];
  /** What goes with it and has no `subject` that says so; in a registry, what legacy tags tell. Absent where there is nothing. */
  readonly related?: readonly RelatedManifest[];
}

/** Reads a manifest, its image config where it has one, and the list of its referrers; no layer. */
export async function inspect(
  source: Source,
  descriptor: Descriptor,
  options: InspectOptions = {},
): Promise<Inspection> {
  const { signal, referrers: filter } = options;
  const { manifest } = await readManifest(source, descriptor, { signal });
  const referrers: Descriptor[] = [];
  for await (const referrer of source.referrers(descriptor, { signal })) referrers.push(referrer);
  const others = await related(source, descriptor, { signal });
  const common = {
    source: source.name,
    descriptor,
    ...(manifest.annotations === undefined ? {} : { annotations: manifest.annotations }),
    ...(manifest.subject === undefined ? {} : { subject: manifest.subject }),
    referrers: filter === undefined ? referrers : selectReferrers(referrers, filter, 1),
    ...(others.length === 0 ? {} : { related: others }),
  };
  if (manifest.kind === "index") {
    return {
      ...common,
      kind: "index",
      ...(manifest.artifactType === undefined ? {} : { artifactType: manifest.artifactType }),
      manifests: manifest.manifests,
    };
  }
  const layers = manifest.kind === "image" ? manifest.layers : manifest.blobs;
  const sizes = { layers, layersSize: layers.reduce((sum, layer) => sum + layer.size, 0) };
  if (manifest.kind === "image" && isImageConfigType(manifest.config.mediaType)) {
    const config = parseJsonObject(
      await readBytes(source, manifest.config, { signal }),
      `the config ${manifest.config.digest}`,
    );
    return { ...common, kind: "image", ...sizes, ...imageFields(config) };
  }
  const artifactType = effectiveArtifactType(manifest);
  return { ...common, kind: "artifact", ...(artifactType === undefined ? {} : { artifactType }), ...sizes };
}

function imageFields(config: JsonObject): Pick<Inspection, "platform" | "created" | "config" | "diffIds"> {
  const { os, architecture, variant, created, rootfs } = config;
  const diffIds =
    isJsonObject(rootfs) && Array.isArray(rootfs.diff_ids)
      ? rootfs.diff_ids.filter((id) => typeof id === "string")
      : [];
  const platform =
    typeof os === "string" && typeof architecture === "string"
      ? formatPlatform({ os, architecture, ...(typeof variant === "string" ? { variant } : {}) })
      : undefined;
  return {
    ...(platform === undefined ? {} : { platform }),
    ...(typeof created === "string" ? { created } : {}),
    ...(isJsonObject(config.config) ? { config: config.config } : {}),
    diffIds,
  };
}
