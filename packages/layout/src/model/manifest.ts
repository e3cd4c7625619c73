import {
  type Annotations,
  type Descriptor,
  parseAnnotations,
  parseArtifactType,
  parseDescriptor,
} from "./descriptor.js";
import { OciError } from "./errors.js";
import { type JsonObject, parseJsonObject } from "./json.js";
import { isImageManifestType, isIndexType, isManifestType, mediaTypes } from "./media-types.js";

/** An image manifest, or an artifact packed as one. image-spec v1.1.1, manifest.md. */
export interface ImageManifest {
  readonly schemaVersion: 2;
  readonly mediaType?: string;
  readonly artifactType?: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly annotations?: Annotations;
}

/** An image index. image-spec v1.1.1, image-index.md. */
export interface ImageIndex {
  readonly schemaVersion: 2;
  readonly mediaType?: string;
  readonly artifactType?: string;
  readonly manifests: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly annotations?: Annotations;
}

/** Content that points at other content, parsed and checked. The bytes it came from are kept by whoever read them. */
export type Manifest =
  | (ImageManifest & { readonly kind: "image" })
  | (ImageIndex & { readonly kind: "index" })
  | {
      readonly kind: "artifact";
      readonly mediaType: string;
      readonly artifactType?: string;
      readonly blobs: readonly Descriptor[];
      readonly subject?: Descriptor;
      readonly annotations?: Annotations;
    };

/** The largest manifest or index that is read or written, in bytes. distribution-spec v1.1.1 asks clients and registries for at least 4 MB. */
export const MAXIMUM_MANIFEST_SIZE = 8 * 1024 * 1024;

/** What every registry should take, in bytes; many take no more. distribution-spec v1.1.1, "Pushing Manifests". */
export const PORTABLE_MANIFEST_SIZE = 4 * 1024 * 1024;

/**
 * Parses the bytes of a manifest or index of the given type. Fails with `INVALID` where a field breaks the spec, where the
 * `mediaType` inside disagrees with `mediaType`, or where it has both `layers` and `manifests` (CVE-2021-41190).
 * `where` names the content in the message.
 */
export function parseManifest(bytes: Uint8Array, mediaType: string, where: string): Manifest {
  const value = parseJsonObject(bytes, where);
  if (value.mediaType !== undefined && value.mediaType !== mediaType) {
    throw new OciError(
      "INVALID",
      `${where} says it is ${JSON.stringify(value.mediaType)}, but its descriptor says ${mediaType}`,
    );
  }
  const artifactType = parseArtifactType(value.artifactType, where);
  const common = {
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(value.subject === undefined || value.subject === null
      ? {}
      : { subject: parseDescriptor(value.subject, `the subject of ${where}`) }),
    ...(value.annotations === undefined || value.annotations === null
      ? {}
      : { annotations: parseAnnotations(value.annotations, where) }),
  };
  if (mediaType === mediaTypes.artifactManifest) {
    return { kind: "artifact", mediaType, ...common, blobs: parseDescriptors(value.blobs, "blobs", where) };
  }
  if (value.schemaVersion !== 2)
    throw new OciError("INVALID", `${where} has schemaVersion ${JSON.stringify(value.schemaVersion)}, not 2`);
  if (isIndexType(mediaType)) {
    refuse(value, ["layers", "config", "fsLayers"], "an index", where);
    return {
      kind: "index",
      schemaVersion: 2,
      mediaType,
      ...common,
      manifests: parseDescriptors(value.manifests, "manifests", where),
    };
  }
  if (isImageManifestType(mediaType)) {
    refuse(value, ["manifests", "fsLayers"], "a manifest", where);
    const config = parseDescriptor(value.config, `the config of ${where}`);
    return {
      kind: "image",
      schemaVersion: 2,
      mediaType,
      ...common,
      config,
      layers: parseDescriptors(value.layers, "layers", where),
    };
  }
  throw new OciError("UNSUPPORTED", `${where} is ${mediaType}, which is no manifest`);
}

function refuse(value: JsonObject, keys: readonly string[], what: string, where: string): void {
  for (const key of keys) {
    if (value[key] !== undefined)
      throw new OciError(
        "INVALID",
        `${where} is ${what}, yet it has ${JSON.stringify(key)}: two readers would see two things`,
      );
  }
}

function parseDescriptors(value: unknown, key: string, where: string): readonly Descriptor[] {
  if (value === null || (value === undefined && key === "blobs")) return [];
  if (!Array.isArray(value)) throw new OciError("INVALID", `${where} has no ${key}`);
  return value.map((item, index) => parseDescriptor(item, `${key}[${index}] of ${where}`));
}

/**
 * What the content points at, in document order: config and layers, or manifests, or blobs. The `subject` is not among
 * them: it is a weak link (image-spec v1.1.1, manifest.md "subject").
 */
export function childrenOf(manifest: Manifest): readonly Descriptor[] {
  switch (manifest.kind) {
    case "image":
      return [manifest.config, ...manifest.layers];
    case "index":
      return manifest.manifests;
    case "artifact":
      return manifest.blobs;
  }
}

/**
 * The type a manifest is listed under: its artifactType, otherwise the media type of its config; for an index without an
 * artifactType nothing. distribution-spec v1.1.1, "Listing Referrers".
 */
export function effectiveArtifactType(manifest: Manifest): string | undefined {
  if (manifest.artifactType !== undefined) return manifest.artifactType;
  return manifest.kind === "image" ? manifest.config.mediaType : undefined;
}

/**
 * The descriptor a referrers list holds for a manifest: type, digest, size, the effective artifactType and all annotations
 * of the manifest, and nothing else. distribution-spec v1.1.1, "Pushing Manifests with Subject".
 */
export function referrerDescriptor(descriptor: Descriptor, manifest: Manifest): Descriptor {
  const artifactType = effectiveArtifactType(manifest);
  return {
    mediaType: descriptor.mediaType,
    digest: descriptor.digest,
    size: descriptor.size,
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(manifest.annotations === undefined ? {} : { annotations: manifest.annotations }),
  };
}

/**
 * The media type of the manifest in `bytes`, from its own `mediaType` field or, where it has none, from its shape.
 * Undefined where it is no manifest.
 */
export function sniffManifestType(value: JsonObject): string | undefined {
  if (typeof value.mediaType === "string") return isManifestType(value.mediaType) ? value.mediaType : undefined;
  if (value.schemaVersion !== 2) return undefined;
  if (Array.isArray(value.manifests)) return mediaTypes.index;
  if (typeof value.config === "object" && value.config !== null && Array.isArray(value.layers))
    return mediaTypes.manifest;
  return undefined;
}

/** The bytes of a document this program makes: JSON in the given key order, no trailing newline. */
export function encodeJson(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}
