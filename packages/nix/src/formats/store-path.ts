import { createHash } from "node:crypto";
import { type Digest, OciError } from "@stowage/layout";
import { encodeNix32 } from "./nix32.js";

/** The store directory where none is named. */
export const DEFAULT_STORE_DIRECTORY = "/nix/store";

const BASE_NAME = /^([0123456789abcdfghijklmnpqrsvwxyz]{32})-([A-Za-z0-9+._?=-]{1,211})$/;
const HASH_PART = /^[0123456789abcdfghijklmnpqrsvwxyz]{32}$/;
/** Bytes of the hash in a store path. */
const HASH_SIZE = 20;

/** A store path in its parts. */
export interface StorePath {
  /** Absolute, without a slash at its end: `/nix/store`. */
  readonly storeDirectory: string;
  /** What stands behind the store directory: the hash part, a dash, the name. */
  readonly baseName: string;
  /** 32 characters of Nix's base 32. */
  readonly hashPart: string;
  readonly name: string;
}

/** Returns `text` if it is the base name of a store path, or fails with `INVALID`. */
export function parseBaseName(text: unknown, what = "a store path"): string {
  if (typeof text === "string" && isBaseName(text)) return text;
  throw new OciError(
    "INVALID",
    `${what} is no base name of a store path: ${JSON.stringify(String(text).slice(0, 300))}`,
  );
}

/** True for what can stand behind the store directory: a name that is `.` or `..`, also in front of a dash, cannot. */
export function isBaseName(text: string): boolean {
  const name = BASE_NAME.exec(text)?.[2];
  return name !== undefined && !/^\.\.?(?:-|$)/.test(name);
}

/** True for the 32 characters of a store path that tell it from all others. */
export function isHashPart(text: string): boolean {
  return HASH_PART.test(text);
}

/**
 * The parts of a store path. Any store directory is taken: it is data, not a constant. Fails with `INVALID` where it is not absolute,
 * not normalised, or where the last part is no base name.
 */
export function parseStorePath(text: unknown, what = "a store path"): StorePath {
  if (typeof text !== "string" || !text.startsWith("/")) throw invalid(text, what);
  const slash = text.lastIndexOf("/");
  const baseName = text.slice(slash + 1);
  if (!isBaseName(baseName)) throw invalid(text, what);
  return {
    storeDirectory: parseStoreDirectory(text.slice(0, slash), what),
    baseName,
    hashPart: baseName.slice(0, 32),
    name: baseName.slice(33),
  };
}

/** Returns `text` if it can be a store directory: absolute, normalised, not the root, printable. Fails with `INVALID`. */
export function parseStoreDirectory(text: unknown, what = "a store directory"): string {
  if (typeof text === "string" && text.length <= 1000 && /^(?:\/(?!\.\.?(?:\/|$))[\x21-\x2e\x30-\x7e]+)+$/.test(text))
    return text;
  throw new OciError("INVALID", `${what} is in no store directory: ${JSON.stringify(String(text).slice(0, 300))}`);
}

/** What a store path is made from, see {@link makeStorePath}. */
export interface StorePathParts {
  /** `text`, `source` or `output:NAME`, with references and `:self` behind a colon each. */
  readonly type: string;
  /** The SHA-256 that the path stands for. */
  readonly inner: Digest;
  readonly storeDirectory: string;
  readonly name: string;
}

/** The store path that Nix gives to something: its hash part is a SHA-256 of the parts, folded to 20 bytes. */
export function makeStorePath({ type, inner, storeDirectory, name }: StorePathParts): string {
  const full = createHash("sha256").update(`${type}:${inner}:${storeDirectory}:${name}`).digest();
  const folded = new Uint8Array(HASH_SIZE);
  for (const [at, byte] of full.entries()) folded[at % HASH_SIZE] = (folded[at % HASH_SIZE] as number) ^ byte;
  return `${storeDirectory}/${parseBaseName(`${encodeNix32(folded)}-${name}`)}`;
}

/** The store path of a file that was made from text: `builtins.toFile`. `references` are whole paths. */
export function textStorePath(
  name: string,
  inner: Digest,
  references: readonly string[],
  storeDirectory = DEFAULT_STORE_DIRECTORY,
): string {
  return makeStorePath({ type: ["text", ...[...references].sort()].join(":"), inner, storeDirectory, name });
}

/** The store path of a tree that was added as it is, by the hash of its NAR: `nix-store --add`. `references` are whole paths. */
export function sourceStorePath(
  name: string,
  narHash: Digest,
  references: readonly string[],
  options: { readonly self?: boolean; readonly storeDirectory?: string } = {},
): string {
  const type = ["source", ...[...references].sort(), ...(options.self === true ? ["self"] : [])].join(":");
  return makeStorePath({
    type,
    inner: narHash,
    storeDirectory: options.storeDirectory ?? DEFAULT_STORE_DIRECTORY,
    name,
  });
}

function invalid(text: unknown, what: string): OciError {
  return new OciError("INVALID", `${what} is no store path: ${JSON.stringify(String(text).slice(0, 300))}`, {
    hint: "A store path looks like /nix/store/bqy3xcn2d64va92hx2zw78cbp7bpvdbi-name.",
  });
}
