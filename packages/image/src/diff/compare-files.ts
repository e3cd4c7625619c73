import type { ImageFile } from "../files/image-file.js";

/** What two images can disagree on about a file. `links`: which names are one file. */
export type FileAspect =
  | "type"
  | "content"
  | "target"
  | "device"
  | "mode"
  | "owner"
  | "mtime"
  | "xattrs"
  | "acl"
  | "links";

/** A path at which two images differ. */
export interface FileChange {
  readonly path: string;
  readonly change: "added" | "removed" | "changed";
  /** What is not the same, for a changed file; what both have stands in `a` and `b`. */
  readonly aspects: readonly FileAspect[];
  readonly a?: Readonly<Partial<Record<FileAspect, unknown>>>;
  readonly b?: Readonly<Partial<Record<FileAspect, unknown>>>;
}

/** Where the files of two images differ, in the order of their paths. Both need the digests of their files. */
export function compareFiles(a: Iterable<ImageFile>, b: Iterable<ImageFile>): readonly FileChange[] {
  const before = describeAll(a);
  const after = describeAll(b);
  const changes: FileChange[] = [];
  for (const path of [...new Set([...before.keys(), ...after.keys()])].sort()) {
    const [one, other] = [before.get(path), after.get(path)];
    if (one === undefined) changes.push({ path, change: "added", aspects: [] });
    else if (other === undefined) changes.push({ path, change: "removed", aspects: [] });
    else {
      const aspects = (Object.keys(one) as FileAspect[]).filter((key) => one[key] !== other[key]);
      const only = (of: Described): NonNullable<FileChange["a"]> =>
        Object.fromEntries(aspects.map((key) => [key, of[key]]));
      if (aspects.length > 0) changes.push({ path, change: "changed", aspects, a: only(one), b: only(other) });
    }
  }
  return changes;
}

type Described = Readonly<Record<FileAspect, string | number | undefined>>;

function describeAll(files: Iterable<ImageFile>): ReadonlyMap<string, Described> {
  const firstNames = new Map<string, string>();
  const described = new Map<string, Described>();
  for (const file of files) {
    const { path, layer, entry } = file;
    const inode = layer === undefined ? path : `${layer}:${entry}`;
    const first = firstNames.get(inode);
    if (first === undefined) firstNames.set(inode, path);
    described.set(path, describe(file, first));
  }
  return described;
}

function describe(file: ImageFile, first: string | undefined): Described {
  const { type, digest, linkname, device, mode, uid, gid, mtime, xattrs, pax } = file;
  const attributes = [...xattrs].map(([name, value]) => `${name}=${Buffer.from(value).toString("base64")}`);
  const lists = Object.entries(pax).filter(([key]) => key.startsWith("SCHILY.acl."));
  return {
    type,
    content: digest,
    target: linkname,
    device: device === undefined ? undefined : `${device.major}:${device.minor}`,
    mode: mode.toString(8).padStart(4, "0"),
    owner: `${uid}:${gid}`,
    mtime,
    xattrs: attributes.sort().join(" ") || undefined,
    acl: lists.map((entry) => entry.join("=")).join(" ") || undefined,
    links: first,
  };
}
