import { createHash, type Hash } from "node:crypto";
import { OciError, type Source } from "@stowage/layout";
import { type LayerLimits, openLayer } from "../open-layer.js";
import type { counter } from "../read-layers.js";
import { readTar, type TarReadEntry } from "../tar-reader.js";
import type { Written } from "../unpack/file-writer.js";
import { LayerWriter, type LayerWriterOptions } from "../unpack/layer-writer.js";
import type { Ancestor } from "./ancestors.js";
import type { DeclaredLayer, DisjointImage } from "./disjoint-image.js";
import { LayerCheck, pathOf } from "./layer-check.js";
import { formatLayer, formatViolation, type Violation } from "./violation.js";

/** What is counted over all layers of an image. */
export interface Counters {
  readonly bytes: ReturnType<typeof counter>;
  readonly entries: (what: string) => void;
}

/** The options of {@link extractLayer}. */
export interface ExtractOptions extends LayerWriterOptions, LayerLimits {
  readonly counters: Counters;
}

/** An entry as it came to be in the directory. Directories above declared paths are none. */
export interface ExtractedEntry {
  /** Absolute, in the image. */
  readonly path: string;
  readonly type: "directory" | "file" | "symlink" | "hardlink";
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: number;
  /** Bytes. */
  readonly size: number;
  /** Of the content of a file. */
  readonly sha256?: string;
  /** The target of a symbolic link as it stands there; of a hard link the absolute path. */
  readonly link?: string;
  /** Extended attributes, in base64. */
  readonly xattrs?: Readonly<Record<string, string>>;
}

/** A layer that was extracted, by itself, into a directory. */
export interface ExtractedLayer {
  readonly ancestors: readonly Ancestor[];
  readonly written: Written;
}

/** The failure of an image whose layers are not what they declare. */
export function refusal(violation: Violation): OciError {
  return new OciError("INVALID", `the layers are not disjoint: ${formatViolation(violation)}`, {
    hint: "stowage disjoint verify lists all that is wrong.",
  });
}

/**
 * Extracts a layer into an empty directory of its own. Each entry is held against what the layer declares before anything is
 * made for it. `onEntry` is told what was made, with the digests of files.
 */
export async function extractLayer(
  source: Pick<Source, "fetch">,
  layer: DeclaredLayer,
  image: DisjointImage,
  directory: string,
  options: ExtractOptions,
  onEntry?: (entry: ExtractedEntry) => void,
): Promise<ExtractedLayer> {
  const what = formatLayer(layer.name);
  const { counters } = options;
  const check = new LayerCheck(layer.name, layer.declaration.paths, image);
  const tar = counters.bytes(openLayer(source, layer.descriptor, what, { ...options, diffId: layer.diffId }));
  const writer = new LayerWriter(directory, options);
  async function* checked(): AsyncGenerator<TarReadEntry, void, undefined> {
    for await (const entry of readTar(tar, what, options)) {
      counters.entries(what);
      const above = check.ancestors.length;
      check.entry(entry.header);
      if (onEntry === undefined || check.ancestors.length > above) {
        yield entry;
        continue;
      }
      const hash = entry.header.type === "file" ? createHash("sha256") : undefined;
      yield hash === undefined ? entry : { ...entry, body: hashed(entry.body, hash) };
      onEntry(entryOf(entry, hash));
    }
  }
  try {
    writer.begin();
    await writer.apply(checked(), what);
    check.end();
    await writer.finish();
  } finally {
    writer.close();
  }
  return { ancestors: check.ancestors, written: writer.written };
}

async function* hashed(body: TarReadEntry["body"], hash: Hash): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of body) {
    hash.update(chunk);
    yield chunk;
  }
}

function entryOf({ header }: TarReadEntry, hash: Hash | undefined): ExtractedEntry {
  const { mode, uid, gid, mtime, size, linkname, xattrs } = header;
  const type = header.type as ExtractedEntry["type"];
  const link = type === "hardlink" ? (pathOf(linkname ?? "") as string) : linkname;
  return {
    path: pathOf(header.name) as string,
    type,
    mode,
    uid,
    gid,
    mtime,
    size,
    ...(hash === undefined ? {} : { sha256: hash.digest("hex") }),
    ...(type === "symlink" || type === "hardlink" ? { link: link as string } : {}),
    ...(xattrs.size === 0
      ? {}
      : {
          xattrs: Object.fromEntries([...xattrs].map(([key, value]) => [key, Buffer.from(value).toString("base64")])),
        }),
  };
}
