import { basename, isAbsolute, relative, resolve, sep } from "node:path";
import { formatPlatform, matchesPlatform, OciError, type Platform, parsePlatform } from "@stowage/layout";
import fastGlob from "fast-glob";
import { checkEntryName, MAXIMUM_ID } from "./tar-header.js";

/**
 * Which files go where.
 *
 * - A file goes to `destination`, or into it where that ends with `/`.
 * - Of a directory, the contents go under `destination`.
 * - Of a pattern (`*`, `?`, `[...]`, `{a,b}`, `**`), each match goes under `destination` with its path relative to the part of the
 *   pattern before the first special character; a directory that matches is taken with all it holds. Names that start
 *   with a dot match too, and links are not followed.
 *
 * A source that exists under its literal name is never a pattern. Without `destination` a source keeps its path relative
 * to the context, which it must then lie in. `/` as destination is the root of the image.
 */
export interface FileMapping extends MappedAttributes {
  readonly source: string;
  readonly destination?: string | undefined;
  /** Only images for this platform get the files. */
  readonly platform?: Platform | undefined;
}

/** What the files of a mapping get instead of what {@link FileTreeOptions} says. */
export interface MappedAttributes {
  /** The permission bits of files: 0 to 0o7777. Directories may be searched by whoever may read them, and are not setuid. */
  readonly mode?: number | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
}

/** Where one file or directory on disk goes: `to` is an entry name without a slash at the end, empty for the root. */
export interface Placement {
  readonly path: string;
  readonly to: string;
  /** Where patterns to ignore are relative to. */
  readonly context: string;
}

/**
 * Reads `[PLATFORM]SRC:DEST:MODE:UID:GID`, of which only `SRC` must be there: the mode is octal and may be empty where an
 * owner follows, the platform stands in brackets. In what is before the mode the last colon separates, except the one of a
 * Windows drive letter (`C:\`; on Windows also `C:/`). Use {@link FileMapping} where a name holds a colon. Fails with
 * `INVALID`.
 */
export function parseMapping(text: string): FileMapping {
  const { platform, text: rest } = platformPrefix(text);
  const mapping = parseAttributes(rest, text);
  return platform === undefined ? mapping : { ...mapping, platform };
}

/** Takes a platform in brackets off the beginning of a text. No set of a pattern looks like one: a slash stands in none. */
export function platformPrefix(text: string): { readonly text: string; readonly platform?: Platform } {
  const [bracket, platform] = /^\[([^\]/]+\/[^\]]+)\]/.exec(text) ?? [];
  return bracket === undefined
    ? { text }
    : { text: text.slice(bracket.length), platform: parsePlatform(platform as string) };
}

/** The mappings of a list of files, one on each line; lines that are empty or start with `#` mean nothing. */
export function parseFileList(text: string): readonly string[] {
  return text.split(/\r?\n/).filter((line) => line.trim() !== "" && !line.startsWith("#"));
}

/** `SRC:644` is a destination of digits: without a destination there is no mode. */
function parseAttributes(text: string, whole: string): FileMapping {
  const [, names, mode, uid, gid] =
    /^(.+):([0-7]{3,4})?:([0-9]{1,10}):([0-9]{1,10})$/s.exec(text) ?? /^(.+):([0-7]{3,4})$/s.exec(text) ?? [];
  const mapped = names === undefined ? undefined : parseNames(names, whole);
  if (mapped?.destination === undefined) return parseNames(text, whole);
  return {
    ...mapped,
    ...(mode === undefined ? {} : { mode: Number.parseInt(mode, 8) }),
    ...(uid === undefined ? {} : { uid: parseId(uid, whole), gid: parseId(gid as string, whole) }),
  };
}

function parseId(digits: string, text: string): number {
  if (Number(digits) <= MAXIMUM_ID) return Number(digits);
  throw new OciError("INVALID", `cannot read ${JSON.stringify(text)}: there is no id ${digits}`);
}

function parseNames(text: string, whole: string): Pick<FileMapping, "source" | "destination"> {
  const colon = text.lastIndexOf(":");
  const drive =
    colon === 1 && /^[a-zA-Z]/.test(text) && (text[2] === "\\" || (text[2] === "/" && process.platform === "win32"));
  const source = colon < 0 || drive ? text : text.slice(0, colon);
  const destination = colon < 0 || drive ? undefined : text.slice(colon + 1);
  if (source === "" || destination === "") {
    throw new OciError(
      "INVALID",
      `cannot read ${JSON.stringify(whole)}: a mapping looks like SRC, SRC:DEST or SRC:DEST:MODE:UID:GID`,
      { hint: "The root of the image is /." },
    );
  }
  return { source, destination };
}

/**
 * The mapping for an image of this platform: `{os}`, `{arch}`, `{variant}` and `{platform}` in its names are those of the
 * platform. Undefined where it is for another one.
 */
export function mappingFor(mapping: string | FileMapping, platform: Platform): FileMapping | undefined {
  const { source, destination, ...rest } = typeof mapping === "string" ? parseMapping(mapping) : mapping;
  if (rest.platform !== undefined && !matchesPlatform(platform, rest.platform)) return undefined;
  return {
    ...rest,
    source: withPlatform(source, platform),
    ...(destination === undefined ? {} : { destination: withPlatform(destination, platform) }),
  };
}

/** The text with `{os}`, `{arch}`, `{variant}` and `{platform}` replaced. */
export function withPlatform(text: string, platform: Platform): string {
  const { os, architecture, variant = "" } = platform;
  const values: Readonly<Record<string, string>> = {
    os,
    variant,
    arch: architecture,
    platform: formatPlatform(platform),
  };
  return text.replace(/\{(os|arch|variant|platform)\}/g, (_match, name: string) => values[name] as string);
}

/**
 * What a mapping stands for on this disk, sorted by path; `look` says what is at a path. Fails with `NOT_FOUND` where a
 * source or pattern matches nothing, with `INVALID` where a destination leads out of the image.
 */
export async function placementsOf(
  mapping: FileMapping,
  cwd: string,
  look: (path: string) => "directory" | "other" | undefined,
): Promise<readonly Placement[]> {
  const path = resolve(cwd, mapping.source);
  const kind = look(path);
  if (kind !== undefined) {
    const context = within(cwd, path) === undefined ? (kind === "directory" ? path : resolve(path, "..")) : cwd;
    return [{ path, to: destinationOf(mapping, path, cwd, kind === "directory"), context }];
  }
  const pattern = sep === "\\" ? mapping.source.replaceAll("\\", "/") : mapping.source;
  if (!fastGlob.isDynamicPattern(pattern)) throw missing(mapping, cwd);
  const matches = await fastGlob.glob(pattern, {
    cwd,
    dot: true,
    onlyFiles: false,
    followSymbolicLinks: false,
    absolute: true,
  });
  if (matches.length === 0) throw missing(mapping, cwd);
  const base = resolve(cwd, staticPart(pattern));
  const context = within(cwd, base) === undefined ? base : cwd;
  const root =
    mapping.destination === undefined
      ? destinationOf({ source: base }, base, cwd, true)
      : entryName(mapping.destination);
  return matches.sort().map((match) => ({
    path: resolve(match),
    to: join(root, within(base, resolve(match)) ?? basename(match)),
    context,
  }));
}

/** `path` relative to `directory` with `/` between its parts, empty for the directory itself, or undefined where it lies outside. */
export function within(directory: string, path: string): string | undefined {
  const between = relative(directory, path);
  if (between === ".." || between.startsWith(`..${sep}`) || isAbsolute(between)) return undefined;
  return sep === "/" ? between : between.replaceAll(sep, "/");
}

/** Two entry names, one below the other. Either may be empty. */
export function join(directory: string, name: string): string {
  return directory === "" || name === "" ? directory + name : `${directory}/${name}`;
}

function destinationOf(mapping: FileMapping, path: string, cwd: string, isDirectory: boolean): string {
  if (mapping.destination === undefined) {
    const name = within(cwd, path);
    if (name !== undefined) return name;
    throw new OciError(
      "INVALID",
      `${JSON.stringify(mapping.source)} lies outside of the directory ${cwd}, so where it goes must be said`,
      { hint: "Write SRC:DEST." },
    );
  }
  const name = entryName(mapping.destination);
  const into = !isDirectory && (name === "" || /[\\/]$/.test(mapping.destination) || mapping.destination === ".");
  return into ? join(name, basename(path)) : name;
}

/** A destination as an entry name: without slashes at the ends and without empty or `.` parts. */
function entryName(destination: string): string {
  const name = destination
    .split("/")
    .filter((part) => part !== "" && part !== ".")
    .join("/");
  if (name !== "") checkEntryName(name);
  return name;
}

/** The directory part of a pattern before the first special character. */
function staticPart(pattern: string): string {
  const parts = pattern.split("/");
  // A brace may open in one part and close in another.
  const special = parts.findIndex((part) => part !== "" && (part.includes("{") || fastGlob.isDynamicPattern(part)));
  return parts.slice(0, special < 0 ? -1 : special).join("/") || (pattern.startsWith("/") ? "/" : ".");
}

function missing(mapping: FileMapping, cwd: string): OciError {
  return new OciError("NOT_FOUND", `nothing matches ${JSON.stringify(mapping.source)} in ${cwd}`);
}
