import {
  type Abortable,
  annotationKeys,
  type Descriptor,
  isAttestation,
  isImageConfigType,
  parseJsonObject,
  readBytes,
  readManifest,
  type Source,
} from "@stowage/layout";

/** Reproducible builds state some moment before 1980 that says nothing about the age of an image. */
const FIRST_TIME_THAT_TELLS = Date.UTC(1980, 0, 2);

/** When an image was created, in ms since 1970: as it is annotated, else as its config or that of its first platform says; 0 where nothing does. */
export async function createdTime(source: Source, descriptor: Descriptor, options: Abortable): Promise<number> {
  const { manifest } = await readManifest(source, descriptor, options);
  const annotated = timeIn(manifest.annotations?.[annotationKeys.created]);
  if (annotated > 0) return annotated;
  if (manifest.kind === "index") {
    const first = manifest.manifests.find((child) => !isAttestation(child));
    // One level: an index of indexes without an annotation tells nothing.
    if (first === undefined) return 0;
    const read = await readManifest(source, first, options);
    return read.manifest.kind === "image" ? configTime(source, read.manifest.config, options) : 0;
  }
  return manifest.kind === "image" ? configTime(source, manifest.config, options) : 0;
}

async function configTime(source: Source, config: Descriptor, options: Abortable): Promise<number> {
  if (!isImageConfigType(config.mediaType)) return 0;
  return timeIn(parseJsonObject(await readBytes(source, config, options), `the config ${config.digest}`).created);
}

function timeIn(text: unknown): number {
  const time = typeof text === "string" ? Date.parse(text) : 0;
  return time >= FIRST_TIME_THAT_TELLS ? time : 0;
}
