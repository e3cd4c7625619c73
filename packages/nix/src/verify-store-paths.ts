import { readImage, type Violation } from "@stowage/image";
import { type Abortable, type Descriptor, isOciError, type Platform, type Source } from "@stowage/layout";
import { annotatedPaths } from "./layer/annotations.js";
import { openNar } from "./layer/stored-path.js";

/** The options of {@link verifyStorePaths}. */
export interface VerifyStorePathsOptions extends Abortable {
  /** Which image of an index. Default: Linux on this machine's processor. */
  readonly platform?: Platform | undefined;
}

/**
 * Holds the layers of an image that are store paths against what they say of them: the attributes of a store, size and hash of the
 * NAR, and references to paths that are in the image. Layers of anything else are passed over. What does not hold is V6 of
 * docs/disjoint-layers.md. Signatures are not looked at. Fails where a layer cannot be read.
 */
export async function verifyStorePaths(
  source: Source,
  reference: string | Descriptor,
  options: VerifyStorePathsOptions = {},
): Promise<Violation[]> {
  const image = await readImage(source, reference, options.platform, options);
  const violations: Violation[] = [];
  const layers = image.layers.map((layer, at) => {
    const report = (problem: string, entry?: string): void => {
      const name = { number: at + 1, digest: layer.digest };
      violations.push({ rule: "V6", layer: name, ...(entry === undefined ? {} : { entry }), problem });
    };
    try {
      return { layer, report, paths: annotatedPaths(layer.annotations, `the layer ${layer.digest}`) };
    } catch (error) {
      if (!isOciError(error)) throw error;
      report(error.message);
      return { layer, report, paths: [] };
    }
  });
  const present = new Set(layers.flatMap(({ paths }) => paths.map(({ info }) => baseName(info.path))));
  for (const { layer, report, paths } of layers) {
    for (const { info, member } of paths) {
      const missing = info.references.filter((name) => !present.has(name));
      if (missing.length > 0) report(`refers to ${missing.join(" ")}, which the image does not have`, info.path);
      try {
        const stored = { info, layer, ...(member === undefined ? {} : { member }) };
        for await (const _ of openNar(source, stored, options));
      } catch (error) {
        if (!isOciError(error, "MISMATCH") && !isOciError(error, "INVALID")) throw error;
        report(error.message, info.path);
      }
    }
  }
  return violations;
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
