import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { OciError } from "@stowage/layout";
import { fingerprint } from "./narinfo.js";
import type { PathInfo } from "./path-info.js";

/** What stands in front of the bytes of an ed25519 key in its DER form. RFC 8410, section 4 and 7. */
const PUBLIC_PREFIX = Buffer.from("302a300506032b6570032100", "hex");
const PRIVATE_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");
const SEED_SIZE = 32;
const SIGNATURE_SIZE = 64;

/** A key that signs store paths, or whose signatures are trusted. */
export interface NixKey {
  /** Stands in front of its signatures. */
  readonly name: string;
  readonly key: KeyObject;
}

/** Reads `NAME:BASE64` of a public ed25519 key, as `nix key convert-secret-to-public` prints it. Fails with `INVALID`. */
export function parsePublicKey(text: string): NixKey {
  const { name, bytes } = split(text, "a public key", [SEED_SIZE]);
  const der = Buffer.concat([PUBLIC_PREFIX, bytes]);
  return { name, key: createPublicKey({ key: der, format: "der", type: "spki" }) };
}

/** Reads `NAME:BASE64` of a secret ed25519 key, as `nix key generate-secret` prints it. Fails with `INVALID`; the message holds nothing of it. */
export function parseSecretKey(text: string): NixKey {
  const { name, bytes } = split(text, "a secret key", [SEED_SIZE, 2 * SEED_SIZE]);
  const der = Buffer.concat([PRIVATE_PREFIX, bytes.subarray(0, SEED_SIZE)]);
  return { name, key: createPrivateKey({ key: der, format: "der", type: "pkcs8" }) };
}

function split(text: string, what: string, sizes: readonly number[]): { name: string; bytes: Buffer } {
  const [, name = "", encoded = ""] = /^([^\s:]{1,200}):([A-Za-z0-9+/]+={0,2})$/.exec(text.trim()) ?? [];
  const bytes = Buffer.from(encoded, "base64");
  if (name !== "" && sizes.includes(bytes.byteLength)) return { name, bytes };
  throw new OciError("INVALID", `not ${what} of Nix`, {
    hint: "A key is NAME:BASE64, as nix key generate-secret and nix key convert-secret-to-public print it.",
  });
}

/** The signature of a store path, `NAME:BASE64`. The same key and path give the same signature. */
export function signPath(info: PathInfo, secret: NixKey): string {
  return `${secret.name}:${sign(null, Buffer.from(fingerprint(info)), secret.key).toString("base64")}`;
}

/** The first of the keys that signed the store path as it is described; undefined where none did. */
export function findSigner(info: PathInfo, trusted: readonly NixKey[]): string | undefined {
  const message = Buffer.from(fingerprint(info));
  for (const text of info.signatures) {
    const colon = text.indexOf(":");
    const bytes = Buffer.from(text.slice(colon + 1), "base64");
    if (bytes.byteLength !== SIGNATURE_SIZE) continue;
    const signer = trusted.find(({ name, key }) => name === text.slice(0, colon) && verify(null, message, key, bytes));
    if (signer !== undefined) return signer.name;
  }
  return undefined;
}
