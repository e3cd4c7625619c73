import { type Digest, digestOf, Hasher, isVerifiable, parseDigest } from "./digest.js";
import { OciError } from "./errors.js";
import { isJsonObject } from "./json.js";
import { mediaTypes } from "./media-types.js";
import type { Platform } from "./platform.js";

/** String to string, as the spec has them. image-spec v1.1.1, annotations.md. */
export type Annotations = Readonly<Record<string, string>>;

/**
 * What a piece of content is: its type, its digest and its size in bytes. Field names are those on the wire.
 * image-spec v1.1.1, descriptor.md.
 */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes of the raw content; a safe integer, never negative. */
  readonly size: number;
  readonly urls?: readonly string[];
  readonly annotations?: Annotations;
  /** The content itself in base64, or absent. Use {@link embeddedData}, which verifies it. */
  readonly data?: string;
  readonly artifactType?: string;
  readonly platform?: Platform;
}

const MEDIA_TYPE = /^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}\/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$/;

let lastMediaType: string | undefined;

/** True if `text` is a media type without parameters (RFC 6838, section 4.2). */
export function isMediaType(text: string): boolean {
  // One after the other, most descriptors have the same.
  if (text === lastMediaType) return true;
  if (!MEDIA_TYPE.test(text)) return false;
  lastMediaType = text;
  return true;
}

/** Returns `text` if it is a media type, or fails with `INVALID`. */
export function parseMediaType(text: string): string {
  if (isMediaType(text)) return text;
  throw new OciError("INVALID", `not a media type: ${JSON.stringify(text.slice(0, 200))}`, {
    hint: "A media type looks like application/spdx+json.",
  });
}

/**
 * Returns `value`, something parsed from foreign JSON, as a descriptor. Every field it has is checked; fields it does not
 * know are kept. Fails with `INVALID`; `where` names the place in the message.
 */
export function parseDescriptor(value: unknown, where: string): Descriptor {
  if (!isJsonObject(value)) throw invalid(where, "is not an object");
  if (typeof value.mediaType !== "string" || !isMediaType(value.mediaType)) {
    throw invalid(where, `has ${value.mediaType === undefined ? "no mediaType" : "a mediaType that is not one"}`);
  }
  if (typeof value.size !== "number" || !Number.isSafeInteger(value.size) || value.size < 0) {
    throw invalid(
      where,
      `has ${value.size === undefined ? "no size" : `the size ${JSON.stringify(value.size)}, which is not a number of bytes`}`,
    );
  }
  try {
    parseDigest(value.digest);
  } catch (cause) {
    throw new OciError("INVALID", `${where}: ${(cause as Error).message}`, { hint: (cause as OciError).hint, cause });
  }
  if (value.urls !== undefined && value.urls !== null && !(isStringArray(value.urls) && value.urls.every(isUri)))
    throw invalid(where, "has urls that are none");
  parseArtifactType(value.artifactType, where);
  if (value.data !== undefined && (typeof value.data !== "string" || !isBase64(value.data))) {
    throw invalid(where, "has data that is not base64");
  }
  if (value.platform !== undefined && value.platform !== null) checkPlatform(value.platform, where);
  parseAnnotations(value.annotations, where);
  return value as unknown as Descriptor;
}

/**
 * Returns `value` as an artifactType (absent, null and empty are undefined), or fails with `INVALID` where it is no text. The
 * spec wants a media type; tools write `sbom`, and what they wrote is to be found.
 */
export function parseArtifactType(value: unknown, where: string): string | undefined {
  if (value === undefined || value === null || value === "") return undefined;
  if (typeof value === "string") return value;
  throw invalid(where, "has an artifactType that is not a string");
}

/** Returns `value` as annotations (absent and null are empty), or fails with `INVALID` where a value is not a string. */
export function parseAnnotations(value: unknown, where: string): Annotations {
  if (value === undefined || value === null) return {};
  if (!isJsonObject(value)) throw invalid(where, "has annotations that are not an object");
  // An index may have a hundred thousand of them: nothing is made for each.
  for (const key in value) {
    const text = value[key];
    if (typeof text !== "string") throw invalid(where, `has an annotation ${JSON.stringify(key)} that is not a string`);
  }
  return value as Annotations;
}

function checkPlatform(value: unknown, where: string): void {
  if (!isJsonObject(value) || typeof value.architecture !== "string" || typeof value.os !== "string") {
    throw invalid(where, "has a platform without os and architecture");
  }
  for (const key of ["os.version", "variant"]) {
    if (value[key] !== undefined && typeof value[key] !== "string")
      throw invalid(where, `has a platform whose ${key} is not a string`);
  }
  const features = value["os.features"];
  if (features !== undefined && features !== null && !isStringArray(features)) {
    throw invalid(where, "has a platform whose os.features are not strings");
  }
}

/** RFC 3986: a scheme, and only characters that a URI may have. Whether anything is there is not asked. */
function isUri(text: string): boolean {
  return /^[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*$/.test(text);
}

function isStringArray(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

/** Standard alphabet, padded (RFC 4648, section 4). */
function isBase64(text: string): boolean {
  return text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text);
}

function invalid(where: string, problem: string): OciError {
  return new OciError("INVALID", `${where} ${problem}`);
}

/** The descriptor of `bytes`. */
export function descriptorOf(bytes: Uint8Array, mediaType: string, extra: Partial<Descriptor> = {}): Descriptor {
  return { mediaType, digest: digestOf(bytes), size: bytes.byteLength, ...extra };
}

/** Only what identifies content: mediaType, digest, size. This is what a `subject` holds. */
export function plainDescriptor(descriptor: Descriptor): Descriptor {
  return { mediaType: descriptor.mediaType, digest: descriptor.digest, size: descriptor.size };
}

/** The content embedded in `data`, if it is there and has the declared digest and size; otherwise undefined. */
export function embeddedData(descriptor: Descriptor): Uint8Array | undefined {
  if (descriptor.data === undefined || !isBase64(descriptor.data) || !isVerifiable(descriptor.digest)) return undefined;
  const bytes = Buffer.from(descriptor.data, "base64");
  if (bytes.byteLength !== descriptor.size) return undefined;
  const hasher = Hasher.for(descriptor.digest);
  hasher.update(bytes);
  return hasher.digest() === descriptor.digest ? bytes : undefined;
}

/** The bytes `{}`, the content of the empty descriptor. */
export const emptyBytes: Uint8Array = new TextEncoder().encode("{}");

/** The empty descriptor, for an artifact without a config or without a blob. image-spec v1.1.1, manifest.md "Guidance for an Empty Descriptor". */
export const emptyDescriptor: Descriptor = {
  mediaType: mediaTypes.empty,
  digest: digestOf(emptyBytes),
  size: emptyBytes.byteLength,
  data: "e30=",
};

/** One line for messages: `application/... sha256:... (123 bytes)`. */
export function formatDescriptor(descriptor: Descriptor): string {
  return `${descriptor.mediaType} ${descriptor.digest} (${descriptor.size} bytes)`;
}
