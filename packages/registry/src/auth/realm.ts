import { OciError } from "@stowage/layout";
import { checkReach } from "../http/address.js";
import { sameOrigin } from "../http/url.js";

/** Who asks for a token, and how. */
export interface RealmRequest {
  /** The registry, where its challenge came from. */
  readonly registry: URL;
  /** The text of the realm in its challenge. */
  readonly realm: string;
  /** True if credentials would be sent there. */
  readonly withCredentials: boolean;
  /** Hosts (with port) that may have the credentials of any registry. */
  readonly trusted: readonly string[];
  /** Hosts (with port) that may be asked though they are nearer than the registry. */
  readonly internal?: readonly string[];
}

/**
 * The URL of the token server, if it may be asked. Credentials go to the registry's own origin, over https to a host of the same
 * registrable domain, from Docker Hub to its token server, and to hosts that are trusted explicitly. Nothing goes from https
 * to http, or to an address nearer than the registry's that is not allowed by hand. Fails with `DENIED`, and with `INVALID` where the realm is no URL.
 */
export async function checkRealm(request: RealmRequest): Promise<URL> {
  const { registry, realm } = request;
  if (!URL.canParse(realm) || !/^https?:$/.test(new URL(realm).protocol)) {
    throw new OciError("INVALID", `${registry.host} names a token server that is no http or https URL`);
  }
  const url = new URL(realm);
  if (url.username !== "" || url.password !== "") {
    throw new OciError("INVALID", `${registry.host} names a token server with credentials in its URL`);
  }
  if (registry.protocol === "https:" && url.protocol === "http:") {
    throw new OciError("DENIED", `${registry.host} asks for a token from ${url.host} over plain http; that is refused`);
  }
  if (!request.internal?.includes(url.host)) await checkReach(registry, url, "its token server");
  if (request.withCredentials && !(await mayHaveCredentials(registry, url, request.trusted))) {
    throw new OciError(
      "DENIED",
      `${registry.host} asks to send its credentials to ${url.origin}; that is refused, nothing was sent`,
      {
        hint: `If ${url.host} is the token server of ${registry.host}, allow it with --trust-realm ${url.host}.`,
      },
    );
  }
  return url;
}

async function mayHaveCredentials(registry: URL, realm: URL, trusted: readonly string[]): Promise<boolean> {
  if (sameOrigin(registry, realm) || trusted.includes(realm.host)) return true;
  if (realm.protocol !== "https:") return false;
  if (registry.host === "registry-1.docker.io") return realm.host === "auth.docker.io";
  const domain = await registrableDomain(registry.hostname);
  return domain !== undefined && domain === (await registrableDomain(realm.hostname));
}

/** Domains whose subdomains belong to different owners, though the public suffix list does not say so. */
const SHARED: readonly string[] = [
  "amazonaws.com",
  "azurecr.io",
  "googleapis.com",
  "jfrog.io",
  "pkg.dev",
  "windows.net",
];

/**
 * The domain its owner registered, or undefined where `host` has none. The public suffix list says which it is, with its part
 * for hosting companies; for those who are not on it and give names to different owners too, it is the whole name. In doubt it is
 * the longer name: then a token server is refused that may be allowed by hand.
 */
export async function registrableDomain(host: string): Promise<string | undefined> {
  const name = host.toLowerCase().replace(/\.$/, "");
  if (SHARED.some((domain) => name === domain || name.endsWith(`.${domain}`))) return name;
  // The list is long: only who needs it pays for reading it.
  const { getDomain } = await import("tldts");
  return getDomain(name, { allowPrivateDomains: true }) ?? undefined;
}
