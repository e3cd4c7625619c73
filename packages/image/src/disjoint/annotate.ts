import { annotationKeys, type Descriptor, type Platform, type Source, type Target } from "@stowage/layout";
import { platformOf, sorted } from "../config.js";
import { readImage } from "../image.js";
import type { MutableImage, MutableLayer } from "../mutate/mutable-image.js";
import { type MutateOptions, type MutateReport, mutate } from "../mutate/mutate.js";
import { DISJOINT_VERSION, declarationAnnotations, readDeclaration } from "./declaration.js";
import { type Derivation, type DerivedLayer, type DeriveOptions, declares, derive } from "./derive.js";

/** The options of {@link annotateDisjoint}. */
export interface AnnotateDisjointOptions
  extends DeriveOptions,
    Pick<MutateOptions, "platform" | "tags" | "onEvent" | "scratch"> {
  /** Say of every layer that declares paths that nobody is to change what is there. Default: as it was. */
  readonly readonly?: boolean | undefined;
}

/** What was found in one image of several. */
export interface DerivedImage extends Derivation {
  readonly platform: Platform;
  /** Of the image as it was. */
  readonly before: Descriptor;
}

/** What {@link annotateDisjoint} did. */
export interface AnnotateReport extends MutateReport {
  readonly derived: readonly DerivedImage[];
}

/**
 * Copies an image, or an index of images, whose layers then declare the paths that they alone have (docs/disjoint-layers.md), as
 * far as {@link derive} can prove it. Configs and layers stay what they are, manifests and indexes get new digests; what refers to
 * the old ones is listed. A layer that declares the same already is left as it is. Fails as `mutate` does.
 */
export async function annotateDisjoint(
  source: Source,
  target: Target,
  root: Descriptor,
  options: AnnotateDisjointOptions = {},
): Promise<AnnotateReport> {
  const derived: DerivedImage[] = [];
  const describe = async (image: MutableImage): Promise<MutableImage> => {
    const found = await deriveImage(source, image.before, options);
    derived.push(found);
    return annotated(image, found, options);
  };
  const { below: _below, readonly: _readonly, onBytes: _onBytes, ...rest } = options;
  const report = await mutate(source, target, root, { ...rest, describe });
  return { ...report, derived };
}

/** What {@link annotateDisjoint} would find in one image; nothing is written. */
export async function deriveImage(
  source: Source,
  reference: string | Descriptor,
  options: AnnotateDisjointOptions = {},
): Promise<DerivedImage> {
  const image = await readImage(source, reference, options.platform, options);
  const derivation = await derive(source, image, options);
  return { platform: platformOf(image.config), before: image.descriptor, ...derivation };
}

function annotated(image: MutableImage, { layers }: Derivation, options: AnnotateDisjointOptions): MutableImage {
  if (layers.every(({ paths }) => paths === undefined)) return image;
  return {
    ...image,
    layers: image.layers.map((layer, at) => annotatedLayer(layer, layers[at] as DerivedLayer, options)),
    annotations: sorted({ ...image.annotations, [annotationKeys.disjointVersion]: DISJOINT_VERSION }),
  };
}

function annotatedLayer(layer: MutableLayer, { paths }: DerivedLayer, options: AnnotateDisjointOptions): MutableLayer {
  const { annotations = {}, ...descriptor } = layer.descriptor;
  const { disjointPaths, disjointReadonly, disjointMembers } = annotationKeys;
  const isSame = paths !== undefined && declares(annotations, paths);
  const before = isSame ? readDeclaration({ annotations }) : undefined;
  const readonly = options.readonly ?? before?.readonly ?? false;
  if (before?.readonly === readonly) return layer;
  const {
    [disjointPaths]: _paths,
    [disjointReadonly]: _readonly,
    [disjointMembers]: _members,
    ...others
  } = annotations;
  const own = paths === undefined ? {} : declarationAnnotations({ paths, readonly, members: before?.members ?? [] });
  const all = sorted({ ...others, ...own });
  return {
    ...layer,
    descriptor: { ...descriptor, ...(Object.keys(all).length === 0 ? {} : { annotations: all }) },
  };
}
