/** Query parameters of the distribution API and of token requests whose values are no secrets. */
const HARMLESS_PARAMETERS: ReadonlySet<string> = new Set([
  "artifactType",
  "digest",
  "from",
  "last",
  "mount",
  "n",
  "scope",
  "service",
  "tag",
]);

/**
 * A URL for messages: without user, password and fragment, and with the values of all query parameters hidden that are not
 * known to be harmless. A signed URL loses its signature.
 */
export function redactUrl(url: URL): string {
  const parameters = [...url.searchParams].map(([name, value]) =>
    HARMLESS_PARAMETERS.has(name) ? `${name}=${value}` : `${encodeURIComponent(name)}=...`,
  );
  const query = parameters.length === 0 ? "" : `?${parameters.join("&")}`;
  return `${url.protocol}//${url.host}${url.pathname}${query}`;
}

/**
 * `url` with one more query parameter, appended as text: what is there already keeps its spelling, because a signature may
 * cover it. distribution-spec v1.1.1, "Pushing blobs".
 */
export function appendQuery(url: URL, name: string, value: string): URL {
  const base = url.href.slice(0, url.href.length - url.hash.length).replace(/\?$/, "");
  return new URL(`${base}${url.search === "" ? "?" : "&"}${name}=${encodeURIComponent(value)}`);
}

/** True if scheme, host and port are the same. */
export function sameOrigin(one: URL, other: URL): boolean {
  return one.protocol === other.protocol && one.host === other.host;
}

/** What stands in the query of a URL that carries its own permission: S3, Google, Azure and CloudFront. */
const SIGNATURES = ["x-amz-signature", "x-goog-signature", "signature", "sig", "awsaccesskeyid"];

/** True if the URL is signed: who asks then shows nothing else, or is refused for showing two things. */
export function isSigned(url: URL): boolean {
  return [...url.searchParams.keys()].some((name) => SIGNATURES.includes(name.toLowerCase()));
}
