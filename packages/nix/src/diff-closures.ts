import type { Descriptor, Digest } from "@stowage/layout";
import type { StoredClosure } from "./cache/stored-closure.js";
import type { StoredPath } from "./layer/stored-path.js";

/** A store path that two closures do not have in common. */
export interface PathChange {
  /** `changed`: both have the path, with other content, as two builds of one derivation may give. */
  readonly change: "added" | "removed" | "changed";
  readonly path: string;
  /** Bytes of its NAR, in the second closure where it is there. */
  readonly narSize: number;
  /** Bytes of it in its layer, compressed. */
  readonly bytes: number;
  /** The layer it is in. */
  readonly layer: Digest;
}

/** What two closures have and have not in common. */
export interface ClosureDiff {
  /** By path. */
  readonly paths: readonly PathChange[];
  /** How many paths are the same in both. */
  readonly kept: number;
  /** Bytes of what was added and changed, compressed: what has to be fetched by whoever has the first and fetches paths. */
  readonly bytes: number;
  /** The layers of the second that the first does not have. */
  readonly layers: readonly Descriptor[];
  /** Their bytes: what has to be fetched by whoever has the first and fetches layers. */
  readonly layerBytes: number;
}

/** What is to be fetched by whoever has `one` and wants `other`. Nothing but manifests was read for it. */
export function diffClosures(one: StoredClosure, other: StoredClosure): ClosureDiff {
  const paths: PathChange[] = [];
  for (const [path, stored] of other.paths) {
    const before = one.paths.get(path);
    if (before === undefined) paths.push(changeOf("added", stored));
    else if (before.info.narHash !== stored.info.narHash) paths.push(changeOf("changed", stored));
  }
  const toFetch = [...paths];
  for (const [path, stored] of one.paths) if (!other.paths.has(path)) paths.push(changeOf("removed", stored));
  const layersOf = ({ paths: all }: StoredClosure): Map<Digest, Descriptor> =>
    new Map([...all.values()].map(({ layer: { mediaType, digest, size } }) => [digest, { mediaType, digest, size }]));
  const present = layersOf(one);
  const layers = [...layersOf(other).values()].filter(({ digest }) => !present.has(digest));
  return {
    paths: paths.sort((a, b) => (a.path < b.path ? -1 : 1)),
    kept: other.paths.size - toFetch.length,
    bytes: toFetch.reduce((sum, { bytes }) => sum + bytes, 0),
    layers,
    layerBytes: layers.reduce((sum, { size }) => sum + size, 0),
  };
}

function changeOf(change: PathChange["change"], { info, layer, member }: StoredPath): PathChange {
  return { change, path: info.path, narSize: info.narSize, bytes: member?.size ?? layer.size, layer: layer.digest };
}
