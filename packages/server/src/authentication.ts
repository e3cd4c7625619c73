import { collect, isOciError } from "@stowage/layout";
import { type Answer, jsonAnswer } from "./answer.js";
import { Refusal, refusalAnswer } from "./errors.js";
import type { Exchange } from "./exchange.js";
import type { Accounts } from "./htpasswd.js";
import type { Layer } from "./layer.js";
import { isPagePath } from "./pages/places.js";
import { placeOf } from "./routes.js";
import { accessIn, TOKEN_LIFETIME, Tokens } from "./tokens.js";

/** The largest form that a client asks for a token with, in bytes. */
const MAXIMUM_FORM = 64 * 1024;

/** The service that tokens are for. */
const SERVICE = "stowage";

/** Paths that anybody may ask. */
const OPEN: ReadonlySet<string> = new Set(["/healthz"]);

/**
 * Lets in who has an account. With `tokens` the answer to others asks for a bearer token, to be had at `/token`; a name with a
 * password on the request itself is taken all the same. Everybody with an account may do everything; a token may do what it was
 * asked for.
 */
export function authentication(accounts: Accounts, tokens: boolean): Layer {
  const issued = new Tokens();
  return async (exchange, next) => {
    if (OPEN.has(exchange.path)) return next();
    if (tokens && exchange.path === "/token") return giveToken(exchange, accounts, issued);
    // A browser can ask its user for a password, and knows nothing of tokens.
    if (isPagePath(exchange.path, exchange.header("accept")))
      return (await isAccount(exchange, accounts)) ? next() : refused(`Basic realm="${SERVICE}", charset="UTF-8"`);
    const needed = neededAccess(exchange);
    const token = /^Bearer\s+(\S+)$/i.exec(exchange.header("authorization") ?? "")?.[1];
    if (token !== undefined && tokens) {
      const access = issued.check(token);
      if (access !== undefined && needed.every(([name, action]) => access[name]?.includes(action))) return next();
      return refused(bearerChallenge(exchange, needed, access === undefined ? "invalid_token" : "insufficient_scope"));
    }
    if (await isAccount(exchange, accounts)) return next();
    return refused(tokens ? bearerChallenge(exchange, needed) : `Basic realm="${SERVICE}", charset="UTF-8"`);
  };
}

/** What a request needs, as pairs of a repository and an action. distribution-spec does not say; this is what registries ask for. */
function neededAccess(exchange: Exchange): readonly (readonly [string, string])[] {
  const name = repositoryIn(exchange);
  if (name === undefined) return [];
  const from = exchange.method === "POST" ? exchange.query.get("from") : null;
  const read: readonly [string, string] = [name, "pull"];
  if (exchange.method === "GET" || exchange.method === "HEAD") return [read];
  if (exchange.method === "DELETE" && !exchange.path.includes("/blobs/uploads/")) return [[name, "delete"]];
  return [read, [name, "push"], ...(from === null || from === "" ? [] : [[from, "pull"] as const])];
}

function repositoryIn(exchange: Exchange): string | undefined {
  try {
    return placeOf(exchange.path)?.repository || undefined;
  } catch {
    return undefined;
  }
}

function bearerChallenge(exchange: Exchange, needed: readonly (readonly [string, string])[], error?: string): string {
  const names = [...new Set(needed.map(([name]) => name))];
  const scopes = names.map((name) => {
    const actions = needed.filter(([one]) => one === name).map(([, action]) => action);
    return `repository:${name}:${actions.join(",")}`;
  });
  return [
    `Bearer realm="${exchange.origin}/token",service="${SERVICE}"`,
    ...(scopes.length === 0 ? [] : [`scope="${scopes.join(" ").replaceAll(/["\\\x00-\x1f\x7f-\uffff]/g, "")}"`]),
    ...(error === undefined ? [] : [`error="${error}"`]),
  ].join(",");
}

/** The token server: GET with a name and a password, or POST with a form (OAuth 2.0, RFC 6749, section 4.3). */
async function giveToken(exchange: Exchange, accounts: Accounts, issued: Tokens): Promise<Answer> {
  if (exchange.method !== "GET" && exchange.method !== "POST") {
    return refusalAnswer(
      new Refusal(405, "UNSUPPORTED", "a token is asked for with GET or POST", { Allow: "GET, POST" }),
    );
  }
  const form = exchange.method === "POST" ? await formIn(exchange) : exchange.query;
  const [name, password] =
    exchange.method === "POST" ? [form.get("username"), form.get("password")] : basicIn(exchange);
  if (typeof name !== "string" || typeof password !== "string" || !(await accounts(name, password))) {
    return refused(`Basic realm="${SERVICE}"`);
  }
  const token = issued.issue(name, accessIn(form.getAll("scope")));
  const headers = { "Cache-Control": "no-store" };
  const granted = { token, access_token: token, expires_in: TOKEN_LIFETIME, issued_at: new Date().toISOString() };
  return jsonAnswer(200, granted, headers);
}

async function formIn(exchange: Exchange): Promise<URLSearchParams> {
  try {
    return new URLSearchParams(Buffer.from(await collect(exchange.body(), MAXIMUM_FORM)).toString());
  } catch (error) {
    if (isOciError(error, "LIMIT")) return new URLSearchParams();
    throw error;
  }
}

async function isAccount(exchange: Exchange, accounts: Accounts): Promise<boolean> {
  const [name, password] = basicIn(exchange);
  return name !== undefined && password !== undefined && accounts(name, password);
}

function basicIn(exchange: Exchange): readonly [string?, string?] {
  const encoded = /^Basic\s+([A-Za-z0-9+/=]+)$/i.exec(exchange.header("authorization") ?? "")?.[1];
  const text = encoded === undefined ? "" : Buffer.from(encoded, "base64").toString();
  const colon = text.indexOf(":");
  return colon < 0 ? [] : [text.slice(0, colon), text.slice(colon + 1)];
}

function refused(challenge: string): Answer {
  const headers = { "WWW-Authenticate": challenge };
  return refusalAnswer(new Refusal(401, "UNAUTHORIZED", "authentication required", headers));
}
