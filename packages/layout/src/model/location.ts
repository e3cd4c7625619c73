import { type Digest, isDigest } from "./digest.js";
import { OciError } from "./errors.js";
import { formatReference, parseReference, type Reference } from "./reference.js";

/** A registry repository and, in it, a tag or digest. */
export interface RegistryLocation {
  readonly kind: "registry";
  readonly reference: Reference;
}

/** A layout directory, or a layout or `docker save` tarball in a file; `-` is stdin or stdout. */
export interface FileLocation {
  readonly kind: "layout" | "oci-archive" | "docker-archive";
  readonly path: string;
  /** The tag, or whatever else stands in `org.opencontainers.image.ref.name`. */
  readonly tag?: string;
  /** Wins over the tag where both are given. */
  readonly digest?: Digest;
}

/** Where an image is, or where it shall go. */
export type Location = RegistryLocation | FileLocation;

const SCHEMES: ReadonlyMap<string, FileLocation["kind"] | "registry"> = new Map([
  ["docker://", "registry"],
  ["ocidir://", "layout"],
  ["oci-archive:", "oci-archive"],
  ["docker-archive:", "docker-archive"],
  ["oci:", "layout"],
]);

/** The options of {@link parseLocation}. */
export interface ParseLocationOptions {
  /** Tells whether a file or directory exists. With it a path that holds colons is recognised; without it the first colon ends the path. */
  readonly exists?: (path: string) => boolean;
}

/**
 * Reads a location: `HOST/REPO[:TAG][@DIGEST]` or `docker://...`, `oci:DIR[:REF][@DIGEST]` or `ocidir://...`,
 * `oci-archive:FILE[:REF][@DIGEST]`, `docker-archive:FILE[:REF]`. A Windows drive letter belongs to the path. Fails with `INVALID`.
 */
export function parseLocation(text: string, options: ParseLocationOptions = {}): Location {
  for (const [scheme, kind] of SCHEMES) {
    if (!text.startsWith(scheme)) continue;
    const rest = text.slice(scheme.length);
    if (kind === "registry") return { kind, reference: parseReference(rest) };
    return { kind, ...splitPath(rest, text, options.exists) };
  }
  if (/^\.{0,2}[/\\]|^[a-zA-Z]:[/\\]|^~/.test(text)) {
    throw new OciError("INVALID", `${JSON.stringify(text)} looks like a path, not like a reference`, {
      hint: `Say what it is: oci:${text} for a layout directory, oci-archive:${text} for a layout in a tar.`,
    });
  }
  const scheme = /^([a-z][a-z0-9+-]*):\/\//.exec(text)?.[1];
  if (scheme !== undefined) {
    throw new OciError("INVALID", `${JSON.stringify(text)} starts with ${scheme}://, which is no kind of location`, {
      hint: "Locations are HOST/REPO:TAG, oci:DIR:TAG, oci-archive:FILE:TAG and docker-archive:FILE:TAG.",
    });
  }
  return { kind: "registry", reference: parseReference(text) };
}

function splitPath(
  text: string,
  whole: string,
  exists?: (path: string) => boolean,
): { path: string; tag?: string; digest?: Digest } {
  const at = text.lastIndexOf("@");
  const tail = at < 0 ? "" : text.slice(at + 1);
  const pathHasAt = exists !== undefined && colonsOf(`${text}:`).some((end) => end > at && exists(text.slice(0, end)));
  const looksLikeDigest = /^[a-z0-9+._-]+:/.test(tail) && !pathHasAt;
  if (looksLikeDigest && !isDigest(tail)) {
    throw new OciError("INVALID", `cannot read ${JSON.stringify(whole)}: what follows the @ is no digest`, {
      hint: "A digest looks like sha256: and 64 lower-case hexadecimal digits.",
    });
  }
  const digest = looksLikeDigest ? (tail as Digest) : undefined;
  const rest = digest === undefined ? text : text.slice(0, at);
  const colons = colonsOf(rest);
  const fallback = colons[0] ?? rest.length;
  const end =
    exists === undefined
      ? fallback
      : ([rest.length, ...colons.reverse()].find((colon) => exists(rest.slice(0, colon))) ?? fallback);
  const path = rest.slice(0, end);
  const tag = rest.slice(end + 1);
  if (path === "") throw new OciError("INVALID", `cannot read ${JSON.stringify(whole)}: it names no path`);
  return { path, ...(tag === "" ? {} : { tag }), ...(digest === undefined ? {} : { digest }) };
}

/** Where the path may end: at each colon but that of a drive letter. */
function colonsOf(text: string): number[] {
  return [...text.matchAll(/:/g)].map((match) => match.index).filter((index) => !isDriveColon(text, index));
}

function isDriveColon(text: string, index: number): boolean {
  return index === 1 && /^[a-zA-Z]:[/\\]/.test(text);
}

/** The text that {@link parseLocation} reads back as the same location. */
export function formatLocation(location: Location): string {
  if (location.kind === "registry") return formatReference(location.reference);
  const scheme = location.kind === "layout" ? "oci" : location.kind;
  const tag = location.tag === undefined ? "" : `:${location.tag}`;
  const digest = location.digest === undefined ? "" : `@${location.digest}`;
  return `${scheme}:${location.path}${tag}${digest}`;
}
