import { createHash, type Hash } from "node:crypto";
import { OciError } from "./errors.js";

declare const digestBrand: unique symbol;

/**
 * A content digest, `algorithm:encoded`, that has passed {@link parseDigest} and so is safe as part of a file path.
 * image-spec v1.1.1, descriptor.md "Digests".
 */
export type Digest = string & { readonly [digestBrand]: true };

/** An algorithm whose content this program can verify. image-spec v1.1.1, descriptor.md "Registered algorithms". */
export type DigestAlgorithm = "sha256" | "sha512";

const GRAMMAR = /^[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/;
const HEX_LENGTH: ReadonlyMap<string, number> = new Map([
  ["sha256", 64],
  ["sha512", 128],
  ["blake3", 64],
]);
/** A digest becomes a file name; 255 bytes is what every file system we know takes. */
const MAXIMUM_LENGTH = 255;

/** True if `text` is a digest: the grammar holds and, for a registered algorithm, the encoded part is lower-case hex of the right length. */
export function isDigest(text: string): text is Digest {
  if (isSha256(text)) return true;
  if (text.length > MAXIMUM_LENGTH || !GRAMMAR.test(text)) return false;
  const colon = text.indexOf(":");
  const length = HEX_LENGTH.get(text.slice(0, colon));
  return length === undefined || (text.length === colon + 1 + length && /^[a-f0-9]+$/.test(text.slice(colon + 1)));
}

/** What nearly every digest is. An index may have a hundred thousand of them, and an expression takes ten times as long. */
function isSha256(text: string): boolean {
  if (text.length !== 71 || !text.startsWith("sha256:")) return false;
  for (let at = 7; at < 71; at++) {
    const code = text.charCodeAt(at);
    if (!((code >= 0x30 && code <= 0x39) || (code >= 0x61 && code <= 0x66))) return false;
  }
  return true;
}

/**
 * Returns `text` as a {@link Digest}, or fails with `INVALID`. Nothing else in Stowage makes one from foreign text.
 * An algorithm that is not registered passes if the grammar holds, as the spec asks.
 */
export function parseDigest(text: unknown): Digest {
  if (typeof text === "string" && isDigest(text)) return text;
  throw new OciError(
    "INVALID",
    `not a digest: ${typeof text === "string" ? JSON.stringify(text.slice(0, 200)) : typeof text}`,
    {
      hint: "A digest looks like sha256: followed by 64 lower-case hexadecimal digits.",
    },
  );
}

/** The part of a digest before the colon. */
export function digestAlgorithm(digest: Digest): string {
  return digest.slice(0, digest.indexOf(":"));
}

/** The part of a digest after the colon. */
export function digestEncoded(digest: Digest): string {
  return digest.slice(digest.indexOf(":") + 1);
}

/** True if content with this digest can be verified here (sha256, sha512). */
export function isVerifiable(digest: Digest): boolean {
  const algorithm = digestAlgorithm(digest);
  return algorithm === "sha256" || algorithm === "sha512";
}

/** A running digest: feed it with `update`, read it once with `digest`. */
export class Hasher {
  readonly algorithm: DigestAlgorithm;
  #hash: Hash;

  constructor(algorithm: DigestAlgorithm = "sha256") {
    this.algorithm = algorithm;
    this.#hash = createHash(algorithm);
  }

  /** A hasher for the algorithm of `digest`; fails with `UNSUPPORTED` where that algorithm cannot be computed here. */
  static for(digest: Digest): Hasher {
    const algorithm = digestAlgorithm(digest);
    if (algorithm === "sha256" || algorithm === "sha512") return new Hasher(algorithm);
    throw new OciError("UNSUPPORTED", `cannot verify ${digest}: the algorithm ${algorithm} is not known here`);
  }

  update(chunk: Uint8Array): void {
    this.#hash.update(chunk);
  }

  /** Another one that has been fed the same; from here on each goes its own way. */
  copy(): Hasher {
    const copy = new Hasher(this.algorithm);
    copy.#hash = this.#hash.copy();
    return copy;
  }

  digest(): Digest {
    return `${this.algorithm}:${this.#hash.digest("hex")}` as Digest;
  }
}

/** The digest of `bytes`. */
export function digestOf(bytes: Uint8Array | string, algorithm: DigestAlgorithm = "sha256"): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest("hex")}` as Digest;
}
