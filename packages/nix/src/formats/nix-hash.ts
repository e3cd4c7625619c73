import { type Digest, OciError, parseDigest } from "@stowage/layout";
import { decodeNix32, encodeNix32 } from "./nix32.js";

/** Bytes of a SHA-256. */
const SIZE = 32;

/**
 * A SHA-256 in any of the forms that Nix writes one in: `sha256-BASE64` (SRI), `sha256:` with 52 characters of Nix's base 32, 64
 * of hexadecimal or 44 of base 64, or any of these three alone; also the object `{algorithm, format, hash}`. The result is
 * the same hash as a digest. Fails with `INVALID` for anything else, with `UNSUPPORTED` for another algorithm.
 */
export function parseNixHash(value: unknown, what = "a hash"): Digest {
  if (typeof value === "object" && value !== null) return parseHashObject(value as Record<string, unknown>, what);
  if (typeof value !== "string" || value.length > 200) throw notAHash(value, what);
  const [, algorithm = "sha256", text = ""] = /^(?:([a-z0-9]+)[:-])?([A-Za-z0-9+/=]+)$/.exec(value) ?? [];
  if (text === "") throw notAHash(value, what);
  if (algorithm !== "sha256") throw new OciError("UNSUPPORTED", `${what} is ${algorithm}; only sha256 is read`);
  const bytes = decode(text);
  if (bytes?.byteLength !== SIZE) throw notAHash(value, what);
  return parseDigest(`sha256:${Buffer.from(bytes).toString("hex")}`);
}

function parseHashObject(value: Record<string, unknown>, what: string): Digest {
  const algorithm = value.algorithm ?? value.hashAlgo ?? "sha256";
  if (algorithm !== "sha256") throw new OciError("UNSUPPORTED", `${what} is ${String(algorithm)}; only sha256 is read`);
  if (typeof value.hash !== "string") throw notAHash(value, what);
  return parseNixHash(value.hash, what);
}

function decode(text: string): Uint8Array | undefined {
  if (/^[0-9a-f]{64}$/i.test(text)) return Buffer.from(text, "hex");
  if (text.length === 52) return decodeNix32(text);
  const bytes = Buffer.from(text, "base64");
  return bytes.toString("base64") === text ? bytes : undefined;
}

/** `sha256:` and 52 characters of Nix's base 32: the form of a narinfo and of what is signed. */
export function formatNixHash(digest: Digest): string {
  return `sha256:${nixHashText(digest)}`;
}

/** The 52 characters alone, as in the name of a file in a binary cache. */
export function nixHashText(digest: Digest): string {
  return encodeNix32(Buffer.from(digest.slice("sha256:".length), "hex"));
}

function notAHash(value: unknown, what: string): OciError {
  return new OciError("INVALID", `${what} is no sha256: ${JSON.stringify(value)?.slice(0, 200)}`);
}
