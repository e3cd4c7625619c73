import { type Annotations, annotationKeys, isDigest, isJsonObject, OciError, parseJson } from "@stowage/layout";
import { formatNixHash, parseNixHash } from "../formats/nix-hash.js";
import { isCount, type PathInfo, parseContentAddress, parseSignatureText } from "../formats/path-info.js";
import { parseBaseName, parseStorePath } from "../formats/store-path.js";

/** The annotations of layers that are store paths, and of manifests made of them. */
export const nixKeys = {
  storePath: "dev.stowage.nix.store-path",
  narHash: "dev.stowage.nix.nar-hash",
  narSize: "dev.stowage.nix.nar-size",
  /** Base names, with a space between them, as in a narinfo. */
  references: "dev.stowage.nix.references",
  deriver: "dev.stowage.nix.deriver",
  ca: "dev.stowage.nix.ca",
  /** Signatures, with a space between them. */
  signatures: "dev.stowage.nix.sig",
  /** On a layer of several store paths: a list of objects with the keys above, without what they begin with. */
  members: "dev.stowage.nix.members",
  /** On a manifest: the store paths that were asked for, a JSON array. */
  roots: "dev.stowage.nix.roots",
  storeDirectory: "dev.stowage.nix.store-dir",
  /** On a manifest: `narrow` or `wide`. */
  shape: "dev.stowage.nix.shape",
  /** On a manifest: what its layers were compressed with. */
  compression: "dev.stowage.nix.compression",
} as const;

/** The artifactType of a manifest of one store path. */
export const PATH_TYPE = "application/vnd.stowage.nix.path.v1";
/** The artifactType of an index of the manifests of a closure. */
export const CLOSURE_TYPE = "application/vnd.stowage.nix.closure.v1";
/** The platform feature of an image that has a layer for each store path. */
export const DISJOINT_FEATURE = "dev.stowage.disjoint";

const PREFIX = "dev.stowage.nix.";

/** Where a store path stands in the bytes of a layer that holds several. */
export interface LayerMember {
  readonly path: string;
  /** Bytes of the blob that stand before it. */
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
  /** Of those bytes. */
  readonly digest: string;
  /** Of the layer that holds this path alone: what stands before the first member, the member, what stands behind the last. */
  readonly layer: string;
}

/** The annotations of a layer that is one store path. */
export function pathAnnotations(info: PathInfo): Annotations {
  return {
    ...disjointAnnotations([info.path]),
    ...Object.fromEntries(fieldsOf(info).map(([key, value]) => [PREFIX + key, value])),
  };
}

/** The annotations of a layer of several store paths, in their order. */
export function groupAnnotations(infos: readonly PathInfo[], members: readonly LayerMember[]): Annotations {
  return {
    ...disjointAnnotations(infos.map(({ path }) => path)),
    [annotationKeys.disjointMembers]: JSON.stringify(members),
    [nixKeys.members]: JSON.stringify(infos.map((info) => Object.fromEntries(fieldsOf(info)))),
  };
}

/** What says that these paths are the layer's alone, and stay as they are. */
export function disjointAnnotations(paths: readonly string[]): Annotations {
  return {
    [annotationKeys.disjointPaths]: JSON.stringify([...paths].sort()),
    [annotationKeys.disjointReadonly]: "true",
  };
}

function fieldsOf(info: PathInfo): [string, string][] {
  const optional = (key: string, value: string | undefined): [string, string][] =>
    value === undefined || value === "" ? [] : [[key, value]];
  return [
    ["store-path", info.path],
    ["nar-hash", formatNixHash(info.narHash)],
    ["nar-size", String(info.narSize)],
    ["references", info.references.join(" ")],
    ...optional("deriver", info.deriver),
    ...optional("ca", info.ca),
    ...optional("sig", info.signatures.join(" ")),
  ];
}

/** A store path that a layer says it has, and where in it. */
export interface AnnotatedPath {
  readonly info: PathInfo;
  /** Absent where the layer is this path alone. */
  readonly member?: LayerMember;
}

/** The store paths that a layer says it has; none for another layer. Fails with `INVALID` where what it says makes no sense; `where` names it. */
export function annotatedPaths(annotations: Annotations | undefined, where: string): AnnotatedPath[] {
  if (annotations?.[nixKeys.storePath] !== undefined)
    return [{ info: parseFields((key) => annotations[PREFIX + key], where) }];
  const text = annotations?.[nixKeys.members];
  if (text === undefined) return [];
  const infos = parseList(text, nixKeys.members, where).map((item) =>
    parseFields((key) => (typeof item[key] === "string" ? item[key] : undefined), where),
  );
  const members = parseList(
    annotations?.[annotationKeys.disjointMembers] ?? "[]",
    annotationKeys.disjointMembers,
    where,
  );
  const byPath = new Map(members.map((item) => [item.path, parseMember(item, where)]));
  return infos.map((info) => {
    const member = byPath.get(info.path);
    if (member === undefined) throw new OciError("INVALID", `${where} does not say where ${info.path} is in it`);
    return { info, member };
  });
}

function parseFields(field: (key: string) => string | undefined, where: string): PathInfo {
  const path = field("store-path") ?? "";
  parseStorePath(path, `a store path of ${where}`);
  const what = `${path} in ${where}`;
  const narSize = Number(field("nar-size") ?? Number.NaN);
  if (!isCount(narSize)) throw new OciError("INVALID", `${what} has no nar-size`);
  const [deriver, ca] = [field("deriver"), field("ca")];
  const words = (key: string): string[] => (field(key) ?? "").split(" ").filter((word) => word !== "");
  return {
    path,
    narHash: parseNixHash(field("nar-hash"), `the nar-hash of ${what}`),
    narSize,
    references: words("references").map((word) => parseBaseName(word, `a reference of ${what}`)),
    ...(deriver === undefined ? {} : { deriver: parseBaseName(deriver, `the deriver of ${what}`) }),
    ...(ca === undefined ? {} : { ca: parseContentAddress(ca, what) }),
    signatures: words("sig").map((word) => parseSignatureText(word, what)),
  };
}

function parseMember(item: Readonly<Record<string, unknown>>, where: string): LayerMember {
  const { path, offset, size, digest, layer } = item;
  const isPlaced = isCount(offset) && isCount(size) && typeof path === "string";
  if (!isPlaced || typeof digest !== "string" || !isDigest(digest) || typeof layer !== "string" || !isDigest(layer))
    throw new OciError("INVALID", `${where} has a member that cannot be read: ${JSON.stringify(item).slice(0, 300)}`);
  return { path, offset, size, digest, layer };
}

function parseList(text: string, key: string, where: string): Readonly<Record<string, unknown>>[] {
  const value = parseJson(Buffer.from(text), `${key} of ${where}`);
  if (Array.isArray(value) && value.every(isJsonObject)) return value;
  throw new OciError("INVALID", `${key} of ${where} is no list of objects`);
}
