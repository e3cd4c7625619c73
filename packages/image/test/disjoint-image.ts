import {
  annotationKeys,
  contentOf,
  type Descriptor,
  descriptorOf,
  encodeJson,
  type JsonObject,
  type MemoryStore,
  mediaTypes,
  parseJsonObject,
  readBytes,
} from "@stowage/layout";
import type { TarMember } from "../../layout/test/tar.js";
import { directory, file, imageOf, type TestLayer } from "./image-of.js";

/** A layer, and what its descriptor says. */
export interface DeclaringLayer {
  readonly layer: TestLayer;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** The annotation of these paths. */
export function owns(paths: readonly string[], more: Readonly<Record<string, string>> = {}) {
  return { [annotationKeys.disjointPaths]: JSON.stringify(paths), ...more };
}

/** An image in memory whose layers say what they own. */
export async function disjointImage(
  layers: readonly DeclaringLayer[],
): Promise<{ store: MemoryStore; descriptor: Descriptor }> {
  const { store, descriptor } = await imageOf(layers.map(({ layer }) => layer));
  const manifest = parseJsonObject(await readBytes(store, descriptor), "the manifest") as JsonObject & {
    layers: readonly Descriptor[];
  };
  const annotated = manifest.layers.map((each, at) => ({ ...each, ...withAnnotations(layers[at]?.annotations) }));
  const bytes = encodeJson({ ...manifest, layers: annotated });
  const image = descriptorOf(bytes, mediaTypes.manifest);
  await store.push(contentOf(bytes, image));
  return { store, descriptor: image };
}

function withAnnotations(annotations: Readonly<Record<string, string>> | undefined) {
  return annotations === undefined ? {} : { annotations };
}

/** The directories above /nix/store. */
export const above: readonly TarMember[] = [directory("nix"), directory("nix/store")];

/** A layer as a package of a store makes it: a directory with a file and what else is given. */
export function packageLayer(
  name: string,
  more: readonly TarMember[] = [],
  annotations: Readonly<Record<string, string>> = {},
): DeclaringLayer {
  const path = `nix/store/${name}`;
  const members = [
    ...above,
    directory(path, { mode: 0o555 }),
    file(`${path}/file`, `${name}\n`, { mode: 0o444 }),
    ...more,
  ];
  return { layer: members, annotations: owns([`/${path}`], annotations) };
}
