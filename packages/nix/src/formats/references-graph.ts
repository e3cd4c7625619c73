import { isJsonObject, OciError, parseJson } from "@stowage/layout";
import { parseNixHash } from "./nix-hash.js";
import { baseNames, isCount, type PartialPathInfo, parseContentAddress, parsePathInfo } from "./path-info.js";
import { parseRegistration } from "./registration.js";
import { parseStorePath } from "./store-path.js";

/**
 * Reads a description of a closure in whichever form it comes: what `exportReferencesGraph` gives a derivation as text or, with structured
 * attributes, as JSON (also the whole `.attrs.json`), `registration` of `closureInfo`, `nix-store --dump-db`, `nix path-info --json`. Where
 * several lists are in it they count together. Fails with `INVALID` where it is none of them; `where` names it.
 */
export function parseGraph(bytes: Uint8Array, where: string): PartialPathInfo[] {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const first = text.subarray(0, 100).toString("latin1").trimStart()[0];
  if (first !== "{" && first !== "[") return parseRegistration(text.toString(), where);
  const value = parseJson(bytes, where);
  if (!isJsonObject(value)) return isGraph(value) ? parseJsonGraph(value, where) : parsePathInfo(value, where);
  const graphs = Object.values(value).filter(isGraph);
  if (graphs.length === 0) return parsePathInfo(value, where);
  const infos = new Map(graphs.flatMap((graph) => parseJsonGraph(graph, where)).map((info) => [info.path, info]));
  return [...infos.values()];
}

/** Only there is a closureSize. */
function isGraph(value: unknown): value is readonly unknown[] {
  return (
    Array.isArray(value) && value.length > 0 && value.every((item) => isJsonObject(item) && isCount(item.closureSize))
  );
}

function parseJsonGraph(items: readonly unknown[], where: string): PartialPathInfo[] {
  return items.map((item) => {
    const { path, narHash, narSize, references, ca } = item as Record<string, unknown>;
    const { storeDirectory } = parseStorePath(path, `a path in ${where}`);
    const what = `${String(path)} in ${where}`;
    if (!isCount(narSize)) throw new OciError("INVALID", `${what} has no narSize`);
    return {
      path: path as string,
      narHash: parseNixHash(narHash, `the narHash of ${what}`),
      narSize,
      references: baseNames(references, storeDirectory, what),
      ...(typeof ca === "string" && ca !== "" ? { ca: parseContentAddress(ca, what) } : {}),
      signatures: [],
    };
  });
}
