import { isIP } from "node:net";
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
}

/**
 * The URL of the token server, if it may be asked. Credentials go to the registry's own origin, over https to a host of the same
 * registrable domain, from Docker Hub to its token server, and to hosts that are trusted explicitly. Nothing goes from https
 * to http, or to an address nearer than the registry's. Fails with `DENIED`, and with `INVALID` where the realm is no URL.
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
  await checkReach(registry, url, "its token server");
  if (request.withCredentials && !mayHaveCredentials(registry, url, request.trusted)) {
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

function mayHaveCredentials(registry: URL, realm: URL, trusted: readonly string[]): boolean {
  if (sameOrigin(registry, realm) || trusted.includes(realm.host)) return true;
  if (realm.protocol !== "https:") return false;
  if (registry.host === "registry-1.docker.io") return realm.host === "auth.docker.io";
  const domain = registrableDomain(registry.hostname);
  return domain !== undefined && domain === registrableDomain(realm.hostname);
}

/** Second-level labels under which countries register names. */
const SECOND_LEVEL: ReadonlySet<string> = new Set([
  "ac",
  "co",
  "com",
  "edu",
  "gob",
  "gouv",
  "gov",
  "gv",
  "id",
  "mil",
  "ne",
  "net",
  "nom",
  "or",
  "org",
  "sch",
]);
/** Domains whose subdomains belong to different owners. */
const SHARED: readonly string[] = [
  "amazonaws.com",
  "azurecr.io",
  "azurewebsites.net",
  "cloudfront.net",
  "fly.dev",
  "github.io",
  "gitlab.io",
  "googleapis.com",
  "herokuapp.com",
  "jfrog.io",
  "ngrok.app",
  "ngrok.io",
  "onrender.com",
  "pages.dev",
  "pkg.dev",
  "run.app",
  "vercel.app",
  "windows.net",
  "workers.dev",
];

/**
 * The domain its owner registered, or undefined where `host` has none or it is not certain. It errs towards the longer name:
 * then a token server is refused that may be allowed by hand.
 */
export function registrableDomain(host: string): string | undefined {
  if (isIP(host.replace(/^\[|\]$/g, "")) !== 0) return undefined;
  const labels = host.toLowerCase().replace(/\.$/, "").split(".");
  const shared = SHARED.find((domain) => host === domain || host.endsWith(`.${domain}`));
  if (shared !== undefined) return host;
  const top = labels[labels.length - 1] ?? "";
  const second = labels[labels.length - 2] ?? "";
  const length = top.length === 2 && SECOND_LEVEL.has(second) ? 3 : 2;
  return labels.length < length ? undefined : labels.slice(-length).join(".");
}
