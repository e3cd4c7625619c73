import { posix } from "node:path";
import type { Descriptor } from "../model/descriptor.js";
import { descriptorOf } from "../model/descriptor.js";
import { type Digest, Hasher, isDigest, isVerifiable } from "../model/digest.js";
import { OciError } from "../model/errors.js";
import { isJsonObject, type JsonObject, parseJson, parseJsonObject } from "../model/json.js";
import { encodeJson, type ImageManifest, MAXIMUM_MANIFEST_SIZE } from "../model/manifest.js";
import { annotationKeys, mediaTypes } from "../model/media-types.js";
import type { Platform } from "../model/platform.js";
import { collect } from "../model/verified.js";
import { emptyIndex, type LayoutIndex } from "../store/index-json.js";
import type { ArchiveFiles } from "./archive-files.js";
import { readVersion1Images } from "./version1-images.js";

/** What a `docker save` archive holds, as a layout would hold it. */
export interface DockerArchive {
  readonly index: LayoutIndex;
  /** The content that is made of what the archive says: manifests, and configs of images from before Docker 1.10. */
  readonly made: ReadonlyMap<Digest, Uint8Array>;
  /** The names of the files that hold everything else. */
  readonly files: ReadonlyMap<Digest, string>;
}

/** An image in a `docker save` archive: its config, and the names of its layers. */
export interface DockerImage {
  readonly names: readonly string[];
  readonly config: Uint8Array;
  /** The name of the file that the config is in, where there is one. */
  readonly configFile?: string;
  /** The lowest first. */
  readonly layers: readonly string[];
}

/** How many images or layers one archive may list. */
const MAXIMUM_ITEMS = 100_000;

/**
 * Reads a `docker save` archive without a layout in it: with a `manifest.json`, as Docker from 1.10 to 24, podman, skopeo,
 * kaniko, bazel and others write it, or with `repositories`, as Docker wrote it before. Each image becomes an OCI manifest
 * over the config and the layers as they are in the archive, the same one whenever it is read. Undefined where there is
 * neither. Fails with `INVALID`, naming the file, where something is damaged or missing.
 */
export async function readDockerArchive(files: ArchiveFiles, where: string): Promise<DockerArchive | undefined> {
  const images =
    files.size("manifest.json") !== undefined
      ? await readImages(files, where)
      : files.size("repositories") !== undefined
        ? await readVersion1Images(files, where)
        : undefined;
  if (images === undefined) return undefined;
  const made = new Map<Digest, Uint8Array>();
  const named = new Map<Digest, string>();
  const layers = new Map<string, Descriptor>();
  const manifests = new Map<string, Descriptor>();
  for (const image of images) {
    const manifest = encodeJson(await manifestOf(image, { files, where, named, layers, made }));
    const descriptor = descriptorOf(manifest, mediaTypes.manifest, platformOf(image.config, where));
    made.set(descriptor.digest, manifest);
    for (const name of image.names.length === 0 ? [undefined] : image.names) {
      const annotations = name === undefined ? {} : { annotations: { [annotationKeys.refName]: name } };
      manifests.set(`${name ?? descriptor.digest}`, { ...descriptor, ...annotations });
    }
  }
  return { index: { ...emptyIndex, manifests: [...manifests.values()] }, made, files: named };
}

/**
 * Reads a file of the archive as a whole. Fails with `INVALID` where it is not there, or there twice with different content, and
 * with `LIMIT` where it is larger than `limit` bytes.
 */
export async function readFile(
  files: ArchiveFiles,
  name: string,
  where: string,
  limit = MAXIMUM_MANIFEST_SIZE,
): Promise<Uint8Array> {
  const size = files.size(name);
  if (size === undefined) throw new OciError("INVALID", `${where} is not complete: it has no ${name}`);
  // The archive tells the size, before a byte of it is read.
  if (size > limit) throw new OciError("LIMIT", `${name} in ${where} has ${size} bytes; ${limit} are allowed`);
  const bytes = await collect(files.read(name), limit, `${name} in ${where}`);
  if (await files.sameInAll(name, bytes)) return bytes;
  throw new OciError("INVALID", `${where} has two files called ${name}: two readers would see two things`);
}

async function readImages(files: ArchiveFiles, where: string): Promise<readonly DockerImage[]> {
  const what = `manifest.json in ${where}`;
  const items = parseJson(await readFile(files, "manifest.json", where), what);
  if (!Array.isArray(items) || items.length > MAXIMUM_ITEMS)
    throw new OciError("INVALID", `${what} is no list of images`);
  const images: DockerImage[] = [];
  for (const [at, item] of items.entries()) {
    const image = `image ${at} of ${what}`;
    if (!isJsonObject(item) || typeof item.Config !== "string")
      throw new OciError("INVALID", `${image} names no config`);
    const configFile = fileName(item.Config, image);
    images.push({
      names: strings(item.RepoTags, `the RepoTags of ${image}`),
      config: await readFile(files, configFile, where),
      configFile,
      layers: strings(item.Layers, `the Layers of ${image}`).map((name) => fileName(name, image)),
    });
  }
  return images;
}

function strings(value: unknown, what: string): readonly string[] {
  if (value === null || value === undefined) return [];
  if (Array.isArray(value) && value.length <= MAXIMUM_ITEMS && value.every((item) => typeof item === "string"))
    return value;
  throw new OciError("INVALID", `${what} are no list of strings`);
}

/** Only names inside the archive are looked up, so none leads out of it; one that tries is told apart from one that is missing. */
function fileName(name: string, what: string): string {
  const normal = posix.normalize(name).replace(/^\.\//, "");
  if (normal.startsWith("/") || normal === ".." || normal.startsWith("../"))
    throw new OciError("DENIED", `${what} names ${JSON.stringify(name.slice(0, 200))}, which is not in the archive`);
  return normal;
}

interface Making {
  readonly files: ArchiveFiles;
  readonly where: string;
  readonly named: Map<Digest, string>;
  readonly made: Map<Digest, Uint8Array>;
  /** By file: images share layers. */
  readonly layers: Map<string, Descriptor>;
}

async function manifestOf(image: DockerImage, making: Making): Promise<ImageManifest> {
  const config = descriptorOf(image.config, mediaTypes.config);
  if (image.configFile === undefined) making.made.set(config.digest, image.config);
  else making.named.set(config.digest, image.configFile);
  const what = image.configFile ?? image.names[0] ?? "an image";
  const diffIds = diffIdsOf(parseJsonObject(image.config, `${what} in ${making.where}`), `${what} in ${making.where}`);
  if (diffIds.length !== image.layers.length)
    throw new OciError(
      "INVALID",
      `${making.where} lists ${image.layers.length} layers for ${what}, which has ${diffIds.length} diff_ids`,
    );
  const layers: Descriptor[] = [];
  for (const [at, name] of image.layers.entries()) {
    const layer = making.layers.get(name) ?? (await layerOf(name, diffIds[at] as Digest, making));
    making.layers.set(name, layer);
    making.named.set(layer.digest, name);
    layers.push(layer);
  }
  return { schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers };
}

function diffIdsOf(config: JsonObject, where: string): readonly Digest[] {
  const ids = isJsonObject(config.rootfs) ? (config.rootfs.diff_ids ?? []) : undefined;
  if (!Array.isArray(ids) || !ids.every((id) => typeof id === "string" && isDigest(id)))
    throw new OciError("INVALID", `${where} has no list of diff_ids`);
  return ids as Digest[];
}

/** The digest of a plain tar is its diffID, which is checked when it is read; that of a compressed one has to be found out. */
async function layerOf(name: string, diffId: Digest, { files, where }: Making): Promise<Descriptor> {
  const size = files.size(name);
  if (size === undefined) throw new OciError("INVALID", `${where} is not complete: it has no ${name}`);
  const magic = await firstBytes(files, name, 4);
  const mediaType = magic.startsWith("1f8b")
    ? mediaTypes.layerGzip
    : magic === "28b52ffd"
      ? mediaTypes.layerZstd
      : mediaTypes.layer;
  if (mediaType === mediaTypes.layer && isVerifiable(diffId)) return { mediaType, digest: diffId, size };
  return { mediaType, digest: await digestOfFile(files, name), size };
}

/** The sha256 digest of a file of the archive. */
export async function digestOfFile(files: ArchiveFiles, name: string): Promise<Digest> {
  const hasher = new Hasher("sha256");
  for await (const chunk of files.read(name)) hasher.update(chunk);
  return hasher.digest();
}

async function firstBytes(files: ArchiveFiles, name: string, count: number): Promise<string> {
  for await (const chunk of files.read(name)) return Buffer.from(chunk.subarray(0, count)).toString("hex");
  return "";
}

function platformOf(config: Uint8Array, where: string): { readonly platform?: Platform } {
  const { os, architecture, variant } = parseJsonObject(config, where);
  if (typeof os !== "string" || typeof architecture !== "string") return {};
  return { platform: { architecture, os, ...(typeof variant === "string" && variant !== "" ? { variant } : {}) } };
}
