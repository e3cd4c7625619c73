/**
 * Where the pages are: below `/-/`, which no part of the distribution API begins with. No part of a repository name is a hyphen
 * alone, so `/-/` ends the name.
 */

/** The page of all repositories. */
export const REPOSITORIES = "/-/";

/** The page of a repository. */
export function repositoryPlace(name: string): string {
  return `/-/${name}`;
}

/** The page of a manifest. */
export function manifestPlace(name: string, reference: string): string {
  return `${repositoryPlace(name)}/-/manifests/${encodeURIComponent(reference)}`;
}

/** The page of the text in a blob. */
export function contentPlace(name: string, digest: string): string {
  return `${repositoryPlace(name)}/-/blobs/${encodeURIComponent(digest)}`;
}

/** The page of the files in a layer. */
export function filesPlace(name: string, digest: string): string {
  return `${repositoryPlace(name)}/-/files/${encodeURIComponent(digest)}`;
}

/** A place with what is to be shown of a long list. */
export function withQuery(place: string, query: Readonly<Record<string, string>>): string {
  return `${place}?${new URLSearchParams(query)}`;
}

/** What a path names among the pages. */
export interface PagePlace {
  readonly kind: "repositories" | "repository" | "manifests" | "blobs" | "files";
  readonly repository: string;
  readonly reference: string;
}

/** What a path below `/-/` names, or undefined where there is nothing. It is decoded; nothing in it has been judged. */
export function pagePlaceOf(path: string): PagePlace | undefined {
  if (path === "/" || path === REPOSITORIES) return { kind: "repositories", repository: "", reference: "" };
  const match = /^\/-\/(.+?)(?:\/-\/(manifests|blobs|files)\/([^/]+))?\/?$/.exec(path);
  if (match === null) return undefined;
  try {
    const [repository, reference] = [match[1], match[3] ?? ""].map((part) => decodeURIComponent(part as string));
    const kind = (match[2] ?? "repository") as PagePlace["kind"];
    return { kind, repository: repository as string, reference: reference as string };
  } catch {
    return undefined;
  }
}

/** True for a path that only pages have; `/` is one where the client asks for HTML. */
export function isPagePath(path: string, accept: string | undefined): boolean {
  return path.startsWith("/-/") || path === "/-" || (path === "/" && wantsHtml(accept));
}

function wantsHtml(accept = ""): boolean {
  return accept.split(",").some((range) => {
    const [type = "", ...parameters] = range.trim().toLowerCase().split(";");
    return type.trim() === "text/html" && !parameters.some((one) => /^\s*q=0(?:\.0*)?\s*$/.test(one));
  });
}
