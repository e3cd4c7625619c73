import { type ErrorCode, systemErrorCode } from "@stowage/layout";
import { isTemporaryStatus, RegistryError } from "../registry-error.js";
import { TRICKLES } from "./answer.js";

interface Explanation {
  readonly text: (host: string) => string;
  readonly hint?: (host: string) => string;
  readonly code?: ErrorCode;
  /** The same request may succeed when it is sent again at once. */
  readonly temporary?: boolean;
}

const REFUSED: Explanation = {
  text: (host) => `nothing listens on ${host}`,
  hint: () => "Check host and port, and that the registry is running.",
};
const UNKNOWN_NAME: Explanation = {
  text: (host) => `the name ${host} cannot be resolved`,
  hint: () => "Check the spelling of the host and the network.",
};
const UNREACHABLE: Explanation = {
  text: (host) => `there is no route to ${host}`,
  hint: () => "Check the network and the proxy settings.",
};
const NO_CONNECTION: Explanation = {
  text: (host) => `no connection to ${host} came about in time`,
  hint: () => "Check host, port, firewall and proxy settings.",
  code: "LIMIT",
  temporary: true,
};
const NO_ANSWER: Explanation = {
  text: (host) => `${host} took the request and did not answer in time`,
  code: "LIMIT",
  temporary: true,
};
const LOST: Explanation = { text: (host) => `the connection to ${host} was lost`, temporary: true };
const NOT_TLS: Explanation = {
  text: (host) => `${host} does not speak TLS`,
  hint: (host) => `If the registry is served over plain http, say --plain-http ${host}.`,
};
const UNTRUSTED: Explanation = {
  text: (host) => `the certificate of ${host} is not trusted`,
  hint: () => "Name the authority that signed it with --ca-file; --insecure gives up the check.",
};

const WANTS_CERTIFICATE: Explanation = {
  text: (host) => `${host} wants a client certificate, or another one`,
  hint: () => "Where it wants a client certificate, name one with --cert and --key or put it into a certs.d directory.",
};

/** The code of the error for a body that the other side does not take. */
export const STOPPED_READING = "STOWAGE_STOPPED_READING";

const EXPLANATIONS: Readonly<Record<string, Explanation>> = {
  ECONNREFUSED: REFUSED,
  ENOTFOUND: UNKNOWN_NAME,
  EAI_AGAIN: { ...UNKNOWN_NAME, temporary: true },
  EHOSTUNREACH: UNREACHABLE,
  ENETUNREACH: UNREACHABLE,
  EADDRNOTAVAIL: UNREACHABLE,
  ETIMEDOUT: NO_CONNECTION,
  UND_ERR_CONNECT_TIMEOUT: NO_CONNECTION,
  UND_ERR_HEADERS_TIMEOUT: NO_ANSWER,
  UND_ERR_BODY_TIMEOUT: { ...NO_ANSWER, text: (host) => `${host} stopped sending` },
  [TRICKLES]: { ...NO_ANSWER, text: (host) => `${host} sends too slowly` },
  [STOPPED_READING]: { ...NO_ANSWER, text: (host) => `${host} stopped reading` },
  ECONNRESET: LOST,
  ECONNABORTED: LOST,
  EPIPE: LOST,
  UND_ERR_SOCKET: LOST,
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: LOST,
  UND_ERR_HEADERS_OVERFLOW: { text: (host) => `${host} sent too many headers`, code: "LIMIT" },
  EPROTO: NOT_TLS,
  ERR_SSL_WRONG_VERSION_NUMBER: NOT_TLS,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: NOT_TLS,
  ERR_SSL_HTTP_REQUEST: NOT_TLS,
  DEPTH_ZERO_SELF_SIGNED_CERT: UNTRUSTED,
  SELF_SIGNED_CERT_IN_CHAIN: UNTRUSTED,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNTRUSTED,
  CERT_SIGNATURE_FAILURE: UNTRUSTED,
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: WANTS_CERTIFICATE,
  ERR_SSL_TLSV1_ALERT_CERTIFICATE_REQUIRED: WANTS_CERTIFICATE,
  ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE: WANTS_CERTIFICATE,
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: WANTS_CERTIFICATE,
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: WANTS_CERTIFICATE,
  CERT_HAS_EXPIRED: { text: (host) => `the certificate of ${host} has expired` },
  CERT_NOT_YET_VALID: {
    text: (host) => `the certificate of ${host} is not valid yet`,
    hint: () => "Check the clock of this machine.",
  },
  ERR_TLS_CERT_ALTNAME_INVALID: { text: (host) => `the certificate of ${host} was made for another name` },
};

/**
 * The error for a request that got no answer, or whose answer broke off. The message names the host, and the proxy in
 * between where there is one.
 */
export function connectionError(
  cause: unknown,
  request: { readonly action: string; readonly method: string; readonly url: URL },
  proxy?: URL,
): RegistryError {
  const { action, method, url } = request;
  const explanation = refusalOfProxy(cause, proxy) ?? EXPLANATIONS[systemErrorCode(cause) ?? ""];
  const host = proxy === undefined ? url.host : `${url.host} or the proxy ${proxy.host}`;
  const text =
    explanation?.text(host) ??
    `the request to ${host} failed: ${cause instanceof Error ? cause.message : String(cause)}`;
  return new RegistryError(explanation?.code ?? "REGISTRY", `${action}: ${text}`, {
    method,
    url,
    cause,
    hint: explanation?.hint?.(url.host) ?? (wasHungUpOn(cause, url) ? WANTS_CERTIFICATE.hint?.(url.host) : undefined),
    temporary: explanation?.temporary ?? false,
  });
}

/** The library tells only in its message which status a proxy answered with to CONNECT. */
function refusalOfProxy(cause: unknown, proxy: URL | undefined): Explanation | undefined {
  const message = cause instanceof Error ? cause.message : "";
  const status = Number(/^Proxy response \((\d{3})\)/.exec(message)?.[1]);
  if (proxy === undefined || Number.isNaN(status)) return undefined;
  return {
    text: () => `the proxy ${proxy.host} answered ${status}`,
    ...(status === 401 || status === 403 || status === 407
      ? { hint: () => "Check the name and the password of the proxy in the environment, and what it lets through." }
      : {}),
    temporary: isTemporaryStatus(status),
  };
}

/** Some servers say in no other way that they want a client certificate. */
function wasHungUpOn(cause: unknown, url: URL): boolean {
  const broken = cause as { socket?: { bytesRead?: number } } | undefined;
  return url.protocol === "https:" && broken?.socket?.bytesRead === 0;
}
