import { posix } from "node:path";
import { OciError } from "@stowage/layout";
import { isNondistributable } from "../base.js";
import { entryPath } from "../entry-path.js";
import type { Ignore } from "../ignore.js";
import { type EncodedTarEntry, writeTar } from "../tar.js";
import { copyTarEntry } from "../tar-copy.js";
import { readTar, type TarReadEntry } from "../tar-reader.js";
import { type LayerContent, nameOfLayer, openTar, writeTarLayer } from "./layer-content.js";
import type { MutableImage, MutableLayer } from "./mutable-image.js";

/** What to change in the entries of every layer. */
export interface LayerRewrite {
  /** Seconds since 1970 that every entry gets as its time. */
  readonly mtime?: number | undefined;
  /** The files that are left out. */
  readonly strip?: Ignore | undefined;
  /** Names the two in keys. */
  readonly key: string;
}

/** Other times of an entry, which would tell layers apart that have the same `mtime`. */
const OTHER_TIMES = ["atime", "ctime", "LIBARCHIVE.creationtime"];

/**
 * The image with every layer written again, entry by entry in the same order; one in which nothing is left out and no time is
 * set stays as it is. A file whose first name is left out keeps its content under the next.
 */
export async function rewriteLayers(
  run: LayerContent,
  image: MutableImage,
  rewrite: LayerRewrite,
): Promise<MutableImage> {
  const layers: MutableLayer[] = [];
  for (const [at, layer] of image.layers.entries()) {
    const heirs = isNondistributable(layer.descriptor) ? undefined : await readHeirs(run, image, at, rewrite);
    if (heirs === undefined) {
      layers.push(layer);
      continue;
    }
    const made = await writeTarLayer(run, `${rewrite.key} ${layer.diffId}`, layer.descriptor, () =>
      writeTar(rewritten(run, image, at, rewrite, heirs), { signal: run.signal }),
    );
    layers.push({ ...layer, ...made });
  }
  return { ...image, layers };
}

/** What becomes of files that are left out and have other names. */
interface Heirs {
  /** By the path of such a file, the name that its content gets. */
  readonly names: ReadonlyMap<string, string>;
  /** By the path of a hard link that is left out, the file it means. */
  readonly links: ReadonlyMap<string, string>;
}

/** Undefined where nothing of the layer changes. Fails with `UNSUPPORTED` where the content of a file that stays is in another layer. */
async function readHeirs(
  run: LayerContent,
  image: MutableImage,
  at: number,
  { mtime, strip }: LayerRewrite,
): Promise<Heirs | undefined> {
  const names = new Map<string, string>();
  const links = new Map<string, string>();
  let changes = mtime !== undefined;
  if (strip === undefined) return changes ? { names, links } : undefined;
  const what = nameOfLayer(image, at);
  const gone = new Set<string>();
  for await (const { header } of readTar(openTar(run, image, at), what, run)) {
    const path = pathOf(header.name, what);
    const first = header.type === "hardlink" ? fileOf(pathOf(header.linkname ?? "", what), links) : undefined;
    if (isLeftOut(strip, path)) {
      changes = true;
      if (first === undefined) gone.add(path);
      else links.set(path, first);
    } else if (first !== undefined && isLeftOut(strip, first)) {
      if (!gone.has(first))
        throw new OciError(
          "UNSUPPORTED",
          `${what}: ${JSON.stringify(header.name)} is another name of ${JSON.stringify(first)}, which is in a layer below and is to be left out`,
          { hint: "Flatten the image first." },
        );
      if (!names.has(first)) names.set(first, header.name);
    }
  }
  return changes ? { names, links } : undefined;
}

function fileOf(path: string, links: ReadonlyMap<string, string>): string {
  return links.get(path) ?? path;
}

/** The root stays, whatever a pattern says. */
function isLeftOut(strip: Ignore | undefined, path: string): boolean {
  return strip !== undefined && path !== "" && strip.ignores(path);
}

async function* rewritten(
  run: LayerContent,
  image: MutableImage,
  at: number,
  { mtime, strip }: LayerRewrite,
  { names, links }: Heirs,
): AsyncGenerator<EncodedTarEntry, void, undefined> {
  const what = nameOfLayer(image, at);
  const inherited = new Set<string>();
  for await (const entry of readTar(openTar(run, image, at), what, run)) {
    const timed = mtime === undefined ? entry : withTime(entry, mtime);
    const { header } = entry;
    const path = pathOf(header.name, what);
    if (isLeftOut(strip, path)) {
      const heir = links.has(path) ? undefined : names.get(path);
      if (heir === undefined) continue;
      inherited.add(heir);
      yield copyTarEntry({ ...timed, header: { ...timed.header, name: heir } }, what);
      continue;
    }
    const first = header.type === "hardlink" ? fileOf(pathOf(header.linkname ?? "", what), links) : undefined;
    const heir = first === undefined ? undefined : names.get(first);
    const linkname =
      heir ?? (first !== undefined && isLeftOut(strip, pathOf(header.linkname ?? "", what)) ? first : undefined);
    if (linkname === undefined) yield copyTarEntry(timed, what);
    else if (!inherited.has(header.name)) yield copyTarEntry({ ...timed, header: { ...timed.header, linkname } }, what);
  }
}

/** The path an entry is about: that of a whiteout is the one it takes away. */
function pathOf(name: string, what: string): string {
  const path = entryPath(name, what);
  return path.kind === "metadata" ? posix.normalize(name) : path.parts.join("/");
}

function withTime({ header, body }: TarReadEntry, mtime: number): TarReadEntry {
  const pax = Object.fromEntries(Object.entries(header.pax).filter(([key]) => !OTHER_TIMES.includes(key)));
  return { header: { ...header, mtime, pax }, body };
}
