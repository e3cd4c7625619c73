import { type Digest, Hasher, OciError } from "@stowage/layout";
import { formatNixHash, parseNixHash } from "../formats/nix-hash.js";
import { baseNameOf } from "../formats/path-info.js";
import { findSigner, type NixKey } from "../formats/signature.js";
import { parseStorePath, sourceStorePath, textStorePath } from "../formats/store-path.js";
import { others } from "../formats/topological-order.js";
import type { Closure, StoreObject } from "../sources/closure.js";

/**
 * Fails with `DENIED` where none of the keys has signed a path of the closure. One whose name follows from its content
 * needs no signature, as with Nix, where the name is found to follow from it.
 */
export async function checkSignatures({ objects }: Closure, trusted: readonly NixKey[] | undefined): Promise<void> {
  if (trusted === undefined || trusted.length === 0) return;
  const unsigned: StoreObject[] = [];
  for (const object of objects)
    if (findSigner(object.info, trusted) === undefined && !(await provesItself(object))) unsigned.push(object);
  const [first] = unsigned;
  if (first === undefined) return;
  throw new OciError(
    "DENIED",
    `${unsigned.length} of ${objects.length} store paths lack a signature by a trusted key, ${baseNameOf(first.info.path)} for one`,
    { hint: `Trusted are ${trusted.map(({ name }) => name).join(", ")}.` },
  );
}

async function provesItself(object: StoreObject): Promise<boolean> {
  const { path, ca, narHash, references } = object.info;
  if (ca === undefined) return false;
  const { storeDirectory, name, baseName } = parseStorePath(path);
  const whole = others(object.info).map((base) => `${storeDirectory}/${base}`);
  if (ca === `fixed:r:${formatNixHash(narHash)}`)
    return sourceStorePath(name, narHash, whole, { self: references.includes(baseName), storeDirectory }) === path;
  if (!ca.startsWith("text:")) return false;
  const inner = parseNixHash(ca.slice("text:".length), `the ca of ${path}`);
  return textStorePath(name, inner, whole, storeDirectory) === path && (await hashOfFile(object)) === inner;
}

/** The hash of a path that is a plain file; undefined where it is something else. */
async function hashOfFile({ tree }: StoreObject): Promise<Digest | undefined> {
  for await (const entry of tree()) {
    if (entry.type !== "file" || entry.executable) return undefined;
    const hasher = new Hasher();
    for await (const chunk of entry.body) hasher.update(chunk);
    return hasher.digest();
  }
  return undefined;
}
