import { existsSync } from "node:fs";
import { basename } from "node:path";
import type { Abortable, Content, Target } from "./content.js";
import {
  type Annotations,
  type Descriptor,
  descriptorOf,
  emptyBytes,
  emptyDescriptor,
  isMediaType,
  parseMediaType,
  plainDescriptor,
} from "./model/descriptor.js";
import { isOciError, OciError } from "./model/errors.js";
import { encodeJson } from "./model/manifest.js";
import { annotationKeys, isManifestType, mediaTypes } from "./model/media-types.js";
import { contentOf } from "./model/verified.js";
import { contentOfFile } from "./store/file-content.js";

/** A file to attach. */
export interface AttachedFile {
  readonly path: string;
  /** Default: what the name suggests ({@link mediaTypeOfFile}), else `application/octet-stream`. */
  readonly mediaType?: string | undefined;
  /** The title annotation. Default: the name of the file without its directories. */
  readonly title?: string | undefined;
}

/** Reads `FILE[:MEDIATYPE]`. A name that holds a colon and exists is a name. */
export function parseAttachedFile(text: string): AttachedFile {
  const colon = text.lastIndexOf(":");
  const mediaType = text.slice(colon + 1);
  if (colon < 1 || !isMediaType(mediaType) || existsSync(text)) return { path: text };
  return { path: text.slice(0, colon), mediaType };
}

/** The options of {@link attach}. */
export interface AttachOptions extends Abortable {
  /** The files, in the order in which the manifest lists them. None makes a referrer that consists of its annotations. */
  readonly files?: readonly AttachedFile[];
  /** What the referrer is. Default: the media type of the first file, where its name tells one. */
  readonly artifactType?: string | undefined;
  readonly annotations?: Annotations;
  /** The `org.opencontainers.image.created` annotation, RFC 3339. Default: none. */
  readonly created?: string | undefined;
  /**
   * What the config of the referrer is: `empty`, as image-spec wants it for an artifact, or an `image` config that names no
   * platform, for registries that take nothing but container images. Default: `empty`.
   */
  readonly config?: "empty" | "image" | undefined;
  /** A tag for the referrer itself. Default: none; it is found through its subject. */
  readonly tag?: string | undefined;
  /** Told the number of bytes as they are stored or sent. */
  readonly onBytes?: (count: number) => void;
}

/** What was attached. */
export interface AttachResult {
  readonly descriptor: Descriptor;
  readonly subject: Descriptor;
  readonly artifactType: string;
  readonly files: readonly Descriptor[];
}

/**
 * Stores the files and a manifest whose subject is `subject`, so that `target.referrers(subject)` lists it. Neither the
 * subject's digest nor its tags change, and it need not be present. The same input makes the same digest; attaching it
 * again changes nothing. Fails with `INVALID` where no artifactType can be told, and with `NOT_FOUND` for a missing file;
 * then nothing was stored. image-spec v1.1.1, manifest.md "Guidelines for Artifact Usage".
 */
export async function attach(target: Target, subject: Descriptor, options: AttachOptions = {}): Promise<AttachResult> {
  if (!isManifestType(subject.mediaType)) {
    throw new OciError("INVALID", `cannot attach to ${subject.digest}: ${subject.mediaType} is no manifest`, {
      hint: "Only a manifest or an index can have referrers.",
    });
  }
  const artifactType = chooseArtifactType(options);
  const files: Content[] = [];
  for (const file of options.files ?? []) files.push(await artifactContent(file));
  const annotations = {
    ...options.annotations,
    ...(options.created === undefined ? {} : { [annotationKeys.created]: options.created }),
  };
  const layers = files.length === 0 ? [emptyDescriptor] : files.map((file) => file.descriptor);
  const config = options.config === "image" ? imageConfig(layers) : contentOf(emptyBytes, emptyDescriptor);
  const bytes = encodeJson({
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    artifactType,
    config: config.descriptor,
    layers,
    subject: plainDescriptor(subject),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations: sorted(annotations) }),
  });
  const descriptor = descriptorOf(bytes, mediaTypes.manifest, { artifactType });
  await target.push(config, options);
  if (files.length === 0) await target.push(contentOf(emptyBytes, emptyDescriptor), options);
  for (const file of files) await target.push(file, options);
  await pushReferrer(target, contentOf(bytes, descriptor), options);
  if (options.tag !== undefined) await target.tag(options.tag, descriptor, options);
  return { descriptor, subject: plainDescriptor(subject), artifactType, files: files.map((file) => file.descriptor) };
}

/** The config of an image that is for no platform; what is attached is not packed, so each layer is its own diff. */
function imageConfig(layers: readonly Descriptor[]): Content {
  const bytes = encodeJson({
    architecture: "unknown",
    os: "unknown",
    config: {},
    rootfs: { type: "layers", diff_ids: layers.map(({ digest }) => digest) },
  });
  return contentOf(bytes, descriptorOf(bytes, mediaTypes.config));
}

async function pushReferrer(target: Target, referrer: Content, options: AttachOptions): Promise<void> {
  try {
    await target.push(referrer, options);
  } catch (error) {
    if (options.config === "image" || !isOciError(error, "INVALID") || error.hint !== undefined) throw error;
    throw new OciError(error.code, error.message, {
      hint: "Registries that take nothing but container images, GitLab's for one, may take it with --config image.",
      cause: error,
    });
  }
}

const MEDIA_TYPES_BY_ENDING: readonly (readonly [string, string])[] = [
  [".spdx.json", "application/spdx+json"],
  [".spdx", "text/spdx"],
  [".cdx.json", "application/vnd.cyclonedx+json"],
  [".cdx.xml", "application/vnd.cyclonedx+xml"],
  [".bom.json", "application/vnd.cyclonedx+json"],
  [".intoto.jsonl", "application/vnd.in-toto+json"],
  [".intoto.json", "application/vnd.in-toto+json"],
  [".sigstore.json", "application/vnd.dev.sigstore.bundle.v0.3+json"],
  [".sarif", "application/sarif+json"],
  [".sarif.json", "application/sarif+json"],
  [".vex.json", "application/vex+json"],
];
const PLAIN_TYPES_BY_ENDING: readonly (readonly [string, string])[] = [
  [".json", "application/json"],
  [".txt", "text/plain"],
  [".md", "text/markdown"],
  [".xml", "application/xml"],
  [".yaml", "application/yaml"],
  [".yml", "application/yaml"],
];

/** The media type that a file name suggests: `application/spdx+json` for `x.spdx.json`. Undefined where it suggests none. */
export function mediaTypeOfFile(path: string): string | undefined {
  return byEnding(MEDIA_TYPES_BY_ENDING, path) ?? byEnding(PLAIN_TYPES_BY_ENDING, path);
}

function byEnding(table: readonly (readonly [string, string])[], path: string): string | undefined {
  return table.find(([ending]) => path.toLowerCase().endsWith(ending))?.[1];
}

function chooseArtifactType(options: AttachOptions): string {
  if (options.artifactType !== undefined) return parseMediaType(options.artifactType);
  const [first] = options.files ?? [];
  // application/json says what the bytes are, not what the artifact is.
  const suggested = first === undefined ? undefined : (first.mediaType ?? byEnding(MEDIA_TYPES_BY_ENDING, first.path));
  if (suggested !== undefined) return parseMediaType(suggested);
  throw new OciError(
    "INVALID",
    first === undefined
      ? "cannot attach without files and without an artifact type"
      : `cannot tell the artifact type of ${first.path}`,
    {
      hint: "Say what is attached, for example --artifact-type application/spdx+json.",
    },
  );
}

/** A file as a blob of an artifact, with its title. Fails with `INVALID` where the media type is none, and with `NOT_FOUND`. */
export async function artifactContent(file: AttachedFile): Promise<Content> {
  const mediaType = parseMediaType(file.mediaType ?? mediaTypeOfFile(file.path) ?? mediaTypes.octetStream);
  const content = await contentOfFile(file.path, mediaType);
  return {
    ...content,
    descriptor: { ...content.descriptor, annotations: { [annotationKeys.title]: file.title ?? basename(file.path) } },
  };
}

/** Keys in bytewise order, so that the order of options on a command line does not reach a digest. */
function sorted(annotations: Annotations): Annotations {
  return Object.fromEntries(Object.entries(annotations).sort(([a], [b]) => (a < b ? -1 : 1)));
}
