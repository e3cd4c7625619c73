import type { Abortable, Source } from "./content.js";
import type { Descriptor } from "./model/descriptor.js";
import { OciError } from "./model/errors.js";
import { parseJsonObject } from "./model/json.js";
import { isImageConfigType, isIndexType } from "./model/media-types.js";
import { formatPlatform, matchesPlatform, type Platform, runnablePlatforms } from "./model/platform.js";
import { readBytes, readManifest } from "./model/verified.js";
import { isAttestation } from "./store/conventions.js";
import { checkDepth } from "./walk.js";

/**
 * The manifest below `descriptor` for a platform: the first one that matches, in document order, nested indexes
 * included; where none does, one for the next lower variant, as {@link runnablePlatforms} orders them. An image manifest is returned as it is where its config agrees or says nothing. Fails with `NOT_FOUND`, naming
 * the platforms there are. image-spec v1.1.1, image-index.md "platform".
 */
export async function selectPlatform(
  source: Source,
  descriptor: Descriptor,
  platform: Platform,
  options: Abortable = {},
): Promise<Descriptor> {
  const available = new Set<string>();
  for (const one of runnablePlatforms(platform)) {
    const found = await find(source, descriptor, { platform: one, available, options, seen: new Set() }, []);
    if (found !== undefined) return found;
  }
  const list = [...available].join(", ");
  throw new OciError("NOT_FOUND", `${source.name} has no ${formatPlatform(platform)} in ${descriptor.digest}`, {
    hint: list === "" ? "It names no platform at all." : `It has ${list}.`,
  });
}

interface Search {
  readonly platform: Platform;
  readonly available: Set<string>;
  /** An index that many others hold is looked into once. */
  readonly seen: Set<string>;
  readonly options: Abortable;
}

async function find(
  source: Source,
  descriptor: Descriptor,
  search: Search,
  path: readonly string[],
): Promise<Descriptor | undefined> {
  const { platform, available, seen, options } = search;
  if (seen.has(descriptor.digest)) return undefined;
  seen.add(descriptor.digest);
  checkDepth(path, descriptor);
  const { manifest } = await readManifest(source, descriptor, options);
  if (manifest.kind === "index") {
    for (const child of manifest.manifests) {
      // BuildKit's attestations are children with the platform unknown/unknown; they are no platform.
      if (child.platform?.os === "unknown" || isAttestation(child)) continue;
      if (child.platform !== undefined) available.add(formatPlatform(child.platform));
      if (child.platform !== undefined && matchesPlatform(child.platform, platform)) return child;
      if (child.platform === undefined && isIndexType(child.mediaType)) {
        const nested = await find(source, child, search, [...path, child.digest]);
        if (nested !== undefined) return nested;
      }
    }
    return undefined;
  }
  const own =
    manifest.kind === "image" && isImageConfigType(manifest.config.mediaType)
      ? await platformOfConfig(source, manifest.config, options)
      : undefined;
  if (own === undefined) return descriptor;
  available.add(formatPlatform(own));
  return matchesPlatform(own, platform) ? descriptor : undefined;
}

/** The platform an image config names, or undefined where it names none. image-spec v1.1.1, config.md "Properties". */
export async function platformOfConfig(
  source: Pick<Source, "fetch">,
  config: Descriptor,
  options: Abortable = {},
): Promise<Platform | undefined> {
  const value = parseJsonObject(await readBytes(source, config, options), `the config ${config.digest}`);
  const { architecture, os, variant } = value;
  if (typeof architecture !== "string" || typeof os !== "string" || architecture === "" || os === "") return undefined;
  const version = value["os.version"];
  const features = value["os.features"];
  return {
    architecture,
    os,
    ...(typeof variant === "string" && variant !== "" ? { variant } : {}),
    ...(typeof version === "string" && version !== "" ? { "os.version": version } : {}),
    ...(Array.isArray(features) && features.length > 0 && features.every((one) => typeof one === "string")
      ? { "os.features": features }
      : {}),
  };
}
