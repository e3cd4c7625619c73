import { type Digest, isJsonObject, type JsonObject, OciError } from "@stowage/layout";
import { formatNixHash, parseNixHash } from "./nix-hash.js";
import { parseBaseName, parseStoreDirectory, parseStorePath } from "./store-path.js";

/** What Nix knows of a store path. */
export interface PathInfo {
  /** The whole path. */
  readonly path: string;
  /** The SHA-256 of its NAR. */
  readonly narHash: Digest;
  /** Bytes of its NAR. */
  readonly narSize: number;
  /** The base names of the store paths it refers to, itself among them where it does, in bytewise order. */
  readonly references: readonly string[];
  /** The base name of the derivation that made it. */
  readonly deriver?: string;
  /** How the path follows from its content, where it does: `text:sha256:...`, `fixed:r:sha256:...`. */
  readonly ca?: string;
  /** `KEYNAME:BASE64` each. */
  readonly signatures: readonly string[];
}

/** A path whose NAR nobody has hashed yet. */
export type PartialPathInfo = Omit<PathInfo, "narHash" | "narSize"> & Partial<Pick<PathInfo, "narHash" | "narSize">>;

/** The base name of a path that {@link parseStorePath} takes. */
export function baseNameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/**
 * Reads what `nix path-info --json` prints, in each of its four shapes: a list (Nix 2.18 and before), an object by path (2.19 to 2.32,
 * `--json-format 1`), and an object with a version and base names (`--json-format 2` and `3`). Fails with `INVALID` where it is
 * none of them, with `NOT_FOUND` where it says that a path is not valid.
 */
export function parsePathInfo(value: unknown, where: string): PathInfo[] {
  if (Array.isArray(value)) return value.map((item) => one(item?.path, item, undefined, where));
  if (!isJsonObject(value)) throw invalid(where, "is neither a list nor an object");
  if (typeof value.version === "number" && isJsonObject(value.info)) {
    if (value.version !== 2 && value.version !== 3)
      throw new OciError("UNSUPPORTED", `${where} has the version ${value.version}; 2 and 3 are read`);
    const store = value.storeDir === undefined ? "/nix/store" : parseStoreDirectory(value.storeDir, where);
    return Object.entries(value.info).map(([base, item]) => {
      const path = base.startsWith("/") ? base : `${store}/${parseBaseName(base, where)}`;
      return one(path, item, store, where);
    });
  }
  return Object.entries(value).map(([path, item]) => one(path, item, undefined, where));
}

function one(path: unknown, item: unknown, store: string | undefined, where: string): PathInfo {
  const { storeDirectory } = parseStorePath(path, `a path in ${where}`);
  if (item === null || (isJsonObject(item) && item.valid === false))
    throw new OciError("NOT_FOUND", `${path} is not valid, says ${where}`);
  if (!isJsonObject(item)) throw invalid(where, `has ${JSON.stringify(path)} without an object`);
  const what = `${path} in ${where}`;
  const { narSize } = item;
  if (!isCount(narSize)) throw invalid(what, "has no narSize");
  const deriver = item.deriver === null ? undefined : item.deriver;
  const ca = contentAddress(item.ca, what);
  return {
    path: path as string,
    narHash: parseNixHash(item.narHash, `the narHash of ${what}`),
    narSize,
    references: baseNames(item.references, store ?? storeDirectory, what),
    ...(deriver === undefined ? {} : { deriver: baseName(deriver, store ?? storeDirectory, what) }),
    ...(ca === undefined ? {} : { ca }),
    signatures: signaturesOf(item.signatures, what),
  };
}

/** References as whole paths or base names, as base names in order. */
export function baseNames(value: unknown, store: string, what: string): string[] {
  if (!Array.isArray(value)) throw invalid(what, "has no references");
  return [...new Set(value.map((item) => baseName(item, store, what)))].sort();
}

/** A whole path in the store directory, or a base name, as a base name. */
export function baseName(value: unknown, store: string, what: string): string {
  const text = typeof value === "string" && value.startsWith(`${store}/`) ? value.slice(store.length + 1) : value;
  return parseBaseName(text, `a reference of ${what}`);
}

function contentAddress(value: unknown, what: string): string | undefined {
  if (value === undefined || value === null || value === "") return undefined;
  if (typeof value === "string") return parseContentAddress(value, what);
  if (!isJsonObject(value) || typeof value.method !== "string") throw invalid(what, "has a ca that is none");
  const hash = formatNixHash(parseNixHash(value.hash, `the ca of ${what}`));
  const prefix: Readonly<Record<string, string>> = {
    text: "text:",
    flat: "fixed:",
    nar: "fixed:r:",
    git: "fixed:git:",
  };
  const known = Object.hasOwn(prefix, value.method) ? prefix[value.method] : undefined;
  if (known === undefined) throw invalid(what, `has a ca of the method ${JSON.stringify(value.method)}`);
  return `${known}${hash}`;
}

/** Returns the text if it can stand as a content address in one line, or fails with `INVALID`. */
export function parseContentAddress(text: string, what: string): string {
  if (/^[a-z]+:[A-Za-z0-9:+/=._-]{1,200}$/.test(text)) return text;
  throw invalid(what, `has the ca ${JSON.stringify(text.slice(0, 200))}, which is none`);
}

function signaturesOf(value: unknown, what: string): string[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw invalid(what, "has signatures that are no list");
  return value.map((item) => {
    if (typeof item === "string") return parseSignatureText(item, what);
    const { keyName, sig } = (isJsonObject(item) ? item : {}) as JsonObject;
    return parseSignatureText(`${String(keyName)}:${String(sig)}`, what);
  });
}

/** Returns the text if it is `KEYNAME:BASE64`, or fails with `INVALID`. */
export function parseSignatureText(text: string, what: string): string {
  if (text.length <= 1000 && /^[\x21-\x39\x3b-\x7e]+:[A-Za-z0-9+/]+={0,2}$/.test(text)) return text;
  throw invalid(what, `has a signature that is none: ${JSON.stringify(text.slice(0, 100))}`);
}

/** True for a size or a count. */
export function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function invalid(where: string, problem: string): OciError {
  return new OciError("INVALID", `${where} ${problem}`);
}
