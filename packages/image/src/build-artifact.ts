import {
  type Abortable,
  type AttachedFile,
  artifactContent,
  type Content,
  contentOf,
  type Descriptor,
  descriptorOf,
  emptyBytes,
  emptyDescriptor,
  encodeJson,
  isImageConfigType,
  mediaTypes,
  OciError,
  parseAnnotations,
  parseMediaType,
} from "@stowage/layout";
import { type BuildTags, nameIn } from "./build.js";
import { type BuildOptions, withData } from "./build-image.js";
import { sorted } from "./config.js";
import type { BuildTarget } from "./content-writer.js";
import { annotationsAt } from "./leveled-annotation.js";

/** The options of {@link buildArtifact}. */
export interface BuildArtifactOptions
  extends Abortable,
    BuildTags,
    Pick<BuildOptions, "annotations" | "dataMax" | "onEvent"> {
  /** The blobs, in the order in which the manifest lists them. None makes an artifact that consists of its annotations. */
  readonly files?: readonly AttachedFile[] | undefined;
  /** What the artifact is. Without a config it must be said; with one, the type of the config says it, too. */
  readonly artifactType?: string | undefined;
  /** Default: the empty config. */
  readonly config?: AttachedFile | undefined;
}

/** What {@link buildArtifact} made. */
export interface ArtifactBuildResult {
  readonly descriptor: Descriptor;
  /** The artifactType, or else the type of the config. */
  readonly artifactType: string;
  readonly config: Descriptor;
  /** The blobs. */
  readonly files: readonly Descriptor[];
  readonly tags: readonly string[];
}

/**
 * Makes a manifest of files that are no layers of an image, each of any media type, and stores it. The same input makes the
 * same digest. Fails with `INVALID` where nothing says what the artifact is, and where its config would be taken for that of an
 * image; with `NOT_FOUND` where a file is missing. Then nothing was stored. image-spec v1.1.1, manifest.md "Guidelines for
 * Artifact Usage".
 */
export async function buildArtifact(target: BuildTarget, options: BuildArtifactOptions): Promise<ArtifactBuildResult> {
  const { dataMax = -1, signal } = options;
  const artifactType = options.artifactType === undefined ? undefined : parseMediaType(options.artifactType);
  const files: Content[] = [];
  for (const file of options.files ?? []) files.push(await artifactContent(file));
  const config =
    options.config === undefined
      ? contentOf(emptyBytes, emptyDescriptor)
      : untitled(await artifactContent(options.config));
  checkConfig(config.descriptor, artifactType);
  const annotations = sorted(annotationsAt(options.annotations, "manifest"));
  parseAnnotations(annotations, "the manifest");
  const empty = contentOf(emptyBytes, emptyDescriptor);
  const blobs = files.length === 0 ? [empty] : files;
  for (const blob of new Set([config, ...blobs])) await target.push(blob, { signal });
  const bytes = encodeJson({
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    ...(artifactType === undefined ? {} : { artifactType }),
    config: await withData(target, config.descriptor, dataMax),
    layers: await Promise.all(blobs.map(({ descriptor }) => withData(target, descriptor, dataMax))),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  });
  const described = sorted(annotationsAt(options.annotations, "manifest-descriptor"));
  const descriptor = descriptorOf(bytes, mediaTypes.manifest, {
    artifactType: artifactType ?? config.descriptor.mediaType,
    ...(Object.keys(described).length === 0 ? {} : { annotations: described }),
  });
  await target.push(contentOf(bytes, descriptor), { signal });
  options.onEvent?.({ type: "manifest", descriptor });
  return {
    descriptor,
    artifactType: artifactType ?? config.descriptor.mediaType,
    config: config.descriptor,
    files: files.map((file) => file.descriptor),
    tags: await nameIn(target, descriptor, options),
  };
}

function checkConfig({ mediaType }: Descriptor, artifactType: string | undefined): void {
  if (isImageConfigType(mediaType))
    throw new OciError("INVALID", `the config of an artifact cannot be ${mediaType}: that makes it an image`, {
      hint: "Write another type behind the file: FILE:MEDIATYPE.",
    });
  if (mediaType === mediaTypes.empty && artifactType === undefined)
    throw new OciError("INVALID", "an artifact without a config needs an artifactType", {
      hint: "Say what it is, for example --artifact-type application/vnd.example.model.v1.",
    });
}

/** A config is no file with a name. */
function untitled({ descriptor: { annotations: _annotations, ...descriptor }, ...content }: Content): Content {
  return { ...content, descriptor };
}
