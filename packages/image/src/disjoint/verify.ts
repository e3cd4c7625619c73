import {
  type Abortable,
  type Descriptor,
  type Digest,
  forEachParallel,
  isOciError,
  OciError,
  type Platform,
  type Source,
} from "@stowage/layout";
import { readImage } from "../image.js";
import { type LayerLimits, openLayer } from "../open-layer.js";
import { counter, readLayers } from "../read-layers.js";
import { readTar } from "../tar-reader.js";
import { MAXIMUM_ENTRIES } from "../unpack/layer-writer.js";
import { type DeclaredLayer, type DisjointImage, declaredLayers, layerName } from "./disjoint-image.js";
import { LayerCheck } from "./layer-check.js";
import type { LayerProfile } from "./layer-profile.js";
import { checkMembers } from "./members.js";
import { OrdinaryCheck } from "./ordinary-check.js";
import { formatLayer, type Violation } from "./violation.js";

/** The options of {@link verifyDisjoint}. */
export interface VerifyDisjointOptions extends Abortable, LayerLimits {
  /** Which image of an index. Default: Linux on this machine's processor. */
  readonly platform?: Platform | undefined;
  /** The most entries in all layers together. Default: 4 million. */
  readonly entries?: number | undefined;
  /** Further rules, for layers made of one kind of thing (V6). */
  readonly profiles?: readonly LayerProfile[] | undefined;
  /** Told of bytes of tar that were taken in. */
  readonly onBytes?: ((count: number) => void) | undefined;
}

/** A layer in a {@link DisjointReport}. */
export interface ReportedLayer {
  readonly digest: Digest;
  readonly diffId: Digest;
  /** What it declares; absent for an ordinary layer. */
  readonly paths?: readonly string[];
  readonly readonly?: boolean;
  /** How many layers it was put together from, where it says so. */
  readonly members?: number;
}

/** What {@link verifyDisjoint} found. */
export interface DisjointReport {
  /** Of the image itself, also where it was found through an index. */
  readonly descriptor: Descriptor;
  readonly layers: readonly ReportedLayer[];
  /** How many layers declare paths. */
  readonly disjoint: number;
  /** By layer, the lowest first. Empty where every rule holds. */
  readonly violations: readonly Violation[];
  /** How many more there are than are listed. */
  readonly more: number;
}

/** So many violations are listed. A layer can have millions. */
const MAXIMUM_LISTED = 1000;
/** How many layers are read at once. */
export const PARALLEL_LAYERS = 4;

/**
 * Proves that the layers of an image that declare what they own (docs/disjoint-layers.md) keep to it, so that they give the same
 * files in any order, or finds all they do not keep to. Every layer is read and verified against its descriptor and diff_id.
 * Fails as `readImage` does, with `MISMATCH` or `LIMIT` where a layer is not what it is said to be or comes to too much; what
 * breaks a rule is no failure. Memory grows with the number of names in the layers at hand, not with their size.
 */
export async function verifyDisjoint(
  source: Source,
  reference: string | Descriptor,
  options: VerifyDisjointOptions = {},
): Promise<DisjointReport> {
  const image = await readImage(source, reference, options.platform, options);
  const violations: Violation[] = [];
  let count = 0;
  const found = declaredLayers(image, (violation) => {
    if (++count <= MAXIMUM_LISTED) violations.push(violation);
  });
  await checkLayers(source, found, options);
  const declarations = new Map(found.disjoint.map((layer) => [layer.at, layer.declaration]));
  return {
    descriptor: image.descriptor,
    layers: image.layers.map(({ digest }, at) => {
      const declaration = declarations.get(at);
      const diffId = image.config.rootfs.diff_ids[at] as Digest;
      if (declaration === undefined) return { digest, diffId };
      const { paths, readonly, members } = declaration;
      return { digest, diffId, paths, readonly, ...(members.length === 0 ? {} : { members: members.length }) };
    }),
    disjoint: found.disjoint.length,
    violations: violations.sort((one, other) => one.layer.number - other.layer.number),
    more: count - violations.length,
  };
}

/** Reads all layers and reports what they do not keep to (V2 to V7). */
export async function checkLayers(source: Source, found: DisjointImage, options: VerifyDisjointOptions): Promise<void> {
  const counted = counter(options);
  const entries = entryCounter(options);
  await forEachParallel(found.disjoint, PARALLEL_LAYERS, async (layer) => {
    await orReport(found, layer, async () => {
      const what = formatLayer(layer.name);
      const tar = counted(openLayer(source, layer.descriptor, what, { ...options, diffId: layer.diffId }));
      const check = new LayerCheck(layer.name, layer.declaration.paths, found);
      const profiles = profilesOf(found, layer, options.profiles ?? []);
      for await (const { header, body } of readTar(tar, what, options)) {
        entries(what);
        check.entry(header);
        for (const profile of profiles) await profile.entry(header);
        if (profiles.length === 0 || header.type !== "file") continue;
        for await (const chunk of body) for (const profile of profiles) await profile.data(chunk);
      }
      check.end();
      for (const profile of profiles) await profile.end();
      await checkMembers(source, layer, found, options);
    });
  });
  found.ancestors.settle();
  // Directories above declared paths are compared with what those layers say of them.
  const ordinary = new OrdinaryCheck(found);
  for await (const { at, tar, what } of readLayers(source, found.image, { ...options, only: found.ordinary })) {
    for await (const { header } of readTar(tar, what, options)) {
      entries(what);
      ordinary.entry(header, layerName(found.image, at));
    }
  }
}

/** A layer that is no tar that all readers take in one way breaks a rule; one that is not what its digest says is a failure. */
async function orReport(found: DisjointImage, layer: DeclaredLayer, read: () => Promise<void>): Promise<void> {
  try {
    await read();
  } catch (error) {
    if (!isOciError(error, "INVALID") && !isOciError(error, "UNSUPPORTED")) throw error;
    found.report({ rule: "V3", layer: layer.name, problem: error.message });
  }
}

function profilesOf(found: DisjointImage, layer: DeclaredLayer, profiles: readonly LayerProfile[]) {
  return profiles.flatMap((profile) => {
    const check = profile.check({
      ...layer,
      image: found.image,
      report: (problem, entry) =>
        found.report({ rule: "V6", layer: layer.name, ...(entry === undefined ? {} : { entry }), problem }),
    });
    return check === undefined ? [] : [check];
  });
}

/** Counts the entries of all layers. Fails with `LIMIT` where there are too many. */
export function entryCounter({ entries: most = MAXIMUM_ENTRIES }: Pick<VerifyDisjointOptions, "entries">) {
  let count = 0;
  return (what: string): void => {
    if (++count > most) throw new OciError("LIMIT", `${what}: there are more than ${most} entries up to here`);
  };
}
