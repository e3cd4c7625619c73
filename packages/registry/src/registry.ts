import { OciError } from "@stowage/layout";
import { type Authorization, Authorizer } from "./auth/authorizer.js";
import type { CredentialLookup } from "./auth/credentials.js";
import type { Scope } from "./auth/scope.js";
import { isLoopback } from "./http/address.js";
import type { Answer } from "./http/answer.js";
import type { Notices } from "./http/notices.js";
import { isWrite } from "./http/outgoing.js";
import { Retry, type RetryOptions } from "./http/retry.js";
import { Slots } from "./http/slots.js";
import { isSigned, sameOrigin } from "./http/url.js";
import { answerError, isTemporaryStatus, RegistryError } from "./registry-error.js";
import { DOCKER_HUB, type Request, type Transport } from "./transport.js";

/** How one registry is reached. */
export interface RegistryOptions extends RetryOptions {
  /** As the user names it. */
  readonly host: string;
  /**
   * Use http instead of https: for all hosts or for the hosts named. This machine is reached over http unless it is `false`, or
   * something is set for TLS with the host (see {@link Transport.expectsTls}).
   */
  readonly plainHttp?: boolean | readonly string[] | undefined;
  /** Hosts (with port) of token servers that may have the credentials of any registry. */
  readonly trustedRealms?: readonly string[] | undefined;
  /** Hosts (with port) that the registry may lead to though they are nearer than it is. */
  readonly internalHosts?: readonly string[] | undefined;
  /** More headers for each request to the registry. They do not go anywhere else. */
  readonly headers: () => Promise<Readonly<Record<string, string>>>;
  readonly credentials: CredentialLookup;
  readonly transport: Transport;
  /** Where what the registry says beside its answers is kept. */
  readonly notices: Notices;
}

/** A request to a registry, or to where its upload sessions live. */
export interface RegistryRequest extends Request {
  readonly scopes: readonly Scope[];
  /** The statuses that mean success. Any other is an error. */
  readonly accept: readonly number[];
  /** Leave an answer that redirects to another origin unfollowed; it is then judged by `accept`. Default: follow. */
  readonly stayHere?: boolean;
  /** Do not repeat it where it fails for a while, because the caller does something else then. */
  readonly once?: boolean;
}

/** More redirects than this are a loop. */
const MAXIMUM_HOPS = 10;
/** The headers that go along to another origin: what is wanted, and nothing about who wants it. */
const PORTABLE_HEADERS: ReadonlySet<string> = new Set(["accept", "accept-encoding", "content-type", "range"]);

/** One registry: its address, what it has been shown, and how long it asked to wait. */
export class Registry {
  /** As the user names it. */
  readonly host: string;
  readonly url: URL;
  readonly retry: Retry;
  readonly #options: RegistryOptions;
  readonly #authorizer: Authorizer;
  /** As with connections, those that write do not take the places of those that read: a body may come from where it goes. */
  readonly #slots: { readonly reading: Slots; readonly writing: Slots };

  constructor(options: RegistryOptions) {
    this.#options = options;
    this.host = options.host;
    this.url = registryUrl(options.host, options.plainHttp, options.transport);
    this.retry = new Retry(options);
    const { connections } = options.transport;
    this.#slots = { reading: new Slots(connections), writing: new Slots(connections) };
    this.#authorizer = new Authorizer({
      host: this.host,
      registry: this.url,
      lookup: options.credentials,
      trustedRealms: options.trustedRealms ?? [],
      internalHosts: options.internalHosts ?? [],
      exchange: (request) => this.#exchangeForToken(request),
    });
  }

  /**
   * Sends the request: with what the registry wants to see, following redirects, again where it fails for a while. The
   * answer has one of the accepted statuses. Fails with a {@link RegistryError} otherwise, with `DENIED` where a redirect or a
   * token server is refused, and with the signal's reason.
   */
  async send(request: RegistryRequest): Promise<Answer> {
    const attempt = async (): Promise<Answer> => (await this.#attempt(request)).answer;
    return request.once ? attempt() : this.retry.run(attempt, request.signal);
  }

  /**
   * Asks for the endpoint that every registry has. True if it wanted credentials and took those there are; false if it wanted
   * none. Fails as {@link send} does. distribution-spec v1.1.1, "Determining Support".
   */
  async authenticate(scopes: readonly Scope[], signal?: AbortSignal): Promise<boolean> {
    const request: RegistryRequest = {
      action: `cannot log in to ${this.host}`,
      method: "GET",
      url: new URL("/v2/", this.url),
      scopes,
      accept: [200, 404],
      stayHere: true,
      signal,
    };
    return this.retry.run(async () => {
      const { answer, shown } = await this.#attempt(request);
      await answer.discard();
      return shown.authenticated;
    }, signal);
  }

  async #attempt(request: RegistryRequest): Promise<{ answer: Answer; shown: Authorization }> {
    const { scopes, signal } = request;
    let shown = await this.#authorizer.authorization(scopes, signal);
    let { answer, own } = await this.#ask(request, shown);
    // Twice: a kept token may have been refused because it is old, the new one because it allows too little.
    for (let round = 0; round < 2 && answer.status === 401 && own; round++) {
      const next: Authorization | undefined = await this.#authorizer.answer(answer, scopes, shown, signal);
      if (next === undefined) break;
      await answer.discard();
      shown = next;
      ({ answer, own } = await this.#ask(request, shown));
    }
    if (request.accept.includes(answer.status)) return { answer, shown };
    throw await answerError(request.action, answer, { host: this.host, authenticated: shown.authenticated });
  }

  /** Sends the request when it is its turn. */
  #ask(request: RegistryRequest, shown: Authorization): Promise<Followed> {
    const slots = isWrite(request.method) ? this.#slots.writing : this.#slots.reading;
    const follow = (): Promise<Followed> =>
      this.#follow(request, this.url, shown.header, request.stayHere ?? false, this.url);
    return slots.run(follow, ({ answer, own }) => answer.status === 429 && own, request.signal);
  }

  /**
   * A token server gets no redirect to elsewhere followed: the request holds what must not go there. Where it fails for a
   * while, the request that needs the token is repeated, and asks again.
   */
  async #exchangeForToken(request: Request): Promise<Answer> {
    const authorization = request.headers?.authorization;
    const { answer } = await this.#follow(request, request.url, authorization, true, this.url);
    if (!isTemporaryStatus(answer.status)) return answer;
    throw await answerError(request.action, answer, { host: this.host, authenticated: authorization !== undefined });
  }

  /**
   * Sends the request to where redirects lead. `authorization` and the headers that are not portable go to `origin` only, and
   * not any more once another origin has been asked. `own` tells that no other was. `from` is who named the URL.
   */
  async #follow(
    request: Request,
    origin: URL,
    authorization: string | undefined,
    stayHere: boolean,
    from: URL,
  ): Promise<Followed> {
    let url = request.url;
    let named = from;
    let own = sameOrigin(url, origin);
    for (let hops = 0; ; hops++) {
      const ours = sameOrigin(url, this.url);
      const answer = await this.#options.transport.exchange({
        ...request,
        url,
        headers: await this.#headers(request, own, ours, hops > 0 && isSigned(url) ? undefined : authorization),
        namedBy: ours ? undefined : named,
        identified: own && ours,
      });
      if (own && ours) this.#options.notices.read(this.host, answer);
      const next = redirectTarget(answer);
      if (next === undefined || (stayHere && !sameOrigin(next, origin))) return { answer, own };
      await answer.discard();
      if (hops >= MAXIMUM_HOPS) throw refusal(request, answer, `${url.host} redirects more than ${MAXIMUM_HOPS} times`);
      if (!isRead(request.method) && answer.status !== 307 && answer.status !== 308) {
        throw refusal(
          request,
          answer,
          `${url.host} answered ${answer.status} to a ${request.method}, which cannot be followed`,
        );
      }
      await checkStep(request.action, url, next);
      own = own && sameOrigin(next, origin);
      named = url;
      url = next;
    }
  }

  async #headers(
    request: Request,
    own: boolean,
    ours: boolean,
    authorization: string | undefined,
  ): Promise<Record<string, string>> {
    const headers = { "accept-encoding": "identity", ...request.headers };
    if (!own) return Object.fromEntries(Object.entries(headers).filter(([name]) => PORTABLE_HEADERS.has(name)));
    const custom = ours ? await this.#options.headers() : {};
    return { ...custom, ...headers, ...(authorization === undefined ? {} : { authorization }) };
  }
}

/** An answer, and whether it came from where the request was meant to go. */
interface Followed {
  readonly answer: Answer;
  readonly own: boolean;
}

/** Fails with `DENIED` where a registry leads from https to http. Where it leads to is judged by whoever connects to it. */
export async function checkStep(action: string, from: URL, to: URL): Promise<void> {
  if (from.protocol === "https:" && to.protocol !== "https:") {
    throw new OciError(
      "DENIED",
      `${action}: ${from.host} leads from https to ${to.protocol.slice(0, -1)} on ${to.host}; that is refused`,
      {
        hint: "A proxy in front of the registry may hide from it that clients use https (X-Forwarded-Proto).",
      },
    );
  }
}

/** Where a registry is. Docker Hub's name and its address differ. */
export function registryUrl(
  host: string,
  plainHttp?: boolean | readonly string[],
  transport?: Pick<Transport, "expectsTls">,
): URL {
  const url = new URL(`https://${host === "docker.io" ? DOCKER_HUB : host}`);
  const plain =
    typeof plainHttp === "boolean"
      ? plainHttp
      : (plainHttp?.includes(host) ?? false) || (isLoopback(url) && transport?.expectsTls(url) !== true);
  return plain ? new URL(`http://${url.host}`) : url;
}

function isRead(method: string): boolean {
  return method === "GET" || method === "HEAD";
}

/** Where the answer redirects to; undefined where it does not, or not to anything that can be asked. */
function redirectTarget(answer: Answer): URL | undefined {
  if (![301, 302, 303, 307, 308].includes(answer.status)) return undefined;
  const location = answer.header("location");
  if (location === undefined || !URL.canParse(location, answer.url.href)) return undefined;
  const url = new URL(location, answer.url);
  url.hash = "";
  return /^https?:$/.test(url.protocol) ? url : undefined;
}

function refusal(request: Request, answer: Answer, problem: string): RegistryError {
  return new RegistryError("REGISTRY", `${request.action}: ${problem}`, {
    method: request.method,
    url: answer.url,
    status: answer.status,
  });
}
