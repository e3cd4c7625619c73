import { isJsonObject, OciError, parseJson } from "@stowage/layout";
import type { Answer } from "../http/answer.js";
import { appendQuery } from "../http/url.js";
import { answerError } from "../registry-error.js";
import type { Request } from "../transport.js";
import { basicAuthorization, type Credentials, secretsOf } from "./credentials.js";
import { formatScope, type Scope } from "./scope.js";

/** A token and how long it may be used. */
export interface Token {
  readonly token: string;
  /** When it must not be used any more, in ms since the epoch. */
  readonly expires: number;
}

/** What a token is asked for with. */
export interface TokenRequest {
  /** The registry as the user names it. */
  readonly host: string;
  readonly realm: URL;
  readonly service: string | undefined;
  readonly scopes: readonly Scope[];
  readonly credentials: Credentials | undefined;
}

const MAXIMUM_ANSWER = 1024 * 1024;
/** What a token is good for where its server does not say, in ms. */
const DEFAULT_LIFETIME = 60_000;
/** No token is kept longer than this, in ms. */
const MAXIMUM_LIFETIME = 24 * 3600_000;

/**
 * The HTTP request for a token: a GET with Basic credentials or with none, or an OAuth2 POST where there is a refresh token.
 */
export function tokenExchange(request: TokenRequest): Request {
  const { host, realm, service, credentials } = request;
  const action = `cannot get a token for ${host}`;
  const scopes = request.scopes.map(formatScope);
  if (credentials !== undefined && "identityToken" in credentials) {
    const form = new URLSearchParams({
      grant_type: "refresh_token",
      client_id: "stowage",
      refresh_token: credentials.identityToken,
    });
    if (service !== undefined) form.set("service", service);
    if (scopes.length > 0) form.set("scope", scopes.join(" "));
    const bytes = Buffer.from(form.toString());
    return {
      action,
      method: "POST",
      url: realm,
      headers: { "content-type": "application/x-www-form-urlencoded", accept: "application/json" },
      body: bytes,
    };
  }
  const account = credentials !== undefined && "username" in credentials ? credentials : undefined;
  let url = realm;
  if (service !== undefined) url = appendQuery(url, "service", service);
  for (const scope of scopes) url = appendQuery(url, "scope", scope);
  if (account !== undefined) url = appendQuery(url, "account", account.username);
  return {
    action,
    method: "GET",
    url,
    headers: {
      accept: "application/json",
      ...(account === undefined ? {} : { authorization: basicAuthorization(account.username, account.password) }),
    },
  };
}

/** Reads the answer of a token server. Fails with a `RegistryError` where it refuses, and with `INVALID` where it sends no usable token. */
export async function readToken(request: TokenRequest, answer: Answer): Promise<Token> {
  const { host, credentials } = request;
  if (answer.status !== 200) {
    // A refused token is a refused login, whichever of these statuses says so.
    const refused = answer.status === 400 || answer.status === 401 || answer.status === 403;
    throw await answerError(`cannot get a token for ${host}`, answer, {
      host,
      authenticated: credentials !== undefined,
      secrets: secretsOf(credentials),
      ...(refused ? { code: "UNAUTHORIZED" } : {}),
    });
  }
  const bytes = await answer.bytes(MAXIMUM_ANSWER, `the token from ${answer.url.host}`);
  const value = parseAnswer(bytes, answer.url.host);
  const token = [value.token, value.access_token].find((text) => typeof text === "string" && text !== "");
  // It becomes a header: nothing in it may end the line.
  if (typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token)) {
    throw new OciError("INVALID", `the token server ${answer.url.host} sent no token that can be used`);
  }
  const seconds = value.expires_in;
  const lifetime =
    typeof seconds === "number" && seconds > 0 ? Math.min(seconds * 1000, MAXIMUM_LIFETIME) : DEFAULT_LIFETIME;
  // A tenth is kept back for the way there and for clocks that disagree.
  return { token, expires: Date.now() + lifetime * 0.9 };
}

function parseAnswer(bytes: Uint8Array, host: string): { readonly [key: string]: unknown } {
  try {
    const value = parseJson(bytes, "the token");
    if (isJsonObject(value)) return value;
  } catch {
    // The cause would quote the answer, and the answer is a secret.
  }
  throw new OciError("INVALID", `the token server ${host} sent something that is not a JSON object`);
}
