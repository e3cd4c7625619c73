import { type Digest, OciError } from "@stowage/layout";
import { formatNixHash, parseNixHash } from "./nix-hash.js";
import { baseNameOf, type PathInfo, parseContentAddress, parseSignatureText } from "./path-info.js";
import { parseBaseName, parseStorePath } from "./store-path.js";

/** An entry of a binary cache: what it says of a store path, and where its NAR is. */
export interface NarInfo extends PathInfo {
  /** Relative to the cache; may have a query. */
  readonly url: string;
  /** What the NAR is compressed with. */
  readonly compression: string;
  /** Of the file that `url` names. */
  readonly fileHash?: Digest;
  /** Bytes of that file. */
  readonly fileSize?: number;
}

/** Bytes of the largest narinfo that is read: one with 10,000 references has less than 1 MiB. */
export const MAXIMUM_NARINFO = 4 * 1024 * 1024;

/**
 * Reads a narinfo file, as strictly as Nix: each line is `Key: Value`, the last one ends too, StorePath, URL, NarHash and
 * NarSize are there, and what may stand once does not stand twice. Keys that are not known are passed over. No compression
 * means bzip2. Fails with `INVALID`; `where` names the file.
 */
export function parseNarInfo(text: string, where: string): NarInfo {
  const { values, signatures } = linesOf(text, where);
  const required = (key: string): string => {
    const value = values.get(key);
    if (value === undefined || value === "") throw new OciError("INVALID", `${where} has no ${key}`);
    return value;
  };
  const path = required("StorePath");
  parseStorePath(path, `the StorePath of ${where}`);
  const narSize = size(required("NarSize"), "NarSize", where);
  if (narSize === 0) throw new OciError("INVALID", `${where} has the NarSize 0`);
  const fileHash = values.get("FileHash");
  const fileSize = values.get("FileSize");
  const deriver = values.get("Deriver");
  const ca = values.get("CA");
  return {
    path,
    url: required("URL"),
    compression: values.get("Compression") || "bzip2",
    ...(fileHash === undefined ? {} : { fileHash: parseNixHash(fileHash, `the FileHash of ${where}`) }),
    ...(fileSize === undefined ? {} : { fileSize: size(fileSize, "FileSize", where) }),
    narHash: parseNixHash(required("NarHash"), `the NarHash of ${where}`),
    narSize,
    references: words(values.get("References")).map((word) => parseBaseName(word, `a reference in ${where}`)),
    ...(deriver === undefined || deriver === "" || deriver === "unknown-deriver"
      ? {}
      : { deriver: parseBaseName(deriver, `the Deriver of ${where}`) }),
    ...(ca === undefined || ca === "" ? {} : { ca: parseContentAddress(ca, where) }),
    signatures,
  };
}

function linesOf(text: string, where: string): { values: Map<string, string>; signatures: string[] } {
  if (!text.endsWith("\n")) throw new OciError("INVALID", `${where} is cut off: its last line has no end`);
  const values = new Map<string, string>();
  const signatures: string[] = [];
  for (const line of text.slice(0, -1).split("\n")) {
    const colon = line.indexOf(": ");
    if (colon < 1) throw new OciError("INVALID", `${where} has the line ${JSON.stringify(line.slice(0, 200))}`);
    const key = line.slice(0, colon);
    const value = line.slice(colon + 2);
    if (key === "Sig") {
      signatures.push(parseSignatureText(value, where));
      continue;
    }
    if (values.has(key)) throw new OciError("INVALID", `${where} has ${JSON.stringify(key)} twice`);
    values.set(key, value);
  }
  return { values, signatures };
}

function size(text: string, key: string, where: string): number {
  if (/^[0-9]{1,15}$/.test(text)) return Number(text);
  throw new OciError("INVALID", `${where} has the ${key} ${JSON.stringify(text.slice(0, 100))}`);
}

function words(text: string | undefined): string[] {
  return (text ?? "").split(" ").filter((word) => word !== "");
}

/** The text of a narinfo file, line for line as Nix writes it. */
export function printNarInfo(info: NarInfo): string {
  const lines: [string, string | undefined][] = [
    ["StorePath", info.path],
    ["URL", info.url],
    ["Compression", info.compression],
    ["FileHash", info.fileHash === undefined ? undefined : formatNixHash(info.fileHash)],
    ["FileSize", info.fileSize === undefined ? undefined : String(info.fileSize)],
    ["NarHash", formatNixHash(info.narHash)],
    ["NarSize", String(info.narSize)],
    ["References", info.references.join(" ")],
    ["Deriver", info.deriver],
    ...info.signatures.map((signature): [string, string] => ["Sig", signature]),
    ["CA", info.ca],
  ];
  return lines.flatMap(([key, value]) => (value === undefined ? [] : [`${key}: ${value}\n`])).join("");
}

/** `1;PATH;NARHASH;NARSIZE;REFERENCES`: what a signature of a store path signs. */
export function fingerprint(info: PathInfo): string {
  const { storeDirectory } = parseStorePath(info.path);
  const references = [...info.references].sort().map((reference) => `${storeDirectory}/${reference}`);
  return `1;${storeDirectory}/${baseNameOf(info.path)};${formatNixHash(info.narHash)};${info.narSize};${references.join(",")}`;
}
