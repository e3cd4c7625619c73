import {
  type Content,
  contentOf,
  type Descriptor,
  descriptorOf,
  encodeJson,
  mediaTypes,
  type Target,
} from "@stowage/layout";

function json(value: unknown, mediaType: string): Content {
  const bytes = encodeJson(value);
  return contentOf(bytes, descriptorOf(bytes, mediaType));
}

async function put(target: Target, content: Content): Promise<Descriptor> {
  await target.push(content);
  return content.descriptor;
}

/** The options of {@link pushImage}. */
export interface ImageOptions {
  /** When it says it was created. */
  readonly created?: string;
  readonly architecture?: string;
}

/** Stores an image whose one layer is `text`, and gives it tags. */
export async function pushImage(
  target: Target,
  text: string,
  tags: readonly string[],
  options: ImageOptions = {},
): Promise<Descriptor> {
  const bytes = new TextEncoder().encode(text);
  const layer = await put(target, contentOf(bytes, descriptorOf(bytes, mediaTypes.layer)));
  const { architecture = "amd64", created } = options;
  const rootfs = { type: "layers", diff_ids: [layer.digest] };
  const config = await put(target, json({ architecture, os: "linux", created, rootfs }, mediaTypes.config));
  const manifest = { schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers: [layer] };
  const descriptor = await put(target, json(manifest, mediaTypes.manifest));
  for (const tag of tags) await target.tag(tag, descriptor);
  return descriptor;
}

/** Stores an image for two platforms, and gives it a tag. */
export async function pushIndex(target: Target, text: string, tag: string): Promise<Descriptor> {
  const manifests: Descriptor[] = [];
  for (const architecture of ["amd64", "arm64"]) {
    const descriptor = await pushImage(target, `${text} for ${architecture}`, [], { architecture });
    manifests.push({ ...descriptor, platform: { os: "linux", architecture } });
  }
  const descriptor = await put(
    target,
    json({ schemaVersion: 2, mediaType: mediaTypes.index, manifests }, mediaTypes.index),
  );
  await target.tag(tag, descriptor);
  return descriptor;
}

/** Stores a referrer of `subject`, and gives it tags where some are named. */
export async function pushReferrer(
  target: Target,
  subject: Descriptor,
  artifactType: string,
  tags: readonly string[] = [],
): Promise<Descriptor> {
  const config = await put(target, json({}, mediaTypes.empty));
  const { mediaType, digest, size } = subject;
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    artifactType,
    config,
    layers: [config],
    ...(tags.length > 0 ? { annotations: { about: digest } } : { subject: { mediaType, digest, size } }),
  };
  const descriptor = await put(target, json(manifest, mediaTypes.manifest));
  for (const tag of tags) await target.tag(tag, descriptor);
  return descriptor;
}
