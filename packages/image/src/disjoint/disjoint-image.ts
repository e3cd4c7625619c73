import { type Descriptor, type Digest, isOciError } from "@stowage/layout";
import type { Image } from "../image.js";
import { Ancestors } from "./ancestors.js";
import { type Declaration, readDeclaration } from "./declaration.js";
import type { ImageContext } from "./layer-check.js";
import { OwnedPaths } from "./owned-paths.js";
import type { LayerName, Report } from "./violation.js";

/** A layer of an image, with what it declares. */
export interface DeclaredLayer {
  /** The lowest is 0. */
  readonly at: number;
  readonly name: LayerName;
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
  readonly declaration: Declaration;
}

/** An image whose layers declare what they own, as far as that can be told without reading one. */
export interface DisjointImage extends ImageContext {
  readonly image: Image;
  /** The layers that declare paths. */
  readonly disjoint: readonly DeclaredLayer[];
  /** The numbers of those that do not; the lowest is 0. */
  readonly ordinary: ReadonlySet<number>;
}

/** Reads what the layers declare, and reports what is wrong with that (V1). A declaration that cannot be read is reported, and its layer left out. */
export function declaredLayers(image: Image, report: Report): DisjointImage {
  const disjoint: DeclaredLayer[] = [];
  const ordinary = new Set<number>();
  for (const [at, descriptor] of image.layers.entries()) {
    const name = layerName(image, at);
    try {
      const declaration = readDeclaration(descriptor);
      if (declaration === undefined) ordinary.add(at);
      else disjoint.push({ at, name, descriptor, diffId: image.config.rootfs.diff_ids[at] as Digest, declaration });
    } catch (error) {
      if (!isOciError(error)) throw error;
      report({ rule: "V1", layer: name, problem: error.message });
    }
  }
  const owners = disjoint.map((layer) => ({ layer: layer.name, paths: layer.declaration.paths }));
  return {
    image,
    disjoint,
    ordinary,
    owned: new OwnedPaths(owners, report),
    ancestors: new Ancestors(report),
    report,
  };
}

/** What a layer is called in reports; `at` is 0 for the lowest. */
export function layerName({ layers }: Pick<Image, "layers">, at: number): LayerName {
  return { number: at + 1, digest: (layers[at] as Descriptor).digest };
}
