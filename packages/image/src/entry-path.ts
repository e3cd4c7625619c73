import { OciError } from "@stowage/layout";

/** What the name of an entry of a layer means. image-spec v1.1.1, layer.md "Whiteouts". */
export type EntryPath =
  | { readonly kind: "path"; readonly parts: readonly string[] }
  /** Takes away what layers below have at the path. */
  | { readonly kind: "whiteout"; readonly parts: readonly string[] }
  /** Takes away what layers below have in the directory. */
  | { readonly kind: "opaque"; readonly parts: readonly string[] }
  /** What an AUFS left of itself; it means nothing. */
  | { readonly kind: "metadata" };

const WHITEOUT = ".wh.";
/** PATH_MAX of Linux. */
const MAXIMUM_PATH = 4096;
/** Each directory on the way is held open. */
const MAXIMUM_DEPTH = 500;

/**
 * The parts of a name in an archive; an absolute one starts at the root of the image, as in a container. Fails with
 * `INVALID` where it holds `..` or a NUL or deletes what cannot be deleted, with `LIMIT` where it is longer than any path.
 */
export function entryParts(name: string, what: string): readonly string[] {
  const shown = quoted(name);
  if (name.length > MAXIMUM_PATH)
    throw new OciError("LIMIT", `${what}: a name is longer than ${MAXIMUM_PATH}: ${shown}`);
  if (name.includes("\0")) throw new OciError("INVALID", `${what}: a name holds a NUL: ${shown}`);
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw new OciError("INVALID", `${what}: a name leads upwards: ${shown}`);
  if (parts.length > MAXIMUM_DEPTH)
    throw new OciError("LIMIT", `${what}: a name has more than ${MAXIMUM_DEPTH} parts: ${shown}`);
  if (process.platform === "win32" && parts.some((part) => /[\\:]/.test(part)))
    throw new OciError("INVALID", `${what}: a name means something else on Windows: ${shown}`);
  return parts;
}

/** What a name means, read as {@link entryParts} does. */
export function entryPath(name: string, what: string): EntryPath {
  const parts = entryParts(name, what);
  const at = parts.findIndex((part) => part.startsWith(WHITEOUT));
  if (at < 0) return { kind: "path", parts };
  const base = parts[at] as string;
  const parents = parts.slice(0, at);
  const isLast = at === parts.length - 1;
  if (base === `${WHITEOUT}${WHITEOUT}.opq` && isLast) return { kind: "opaque", parts: parents };
  if (base.startsWith(`${WHITEOUT}${WHITEOUT}`)) return { kind: "metadata" };
  const deleted = base.slice(WHITEOUT.length);
  if (!isLast || ["", ".", ".."].includes(deleted))
    throw new OciError("INVALID", `${what}: a whiteout that deletes nothing: ${quoted(name)}`);
  return { kind: "whiteout", parts: [...parents, deleted] };
}

/** Where a symbolic link leads. Fails with `INVALID` where that is nowhere. */
export function linkTarget(
  { name, linkname }: { readonly name: string; readonly linkname?: string | undefined },
  what: string,
): string {
  if (linkname !== undefined && !linkname.includes("\0")) return linkname;
  throw new OciError("INVALID", `${what}: ${JSON.stringify(name)} is a symbolic link to nothing`);
}

/** True where one of two paths is the other, or leads to it: no file can have the one while something has the other. */
export function isNested(path: string, other: string): boolean {
  return `${path}/`.startsWith(`${other}/`) || `${other}/`.startsWith(`${path}/`);
}

/** A name for a message. */
export function quoted(name: string): string {
  return JSON.stringify(name.length > 300 ? `${name.slice(0, 300)}...` : name);
}

/** The failure of an entry whose path leads through a link to where nothing may be put. */
export function leadsOut(what: string, parts: readonly string[], link: string): OciError {
  return new OciError(
    "INVALID",
    `${what}: ${quoted(parts.join("/"))} leads through the symbolic link /${link} out of the image or to no directory in it`,
  );
}

/** As many links as Linux follows in one path. */
export const MAXIMUM_LINKS = 40;

/** The failure of an entry with more than {@link MAXIMUM_LINKS} on its way. */
export function tooManyLinks(what: string, parts: readonly string[]): OciError {
  return new OciError("INVALID", `${what}: too many symbolic links on the way to ${quoted(parts.join("/"))}`);
}
