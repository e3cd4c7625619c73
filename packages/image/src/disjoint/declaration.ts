import {
  type Annotations,
  annotationKeys,
  type Descriptor,
  type Digest,
  isDigest,
  isJsonObject,
  OciError,
  parseJson,
} from "@stowage/layout";
import { compareBytewise } from "../bytewise-order.js";
import { quoted } from "../entry-path.js";

/** One of the layers that a layer was put together from, and where it stands in the bytes of the blob. */
export interface DisjointMember {
  /** The path it owns. */
  readonly path: string;
  /** The first byte of its entries, compressed by themselves. */
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
  /** Of those bytes. */
  readonly digest: Digest;
  /** Of the layer that consists of what stands before the first member, of these bytes, and of what stands behind the last. */
  readonly layer: Digest;
}

/** What a layer says of itself: that nothing in an image but itself is at or below these paths. */
export interface Declaration {
  /** Absolute, in bytewise order, none of them below another. */
  readonly paths: readonly string[];
  /** Nobody is to change what is there. */
  readonly readonly: boolean;
  readonly members: readonly DisjointMember[];
}

/** The version of the rules, as the manifest of an image says it. */
export const DISJOINT_VERSION = "1";
/** As long as any path of Linux can be, and as deep as directories are held open. */
const MAXIMUM_PATH = 4096;
const MAXIMUM_DEPTH = 500;

/**
 * What a layer declares; undefined for an ordinary one. Fails with `INVALID` where it cannot be read or breaks the form:
 * absolute paths without `.`, `..` or empty parts, in bytewise order, none at or below another.
 */
export function readDeclaration({ annotations = {} }: Pick<Descriptor, "annotations">): Declaration | undefined {
  const { disjointPaths, disjointReadonly, disjointMembers } = annotationKeys;
  const text = annotations[disjointPaths];
  const flag = annotations[disjointReadonly];
  if (text === undefined) {
    const alone = [disjointReadonly, disjointMembers].find((key) => annotations[key] !== undefined);
    if (alone !== undefined) throw new OciError("INVALID", `it has ${alone}, but not ${disjointPaths}`);
    return undefined;
  }
  if (flag !== undefined && flag !== "true" && flag !== "false")
    throw new OciError("INVALID", `${disjointReadonly} is ${quoted(flag)}, neither true nor false`);
  const paths = parsePaths(parseArray(text, disjointPaths));
  const members = annotations[disjointMembers];
  return {
    paths,
    readonly: flag === "true",
    members: members === undefined ? [] : parseMembers(parseArray(members, disjointMembers), new Set(paths)),
  };
}

/** The annotations that say so. */
export function declarationAnnotations({ paths, readonly, members }: Declaration): Annotations {
  return {
    ...(members.length === 0 ? {} : { [annotationKeys.disjointMembers]: JSON.stringify(members) }),
    [annotationKeys.disjointPaths]: JSON.stringify(paths),
    ...(readonly ? { [annotationKeys.disjointReadonly]: "true" } : {}),
  };
}

/** Why a path cannot be declared; undefined where it can. */
export function problemOfPath(path: string): string | undefined {
  if (!path.startsWith("/")) return "is not absolute";
  if (path === "/") return "is the root, which no layer can own";
  if (path.length > MAXIMUM_PATH) return `is longer than ${MAXIMUM_PATH}`;
  if (path.includes("\0")) return "holds a NUL";
  // JSON has no form for them that all its readers take.
  if (/\p{Surrogate}/u.test(path)) return "is not Unicode";
  const parts = path.slice(1).split("/");
  if (parts.length > MAXIMUM_DEPTH) return `has more than ${MAXIMUM_DEPTH} parts`;
  if (parts.some((part) => part === "" || part === "." || part === "..")) return "is not in its shortest form";
  if (parts.some((part) => part.startsWith(".wh."))) return "names a whiteout";
  return undefined;
}

function parseArray(text: string, key: string): readonly unknown[] {
  const value = parseJson(new TextEncoder().encode(text), key);
  if (Array.isArray(value)) return value;
  throw new OciError("INVALID", `${key} is not an array`);
}

function parsePaths(values: readonly unknown[]): readonly string[] {
  let before: string | undefined;
  for (const path of values) {
    if (typeof path !== "string") throw new OciError("INVALID", "a path it declares is not a string");
    const problem = problemOfPath(path);
    if (problem !== undefined) throw new OciError("INVALID", `it declares ${quoted(path)}, which ${problem}`);
    if (before !== undefined) {
      const order = compareBytewise(before, path);
      if (order === 0) throw new OciError("INVALID", `it declares ${quoted(path)} twice`);
      if (order > 0)
        throw new OciError("INVALID", `it declares ${quoted(path)} behind ${quoted(before)}, out of order`);
    }
    before = path;
  }
  return values as readonly string[];
}

function parseMembers(values: readonly unknown[], paths: ReadonlySet<string>): readonly DisjointMember[] {
  const seen = new Set<string>();
  let end = 0;
  const members = values.map((value): DisjointMember => {
    if (!isJsonObject(value)) throw new OciError("INVALID", "a member is not an object");
    const { path, offset, size, digest, layer } = value;
    if (typeof path !== "string" || !paths.has(path))
      throw new OciError("INVALID", `a member has the path ${JSON.stringify(path)}, which the layer does not declare`);
    if (seen.has(path)) throw new OciError("INVALID", `there are two members for ${quoted(path)}`);
    seen.add(path);
    if (!isCount(offset) || !isCount(size) || offset < end || !Number.isSafeInteger(offset + size))
      throw new OciError("INVALID", `the member ${quoted(path)} has no place behind the one before it`);
    end = offset + size;
    if (typeof digest !== "string" || !isDigest(digest) || typeof layer !== "string" || !isDigest(layer))
      throw new OciError("INVALID", `the member ${quoted(path)} lacks a digest`);
    return { path, offset, size, digest, layer };
  });
  const missing = [...paths].find((path) => !seen.has(path));
  if (missing !== undefined) throw new OciError("INVALID", `there is no member for ${quoted(missing)}`);
  return members;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
