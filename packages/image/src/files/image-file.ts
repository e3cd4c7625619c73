import type { TarReadHeader } from "@stowage/layout";

/** A file of an image: what is at a path when all layers lie one onto the other. */
export interface ImageFile {
  /** Without a slash at either end; empty for the root. */
  readonly path: string;
  readonly type: Exclude<TarReadHeader["type"], "hardlink" | "unknown">;
  /** The permission bits, with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970; may have a fraction. */
  readonly mtime: number;
  /** Bytes; 0 for what is no file. */
  readonly size: number;
  /** Where a symbolic link points, as it stands there. */
  readonly linkname?: string;
  /** Of a device. */
  readonly device?: { readonly major: number; readonly minor: number };
  /** Extended attributes. */
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
  /** What else its PAX records say; access control lists are in `SCHILY.acl.access` and `SCHILY.acl.default`. */
  readonly pax: Readonly<Record<string, string>>;
  /** The layer it comes from, the lowest is 0; undefined for a directory that no layer describes. */
  readonly layer: number | undefined;
  /** The number of the entry in its layer, from 0. Names of one file have the same. */
  readonly entry: number;
  /** The digest of the content of a file, where that was asked for. */
  readonly digest?: string;
}

/** A directory that no layer describes. */
export const impliedDirectory: Omit<ImageFile, "path"> = {
  type: "directory",
  mode: 0o755,
  uid: 0,
  gid: 0,
  mtime: 0,
  size: 0,
  xattrs: new Map(),
  pax: {},
  layer: undefined,
  entry: -1,
};
