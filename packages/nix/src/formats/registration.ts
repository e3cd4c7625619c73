import { OciError } from "@stowage/layout";
import { formatNixHash, parseNixHash } from "./nix-hash.js";
import { baseName, baseNames, type PartialPathInfo, type PathInfo } from "./path-info.js";
import { parseStorePath } from "./store-path.js";

/** References of one store path. It is memory that a few bytes ask for. */
const MAXIMUM_REFERENCES = 1_000_000;

/**
 * Reads lists of store paths as text, with the references of each behind it: what `exportReferencesGraph` writes (path, deriver, count, references), and
 * what `closureInfo` calls `registration` and `nix-store --dump-db` prints (path, hash, size, deriver, count, references). Which of
 * them it is, its second line tells. Fails with `INVALID`; `where` names the text.
 */
export function parseRegistration(text: string, where: string): PartialPathInfo[] {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  const hasHashes = lines[1] !== undefined && lines[1] !== "" && !lines[1].startsWith("/");
  const infos: PartialPathInfo[] = [];
  let at = 0;
  const next = (): string => {
    const line = lines[at++];
    if (line === undefined) throw new OciError("INVALID", `${where} ends in the middle of a store path`);
    return line;
  };
  while (at < lines.length) {
    const path = next();
    const { storeDirectory } = parseStorePath(path, `line ${at} of ${where}`);
    const hashed = hasHashes
      ? { narHash: parseNixHash(next(), `line ${at} of ${where}`), narSize: number(next(), where, at) }
      : {};
    const deriver = next();
    const count = number(next(), where, at);
    if (count > MAXIMUM_REFERENCES) throw new OciError("LIMIT", `${where} gives ${path} ${count} references`);
    const references = baseNames(Array.from({ length: count }, next), storeDirectory, `${path} in ${where}`);
    infos.push({
      path,
      ...hashed,
      references,
      ...(deriver === "" ? {} : { deriver: baseName(deriver, storeDirectory, `${path} in ${where}`) }),
      signatures: [],
    });
  }
  return infos;
}

/** The text that `nix-store --load-db` reads, with `sha256:` and base 32 as `closureInfo` writes it. */
export function printRegistration(infos: readonly PathInfo[]): string {
  const lines = infos.flatMap(({ path, narHash, narSize, deriver, references }) => {
    const { storeDirectory } = parseStorePath(path);
    const whole = (base: string): string => `${storeDirectory}/${base}`;
    return [
      path,
      formatNixHash(narHash),
      String(narSize),
      deriver === undefined ? "" : whole(deriver),
      String(references.length),
      ...references.map(whole),
    ];
  });
  return lines.map((line) => `${line}\n`).join("");
}

function number(text: string, where: string, line: number): number {
  if (/^[0-9]{1,15}$/.test(text)) return Number(text);
  throw new OciError("INVALID", `line ${line} of ${where} is no number: ${JSON.stringify(text.slice(0, 100))}`);
}
