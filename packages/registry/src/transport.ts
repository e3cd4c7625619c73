import { readFileSync } from "node:fs";
import type { Readable } from "node:stream";
import { rootCertificates } from "node:tls";
import { type Bytes, isOciError, systemError } from "@stowage/layout";
import { type Dispatcher, Pool, ProxyAgent } from "undici";
import { Answer } from "./http/answer.js";
import { connectionError } from "./http/connection-error.js";
import { type Environment, proxyFor } from "./http/proxy.js";

/** How connections are made. */
export interface TransportOptions {
  /** A file with PEM certificates of authorities to trust besides the well-known ones. */
  readonly caFile?: string | undefined;
  /** Do not check the certificates: of any host, or of the hosts (with port) named. */
  readonly insecure?: boolean | readonly string[] | undefined;
  /** How long a connection may take to be made, in ms. Default: 15,000. */
  readonly connectTimeout?: number | undefined;
  /** How long the other side may be silent, in ms. Default: 60,000. A request that stores something gets 300,000 at least. */
  readonly stallTimeout?: number | undefined;
  /** Connections per origin that read, and as many again that write. Default: 8. */
  readonly connections?: number | undefined;
  /** The value of the User-Agent header. Default: `stowage`. */
  readonly userAgent?: string | undefined;
  /** Where http_proxy, https_proxy, no_proxy, DOCKER_CONFIG and HOME are read from. Default: the environment of the process. */
  readonly environment?: Environment | undefined;
}

/** A body that can be sent as often as needed: bytes, or a stream of known size. */
export type RequestBody = Uint8Array | { /** Bytes. */ readonly size: number; open(): Bytes };

/** One HTTP request. */
export interface Request {
  /** What it is for; starts the message of an error: `cannot fetch ...`. */
  readonly action: string;
  readonly method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly url: URL;
  /** Names in lower case. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: RequestBody | undefined;
  readonly signal?: AbortSignal | undefined;
}

const DEFAULTS = { connectTimeout: 15_000, stallTimeout: 60_000, connections: 8 };
/** A registry that keeps its blobs elsewhere moves and hashes the whole blob before it answers the request that completes it. */
const MINIMUM_WRITE_TIMEOUT = 300_000;
const MAXIMUM_HEADERS = 64 * 1024;
/** Between the requests of one operation; idle connections do not keep a process alive. */
const KEEP_ALIVE = 10_000;

/**
 * HTTP over kept connections: one request, one answer. Follows no redirect, repeats nothing, knows no credentials. The one
 * place that knows the HTTP library.
 */
export class Transport {
  readonly #options: TransportOptions;
  readonly #environment: Environment;
  readonly #dispatchers = new Map<string, Dispatcher>();
  #authorities: string[] | undefined;
  #closed = false;

  constructor(options: TransportOptions = {}) {
    this.#options = options;
    this.#environment = options.environment ?? process.env;
  }

  /**
   * Sends the request and returns the answer as soon as its headers are there, whatever its status. Fails with a
   * {@link RegistryError} (`REGISTRY`, or `LIMIT` for a time-out) where no answer arrives, with the error of the body's
   * stream where that fails, and with the signal's reason.
   */
  async exchange(request: Request): Promise<Answer> {
    const { method, url, signal } = request;
    signal?.throwIfAborted();
    if (this.#closed) throw new TypeError("the client is closed");
    const outgoing = new Outgoing(request.body);
    const stall = this.#options.stallTimeout ?? DEFAULTS.stallTimeout;
    try {
      const { statusCode, headers, body } = await this.#dispatcher(url, isWrite(method)).request({
        origin: url.origin,
        path: `${url.pathname}${url.search}`,
        method,
        headers: {
          "user-agent": this.#options.userAgent ?? "stowage",
          ...request.headers,
          ...outgoing.headers(method),
        },
        body: outgoing.content(),
        signal: signal ?? null,
        // The library closes the connection after each HEAD otherwise, and HEAD is what is asked most.
        reset: false,
        headersTimeout: isWrite(method) ? Math.max(stall, MINIMUM_WRITE_TIMEOUT) : stall,
        bodyTimeout: stall,
      });
      // An unread body that fails must not end the process.
      body.on("error", () => {});
      return new Answer(method, url, statusCode, headers, body, (cause) => this.#asError(cause, request));
    } catch (cause) {
      if (outgoing.failure !== undefined) throw outgoing.failure.error;
      throw this.#asError(cause, request);
    }
  }

  /** Gives up what is under way and closes all connections. */
  async close(): Promise<void> {
    this.#closed = true;
    const dispatchers = [...this.#dispatchers.values()];
    this.#dispatchers.clear();
    await Promise.all(dispatchers.map((dispatcher) => dispatcher.destroy()));
  }

  /**
   * Reading and writing have connections of their own. A request that writes reads its body from somewhere, often from the
   * same origin: in one pool all connections could be taken by writers that each wait for one to read from.
   */
  #dispatcher(url: URL, write: boolean): Dispatcher {
    const key = `${url.origin} ${write}`;
    let dispatcher = this.#dispatchers.get(key);
    if (dispatcher === undefined) {
      dispatcher = this.#connect(url);
      this.#dispatchers.set(key, dispatcher);
    }
    return dispatcher;
  }

  #connect(url: URL): Dispatcher {
    const timeout = this.#options.connectTimeout ?? DEFAULTS.connectTimeout;
    const tls = { timeout, ...(url.protocol === "https:" ? this.#tls(url) : {}) };
    const common = {
      connections: this.#options.connections ?? DEFAULTS.connections,
      connectTimeout: timeout,
      keepAliveTimeout: KEEP_ALIVE,
      maxHeaderSize: MAXIMUM_HEADERS,
    };
    const proxy = proxyFor(url, this.#environment);
    if (proxy === undefined) return new Pool(url.origin, { ...common, connect: tls });
    const servername = url.hostname.replace(/^\[|\]$/g, "");
    return new ProxyAgent({
      ...common,
      uri: proxy.href,
      proxyTunnel: url.protocol === "https:",
      requestTls: { ...tls, servername },
      proxyTls: { timeout },
    });
  }

  #asError(cause: unknown, request: Request): unknown {
    if (request.signal?.aborted) return request.signal.reason;
    if (isOciError(cause) || cause instanceof TypeError) return cause;
    return connectionError(cause, request, proxyFor(request.url, this.#environment));
  }

  #tls(url: URL): { rejectUnauthorized?: boolean; ca?: string[] } {
    const { insecure, caFile } = this.#options;
    if (insecure === true || (Array.isArray(insecure) && insecure.includes(url.host)))
      return { rejectUnauthorized: false };
    if (caFile === undefined) return {};
    this.#authorities ??= [...rootCertificates, readAuthorities(caFile)];
    return { ca: this.#authorities };
  }
}

function isWrite(method: string): boolean {
  return method === "PUT" || method === "POST" || method === "PATCH";
}

function readAuthorities(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw systemError(error, `cannot read the certificates in ${path}`);
  }
}

/** The body on its way out. It remembers its own failure, which the HTTP library may wrap or replace. */
class Outgoing {
  readonly #body: RequestBody | undefined;
  failure: { readonly error: unknown } | undefined;

  constructor(body: RequestBody | undefined) {
    this.#body = body;
  }

  /** Without a Content-Length a body would be sent in chunks, which some registries refuse. */
  headers(method: string): Record<string, string> {
    if (this.#body !== undefined) {
      return { "content-length": String(this.#body instanceof Uint8Array ? this.#body.byteLength : this.#body.size) };
    }
    return isWrite(method) ? { "content-length": "0" } : {};
  }

  content(): Uint8Array | Readable | null {
    if (this.#body === undefined || this.#body instanceof Uint8Array) return this.#body ?? null;
    // The library takes any async iterable; its types name only this kind.
    return this.#pump(this.#body) as unknown as Readable;
  }

  async *#pump(body: { open(): Bytes }): AsyncGenerator<Uint8Array> {
    try {
      yield* body.open();
    } catch (error) {
      this.failure = { error };
      throw error;
    }
  }
}
