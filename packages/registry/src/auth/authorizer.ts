import { OciError } from "@stowage/layout";
import type { Answer } from "../http/answer.js";
import type { Request } from "../transport.js";
import { type Challenge, parseChallenges } from "./challenge.js";
import { basicAuthorization, type CredentialLookup, type Credentials } from "./credentials.js";
import { checkRealm } from "./realm.js";
import { acceptableScopes, coversScopes, formatScope, mergeScopes, type Scope } from "./scope.js";
import { readToken, type Token, tokenExchange } from "./token.js";

/** What an {@link Authorizer} works with. */
export interface AuthorizerOptions {
  /** The registry as the user names it. */
  readonly host: string;
  /** Where it is. */
  readonly registry: URL;
  readonly lookup: CredentialLookup;
  /** Hosts (with port) that may have the credentials of this registry. */
  readonly trustedRealms: readonly string[];
  /** Hosts (with port) that may be asked for tokens though they are nearer than the registry. */
  readonly internalHosts: readonly string[];
  /** Sends a request to the token server; follows redirects within its origin only. */
  readonly exchange: (request: Request) => Promise<Answer>;
}

/** What a request shows to the registry. */
export interface Authorization {
  /** The value of the Authorization header; undefined where nothing is shown. */
  readonly header: string | undefined;
  /** True where an account stands behind it. */
  readonly authenticated: boolean;
}

const NOTHING: Authorization = { header: undefined, authenticated: false };

interface BearerChallenge {
  readonly realm: string;
  readonly service: string | undefined;
}

interface KeptToken {
  readonly scopes: readonly Scope[];
  readonly promise: Promise<Token>;
  /** Undefined while it is on its way. */
  token?: Token;
}

/**
 * What one registry wants to see, and has been shown. It learns from the first 401 whether that is nothing, Basic or Bearer,
 * keeps tokens by realm, service and scope, and asks once for what many requests need at the same time.
 */
export class Authorizer {
  readonly #options: AuthorizerOptions;
  readonly #credentials = new Map<string, Promise<Credentials | undefined>>();
  readonly #tokens = new Map<string, KeptToken>();
  #bearer: BearerChallenge | undefined;
  #basic = false;

  constructor(options: AuthorizerOptions) {
    this.#options = options;
  }

  /** What to show for these scopes as far as it is known. Fails where a token is needed and cannot be had. */
  async authorization(scopes: readonly Scope[], signal?: AbortSignal): Promise<Authorization> {
    if (this.#bearer !== undefined) return this.#bearerAuthorization(this.#bearer, scopes, signal);
    if (this.#basic) return this.#basicAuthorization(scopes, signal);
    return NOTHING;
  }

  /**
   * Learns from an answer 401 to a request that showed `shown`. Returns what to show instead, or undefined where there is
   * nothing that has not been tried.
   */
  async answer(
    answer: Answer,
    scopes: readonly Scope[],
    shown: Authorization,
    signal?: AbortSignal,
  ): Promise<Authorization | undefined> {
    const challenges = parseChallenges(answer.headers("www-authenticate"));
    const bearer = challenges.find(({ scheme, parameters }) => scheme === "bearer" && parameters.has("realm"));
    if (bearer !== undefined) {
      this.#basic = false;
      this.#bearer = { realm: bearer.parameters.get("realm") as string, service: bearer.parameters.get("service") };
      this.#forget(shown);
      const more = acceptableScopes(bearer.parameters.get("scope") ?? "", scopes);
      return differs(await this.#bearerAuthorization(this.#bearer, mergeScopes([...scopes, ...more]), signal), shown);
    }
    if (challenges.some(({ scheme }) => scheme === "basic")) {
      this.#bearer = undefined;
      this.#basic = true;
      return differs(await this.#basicAuthorization(scopes, signal), shown);
    }
    return differs(await this.#unasked(challenges, scopes, signal), shown);
  }

  /** A 401 that asks for nothing known: a token made for this registry can still be tried. */
  async #unasked(
    challenges: readonly Challenge[],
    scopes: readonly Scope[],
    signal: AbortSignal | undefined,
  ): Promise<Authorization> {
    if (!challenges.some(({ scheme }) => scheme === "bearer")) return NOTHING;
    const credentials = await this.#lookUp(scopes, signal);
    return credentials !== undefined && "registryToken" in credentials
      ? { header: `Bearer ${credentials.registryToken}`, authenticated: true }
      : NOTHING;
  }

  async #basicAuthorization(scopes: readonly Scope[], signal: AbortSignal | undefined): Promise<Authorization> {
    const credentials = await this.#lookUp(scopes, signal);
    if (credentials === undefined) return NOTHING;
    if ("registryToken" in credentials) return { header: `Bearer ${credentials.registryToken}`, authenticated: true };
    if ("username" in credentials) {
      return { header: basicAuthorization(credentials.username, credentials.password), authenticated: true };
    }
    throw new OciError(
      "UNAUTHORIZED",
      `${this.#options.host} wants a name and a password; there is only a refresh token`,
      {
        hint: `Log in again with: stowage login ${this.#options.host}`,
      },
    );
  }

  async #bearerAuthorization(
    challenge: BearerChallenge,
    scopes: readonly Scope[],
    signal: AbortSignal | undefined,
  ): Promise<Authorization> {
    const credentials = await this.#lookUp(scopes, signal);
    if (credentials !== undefined && "registryToken" in credentials) {
      return { header: `Bearer ${credentials.registryToken}`, authenticated: true };
    }
    const { token } = await this.#token(challenge, scopes, credentials, signal);
    return { header: `Bearer ${token}`, authenticated: credentials !== undefined };
  }

  /** A token that allows these scopes: a kept one, one that is on its way, or a new one. */
  async #token(
    challenge: BearerChallenge,
    scopes: readonly Scope[],
    credentials: Credentials | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Token> {
    const prefix = JSON.stringify([challenge.realm, challenge.service]);
    for (const [key, kept] of this.#tokens) {
      if (kept.token !== undefined && kept.token.expires <= Date.now()) this.#tokens.delete(key);
      else if (key.startsWith(prefix) && coversScopes(kept.scopes, scopes)) return unlessAborted(kept.promise, signal);
    }
    const key = `${prefix} ${scopes.map(formatScope).join(" ")}`;
    const kept: KeptToken = { scopes, promise: this.#request(challenge, scopes, credentials) };
    this.#tokens.set(key, kept);
    kept.promise.then(
      (token) => {
        kept.token = token;
      },
      () => {
        if (this.#tokens.get(key) === kept) this.#tokens.delete(key);
      },
    );
    return unlessAborted(kept.promise, signal);
  }

  async #request(
    challenge: BearerChallenge,
    scopes: readonly Scope[],
    credentials: Credentials | undefined,
  ): Promise<Token> {
    const { host, registry, trustedRealms: trusted, internalHosts: internal, exchange } = this.#options;
    const withCredentials = credentials !== undefined;
    const realm = await checkRealm({ registry, realm: challenge.realm, withCredentials, trusted, internal });
    const request = { host, realm, service: challenge.service, scopes, credentials };
    return readToken(request, await exchange(tokenExchange(request)));
  }

  /** Drops the token that was just refused, so that another is asked for. */
  #forget(shown: Authorization): void {
    for (const [key, { token }] of this.#tokens) {
      if (token !== undefined && shown.header === `Bearer ${token.token}`) this.#tokens.delete(key);
    }
  }

  #lookUp(scopes: readonly Scope[], signal: AbortSignal | undefined): Promise<Credentials | undefined> {
    const repository = scopes[0]?.repository ?? "";
    let found = this.#credentials.get(repository);
    if (found === undefined) {
      found = this.#options.lookup(this.#options.host, repository);
      this.#credentials.set(repository, found);
      // A look-up that failed is made again.
      found.catch(() => this.#credentials.delete(repository));
    }
    return unlessAborted(found, signal);
  }
}

/** What many requests wait for goes on when one of them is given up. */
async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  signal.throwIfAborted();
  let stop = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

function differs(authorization: Authorization, shown: Authorization): Authorization | undefined {
  return authorization.header === shown.header ? undefined : authorization;
}
