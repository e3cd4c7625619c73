import { isIP } from "node:net";
import type { Answer } from "./answer.js";
import { authentication } from "./authentication.js";
import { refusalAnswer, refusalOf } from "./errors.js";
import type { Exchange } from "./exchange.js";
import type { Accounts } from "./htpasswd.js";
import { ConnectionCut, inOrder, type LayerMaker } from "./layer.js";
import { completeLimits, type Limits } from "./limits.js";
import { type Listener, openListener, type Tls } from "./listener.js";
import { Metrics, observed, type RequestRecord } from "./metrics.js";
import { answerPage } from "./pages/pages.js";
import { isPagePath } from "./pages/places.js";
import type { Registry } from "./registry.js";
import { answer } from "./routes.js";
import type { Store } from "./store.js";
import { Turns } from "./turns.js";
import { Uploads } from "./upload.js";

/** The options of {@link serve}. */
export interface ServeOptions {
  /** Where the content is: {@link layoutStore}, {@link directoryStore} or {@link memoryStore}. */
  readonly store: Store;
  /** The address to listen on. Default: 127.0.0.1, where only this machine reaches it. */
  readonly host?: string;
  /** The port to listen on; 0, the default, is any that is free. */
  readonly port?: number;
  /** Answers every request that would change something with 405. */
  readonly readonly?: boolean;
  /** Takes manifests although what they point at is not there. */
  readonly sparse?: boolean;
  /** Deletes a blob when asked, unless a manifest needs it. Default: false; then a collection does, after its grace time. */
  readonly deleteBlobs?: boolean;
  /** Puts a referrer of at most so many bytes into the `data` of its descriptor when referrers are listed. Default: 0, none. */
  readonly embedReferrers?: number;
  readonly limits?: Partial<Limits>;
  /** Lets in only who has an account: {@link parseHtpasswd}. Default: everybody. */
  readonly accounts?: Accounts;
  /** Asks for bearer tokens, which the server itself gives to the accounts at `/token`, instead of a password with each request. */
  readonly tokens?: boolean;
  /** Speaks HTTPS with this certificate. Default: HTTP. */
  readonly tls?: Tls;
  /** Told of each request that has come to its end. */
  readonly onRequest?: (record: RequestRecord) => void;
  /** What stands between the clients and the registry, the first nearest to the client: the faults of `@stowage/server/testing`. */
  readonly layers?: readonly LayerMaker[];
  /** Told of each failure that is this side's fault, with the request line; the client only learns that there was one. */
  readonly onError?: (error: unknown, request: string) => void;
}

/** A server that is listening. */
export interface RunningServer extends Listener {
  /** Takes no more connections, lets running requests finish, leaves open uploads to the next server. A second call waits for the first. */
  close(): Promise<void>;
}

/**
 * Serves the distribution API (distribution-spec v1.1.1) until it is closed. Resolves when it listens; fails with `DENIED` or
 * `REGISTRY` where it cannot, with `INVALID` where the certificate cannot be used, and with a `TypeError` where a limit is no
 * positive integer. Without `accounts` whoever can reach the address can read, and write unless `readonly` is set.
 */
export async function serve(options: ServeOptions): Promise<RunningServer> {
  const limits = completeLimits(options.limits);
  const registry: Registry = {
    store: options.store,
    limits,
    uploads: new Uploads(limits),
    readonly: options.readonly ?? false,
    sparse: options.sparse ?? false,
    deleteBlobs: options.deleteBlobs ?? false,
    embedReferrers: options.embedReferrers ?? 0,
    turns: new Turns(),
  };
  const metrics = new Metrics();
  const listeners: Listener[] = [];
  const onError = (error: unknown, exchange: Exchange): void =>
    options.onError?.(error, `${exchange.method} ${exchange.path}`);
  const open = async (
    host: string,
    port: number,
    answer: (exchange: Exchange) => Promise<Answer>,
  ): Promise<Listener> => {
    const onRequest = (): void => metrics.begin();
    const onEnd = (exchange: Exchange): void => metrics.end(exchange, options.onRequest);
    const listener = await openListener({ host, port, limits, tls: options.tls, answer, onError, onRequest, onEnd });
    listeners.push(listener);
    return listener;
  };
  const host = options.host ?? "127.0.0.1";
  const direct = (exchange: Exchange): Promise<Answer> => refusing(exchange, registry, onError);
  let closing: Promise<void> | undefined;
  const closed = new AbortController();
  const close = async (): Promise<void> => {
    closed.abort();
    await Promise.all(listeners.map((listener) => listener.close()));
    await registry.uploads.close();
  };
  try {
    if (!registry.readonly) registry.uploads.expireIn(options.store, (error) => options.onError?.(error, "uploads"));
    const surroundings = {
      registry: direct,
      store: options.store,
      closing: closed.signal,
      listen: async (answer: (exchange: Exchange) => Promise<Answer>) => otherUrl(await open(host, 0, answer)),
    };
    const layer = inOrder([
      ...(await Promise.all((options.layers ?? []).map((make) => make(surroundings)))),
      ...(options.accounts === undefined ? [] : [authentication(options.accounts, options.tokens ?? false)]),
      observed(metrics, () => registry.uploads.count, closed.signal),
    ]);
    const listener = await open(host, options.port ?? 0, (exchange) => layer(exchange, () => direct(exchange)));
    return { url: listener.url, host: listener.host, port: listener.port, close: () => (closing ??= close()) };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The answer of the registry; what fails becomes the answer that says so. */
async function refusing(
  exchange: Exchange,
  registry: Registry,
  onError: (error: unknown, exchange: Exchange) => void,
): Promise<Answer> {
  let answered: Answer;
  try {
    if (isPagePath(exchange.path, exchange.header("accept"))) answered = await answerPage(exchange, registry, onError);
    else answered = await answer(exchange, registry);
  } catch (error) {
    const refusal = refusalOf(error);
    if (refusal.status >= 500 && !exchange.gone && !(error instanceof ConnectionCut)) onError(error, exchange);
    answered = refusalAnswer(refusal);
  }
  const { status, headers, body } = answered;
  const always = { "Docker-Distribution-Api-Version": "registry/2.0", "X-Content-Type-Options": "nosniff" };
  // Spreading two objects into one takes ten times as long.
  return { status, headers: Object.assign(always, headers), body };
}

/** A loopback address goes by its name: a client that compares hosts sees another one. */
function otherUrl({ url, host, port }: Listener): string {
  const isLoopback = isIP(host) !== 0 && (host.startsWith("127.") || host === "::1");
  return isLoopback ? `${new URL(url).protocol}//localhost:${port}` : url;
}
