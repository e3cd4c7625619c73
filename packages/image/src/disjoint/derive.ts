import { createHash } from "node:crypto";
import { isOciError, OciError, type Source, type TarReadHeader } from "@stowage/layout";
import { compareBytewise } from "../bytewise-order.js";
import { entryPath } from "../entry-path.js";
import type { Image } from "../image.js";
import { readLayers } from "../read-layers.js";
import { readTar, type TarReadEntry } from "../tar-reader.js";
import { declarationAnnotations, problemOfPath, readDeclaration } from "./declaration.js";
import { declaredLayers, layerName } from "./disjoint-image.js";
import { pathOf } from "./layer-check.js";
import { type Conflict, TouchedPaths } from "./touched-paths.js";
import { checkLayers, entryCounter, type VerifyDisjointOptions } from "./verify.js";
import { formatViolation, type LayerName, type Violation } from "./violation.js";

/** What a layer could declare, or why it cannot. */
export interface DerivedLayer {
  readonly layer: LayerName;
  /** In bytewise order. */
  readonly paths?: readonly string[];
  readonly reason?: string;
}

/** What {@link derive} found. */
export interface Derivation {
  readonly layers: readonly DerivedLayer[];
  /** Why two layers have to stay in their order. */
  readonly conflicts: readonly {
    readonly path: string;
    readonly layers: readonly [LayerName, LayerName];
    readonly problem: string;
  }[];
  /** How many more conflicts there are than are listed. */
  readonly more: number;
}

/** The options of {@link derive}. */
export interface DeriveOptions extends Omit<VerifyDisjointOptions, "platform" | "profiles"> {
  /** Directories, absolute, that belong to nobody also where one layer alone has them: each thing in them is owned by itself. */
  readonly below?: readonly string[] | undefined;
}

/** So many conflicts are listed. */
const MAXIMUM_LISTED = 1000;
/** Each round takes away layers that the one before found to break a rule. */
const MAXIMUM_ROUNDS = 8;

/**
 * Finds the paths that each layer of an image alone has, the topmost ones, and proves that it can declare them. A layer that is
 * at odds with another, or whose entries break a rule, stays an ordinary one, and the reason is told. The layers are read at least
 * twice.
 */
export async function derive(source: Source, image: Image, options: DeriveOptions): Promise<Derivation> {
  const below = (options.below ?? []).map(parseBelow);
  const touched = new TouchedPaths();
  const reasons = new Map<number, string>();
  await readAll(source, image, touched, reasons, options);
  const { paths, conflicts, ...found } = touched.ownership(below);
  for (const [at, reason] of found.reasons) if (!reasons.has(at)) reasons.set(at, reason);
  await prove(source, image, paths, reasons, options);
  return {
    layers: image.layers.map((_descriptor, at) => {
      const reason = reasons.get(at);
      const layer = layerName(image, at);
      return reason === undefined ? { layer, paths: sorted(paths.get(at)) } : { layer, reason };
    }),
    conflicts: conflicts.slice(0, MAXIMUM_LISTED).map(({ path, layers: [one, other], problem }: Conflict) => ({
      path,
      layers: [layerName(image, one), layerName(image, other)] as const,
      problem,
    })),
    more: Math.max(0, conflicts.length - MAXIMUM_LISTED),
  };
}

function parseBelow(path: string): string {
  const problem = problemOfPath(path);
  if (problem === undefined) return path;
  throw new OciError("INVALID", `${JSON.stringify(path)} ${problem}`, {
    hint: "Write a directory such as /nix/store.",
  });
}

function sorted(paths: readonly string[] = []): readonly string[] {
  return [...paths].sort(compareBytewise);
}

async function readAll(
  source: Source,
  image: Image,
  touched: TouchedPaths,
  reasons: Map<number, string>,
  options: DeriveOptions,
): Promise<void> {
  const entries = entryCounter(options);
  const kept = new Attributes();
  // One after the other, so that of several conflicts the same is told each time.
  for await (const { at, tar, what } of readLayers(source, image, options)) {
    for await (const entry of readTar(tar, what, options)) {
      entries(what);
      const reason = await addEntry(touched, at, entry, kept, what);
      if (reason !== undefined && !reasons.has(at)) reasons.set(at, reason);
    }
  }
}

/** Takes an entry in. Returns why no layer that has it can declare what it owns. */
async function addEntry(
  touched: TouchedPaths,
  at: number,
  { header, body }: TarReadEntry,
  kept: Attributes,
  what: string,
): Promise<string | undefined> {
  const path = pathOf(header.name);
  if (typeof path === "string") {
    touched.add(at, path, kept.of(header), header.type === "file" ? await contentOf(body) : "");
    return undefined;
  }
  const name = meaningOf(header, what);
  if (name !== undefined && name.kind !== "metadata") {
    const taken = `/${name.parts.join("/")}`;
    if (name.kind === "path") touched.add(at, taken, kept.of(header), "");
    else touched.takeAway(at, taken);
  }
  return `it has the entry ${JSON.stringify(header.name)}, ${path.problem}`;
}

function meaningOf(header: TarReadHeader, what: string) {
  try {
    return entryPath(header.name, what);
  } catch (error) {
    if (isOciError(error)) return undefined;
    throw error;
  }
}

async function contentOf(body: TarReadEntry["body"]): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of body) hash.update(chunk);
  return hash.digest("base64");
}

/** Most entries have attributes that others have: they are kept once. */
class Attributes {
  readonly #known = new Map<string, TarReadHeader>();

  of(header: TarReadHeader): TarReadHeader {
    const { type, mode, uid, gid, mtime, linkname, xattrs } = header;
    if (xattrs.size > 0) return { ...header, name: "", pax: {} };
    const key = `${type} ${mode} ${uid} ${gid} ${mtime} ${linkname}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const kept = { ...header, name: "", pax: {} };
    this.#known.set(key, kept);
    return kept;
  }
}

/** Holds the layers against what they could declare, until all that are left keep to it. */
async function prove(
  source: Source,
  image: Image,
  paths: ReadonlyMap<number, readonly string[]>,
  reasons: Map<number, string>,
  options: DeriveOptions,
): Promise<void> {
  for (let round = 1; reasons.size < image.layers.length; round++) {
    const broken = new Map<number, string>();
    const report = ({ layer, other, ...violation }: Violation): void => {
      const reason = formatViolation({ layer, ...violation });
      for (const { number } of [layer, ...(other === undefined ? [] : [other])])
        if (!reasons.has(number - 1) && !broken.has(number - 1)) broken.set(number - 1, reason);
    };
    const layers = image.layers.map((descriptor, at) => {
      const annotations = reasons.has(at) ? {} : annotationsFor(sorted(paths.get(at)));
      return { ...descriptor, annotations };
    });
    await checkLayers(source, declaredLayers({ ...image, layers }, report), { ...options, onBytes: undefined });
    if (broken.size === 0) return;
    for (const [at, reason] of broken) reasons.set(at, reason);
    if (round < MAXIMUM_ROUNDS) continue;
    for (const at of image.layers.keys()) if (!reasons.has(at)) reasons.set(at, "too many layers break a rule");
  }
}

function annotationsFor(paths: readonly string[]): Readonly<Record<string, string>> {
  return declarationAnnotations({ paths, readonly: false, members: [] });
}

/** True where a layer says so already. */
export function declares(annotations: Readonly<Record<string, string>>, paths: readonly string[]): boolean {
  try {
    return JSON.stringify(readDeclaration({ annotations })?.paths) === JSON.stringify(paths);
  } catch {
    return false;
  }
}
