import { type BuildTarget, type Compression, type ConfigChanges, type Layer, makeConfig } from "@stowage/image";
import {
  type Abortable,
  type Annotations,
  annotationKeys,
  contentOf,
  type Descriptor,
  descriptorOf,
  emptyBytes,
  emptyDescriptor,
  encodeJson,
  mediaTypes,
  OciError,
  type Platform,
  plainDescriptor,
} from "@stowage/layout";
import { CLOSURE_TYPE, DISJOINT_FEATURE, nixKeys, PATH_TYPE } from "../layer/annotations.js";
import type { Closure } from "../sources/closure.js";

/** The largest manifest that every registry has to take, in bytes. distribution-spec v1.1.1, "Pushing Manifests". */
const MAXIMUM_MANIFEST = 4 * 1024 * 1024;

/** A layer with what its making is told as. */
export interface ImageLayer extends Layer {
  readonly comment: string;
}

/** What an image of a closure is made of. */
export interface StoreImage {
  readonly shape: "narrow" | "wide";
  readonly closure: Closure;
  readonly compression: Compression;
  /** The first at the bottom. */
  readonly layers: readonly ImageLayer[];
  readonly config: ConfigChanges & { readonly platform: Platform };
  readonly annotations?: Annotations | undefined;
  /** What the manifest refers to. */
  readonly subject?: Descriptor | undefined;
}

/** Stores the config and the manifest of an image. */
export async function writeStoreImage(target: BuildTarget, image: StoreImage, options: Abortable): Promise<Descriptor> {
  const { platform } = image.config;
  const created = image.config.created ?? "1970-01-01T00:00:00Z";
  const layers = image.layers.map(({ diffId, comment }) => ({
    diffId,
    history: { created, created_by: "stowage nix export", comment },
  }));
  const config = encodeJson(makeConfig(image.config, layers));
  const configDescriptor = descriptorOf(config, mediaTypes.config);
  await target.push(contentOf(config, configDescriptor), options);
  const manifest = encodeJson({
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: configDescriptor,
    layers: image.layers.map(({ descriptor }) => descriptor),
    ...(image.subject === undefined ? {} : { subject: plainDescriptor(image.subject) }),
    annotations: inOrder({
      ...image.annotations,
      ...closureAnnotations(image.closure, image.compression),
      [annotationKeys.disjointVersion]: "1",
      [nixKeys.shape]: image.shape,
    }),
  });
  return push(target, manifest, mediaTypes.manifest, { platform }, options);
}

/** What a manifest says of the closure it is made of. */
function closureAnnotations({ roots, storeDirectory }: Closure, compression: Compression): Annotations {
  return {
    [nixKeys.roots]: JSON.stringify(roots),
    [nixKeys.storeDirectory]: storeDirectory,
    [nixKeys.compression]: compression,
  };
}

/** Stores an index of the image with few layers and the one with many, for what knows that they are disjoint. */
export async function writeStoreIndex(
  target: BuildTarget,
  narrow: Descriptor,
  wide: Descriptor,
  platform: Platform,
  options: Abortable,
): Promise<Descriptor> {
  // The first that fits is taken by whoever does not look at features.
  const manifests = [
    { ...plainDescriptor(narrow), platform },
    { ...plainDescriptor(wide), platform: { ...platform, "os.features": [DISJOINT_FEATURE] } },
  ];
  const index = encodeJson({ schemaVersion: 2, mediaType: mediaTypes.index, manifests });
  return push(target, index, mediaTypes.index, {}, options);
}

/** Stores a manifest for each store path, and an index of them all, which refers to `subject` where there is one. */
export async function writeClosure(
  target: BuildTarget,
  closure: Closure,
  layers: ReadonlyMap<string, Layer>,
  extra: { readonly compression: Compression; readonly subject?: Descriptor | undefined },
  options: Abortable,
): Promise<{ readonly index: Descriptor; readonly paths: ReadonlyMap<string, Descriptor> }> {
  await target.push(contentOf(emptyBytes, emptyDescriptor), options);
  const paths = new Map<string, Descriptor>();
  for (const { info } of closure.objects) {
    const { descriptor } = layers.get(info.path) as Layer;
    const annotations = { [nixKeys.compression]: extra.compression, [nixKeys.storePath]: info.path };
    const manifest = encodeJson({
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      artifactType: PATH_TYPE,
      config: emptyDescriptor,
      layers: [descriptor],
      annotations,
    });
    const pushed = await push(target, manifest, mediaTypes.manifest, { artifactType: PATH_TYPE }, options);
    paths.set(info.path, { ...pushed, annotations: { [nixKeys.storePath]: info.path } });
  }
  const index = encodeJson({
    schemaVersion: 2,
    mediaType: mediaTypes.index,
    artifactType: CLOSURE_TYPE,
    manifests: [...paths.values()],
    ...(extra.subject === undefined ? {} : { subject: plainDescriptor(extra.subject) }),
    annotations: inOrder(closureAnnotations(closure, extra.compression)),
  });
  return { index: await push(target, index, mediaTypes.index, { artifactType: CLOSURE_TYPE }, options), paths };
}

async function push(
  target: BuildTarget,
  bytes: Uint8Array,
  mediaType: string,
  more: Partial<Descriptor>,
  options: Abortable,
): Promise<Descriptor> {
  if (bytes.byteLength > MAXIMUM_MANIFEST)
    throw new OciError(
      "LIMIT",
      `the manifest of the closure has ${bytes.byteLength} bytes; registries need not take more than ${MAXIMUM_MANIFEST}`,
      { hint: "Export the closures of fewer roots at once." },
    );
  const descriptor = descriptorOf(bytes, mediaType, more);
  await target.push(contentOf(bytes, descriptor), options);
  return descriptor;
}

function inOrder(annotations: Annotations): Annotations {
  return Object.fromEntries(Object.entries(annotations).sort(([one], [other]) => (one < other ? -1 : 1)));
}
