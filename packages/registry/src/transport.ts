import type { LookupFunction, Socket } from "node:net";
import { isOciError, OciError } from "@stowage/layout";
import type { buildConnector, Dispatcher } from "undici";
import { secretsOf } from "./auth/credentials.js";
import { type Reach, tooNear } from "./http/address.js";
import { Answer } from "./http/answer.js";
import {
  type ClientCertificate,
  certificateDirectories,
  hasCertificates,
  readAuthority,
  readCertificates,
  readClientCertificate,
  usualAuthorities,
} from "./http/certificates.js";
import { connectionError } from "./http/connection-error.js";
import { Guard, TooNear } from "./http/guard.js";
import { isWrite, Outgoing, type RequestBody } from "./http/outgoing.js";
import { type Environment, proxyFor } from "./http/proxy.js";

export type { RequestBody } from "./http/outgoing.js";

/** How connections are made. */
export interface TransportOptions {
  /** A file with PEM certificates of authorities to trust besides the well-known ones. */
  readonly caFile?: string | undefined;
  /** A client certificate and its key, PEM files. They are shown to registries, and never to where one redirects. */
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  /**
   * Directories with a directory for each HOST[:PORT]: in it `*.crt` are authorities to trust, `*.cert` and `*.key` a client
   * certificate. Default: those of Podman and Docker, see {@link certificateDirectories}.
   */
  readonly certificateDirectories?: readonly string[] | undefined;
  /** Do not check the certificates: of any host, or of the hosts (with port) named. */
  readonly insecure?: boolean | readonly string[] | undefined;
  /** Hosts (with port) that a registry may lead to though they are on this machine, its link or a private network. */
  readonly internalHosts?: readonly string[] | undefined;
  /** Only these hosts (with port) are spoken to, whoever names another one. Default: any. */
  readonly onlyHosts?: readonly string[] | undefined;
  /** How long a connection may take to be made, in ms. Default: 15,000. */
  readonly connectTimeout?: number | undefined;
  /** How long the other side may be silent or take nothing, in ms. Default: 60,000. The answer to a request that stores something gets 300,000 at least. */
  readonly stallTimeout?: number | undefined;
  /** Connections per origin that read, and as many again that write. Default: 16. */
  readonly connections?: number | undefined;
  /** What finds the addresses of a name, always asked for all of them. Default: the system. */
  readonly lookup?: LookupFunction | undefined;
  /** The value of the User-Agent header. Default: `stowage`. */
  readonly userAgent?: string | undefined;
  /** Where http_proxy, https_proxy, no_proxy, NODE_EXTRA_CA_CERTS, HOME and the variables that name configurations are read from. Default: the environment of the process. */
  readonly environment?: Environment | undefined;
}

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
  /** Who named the URL, where it was not the user: it may not lead nearer than it is itself. */
  readonly namedBy?: URL | undefined;
  /** True where it goes to the registry itself: it may see the client certificate. */
  readonly identified?: boolean;
  /**
   * Those of one lane go over one connection, one after the other, and none waits for the answer to the one before. What is sent
   * so can be sent twice, and its body is in memory.
   */
  readonly lane?: number | undefined;
}

/** Where `docker.io` is. */
export const DOCKER_HUB = "registry-1.docker.io";
const DEFAULTS = { connectTimeout: 15_000, stallTimeout: 60_000, connections: 16 };
/** A registry that keeps its blobs elsewhere moves and hashes the whole blob before it answers the request that completes it. */
const MINIMUM_WRITE_TIMEOUT = 300_000;
/** A body that is read as a whole, a manifest or a page, may take this many times as long as the other side may be silent. */
const SMALL_BODY = 5;
const MAXIMUM_HEADERS = 64 * 1024;
/** Between the requests of one operation; idle connections do not keep a process alive. */
const KEEP_ALIVE = 10_000;

/** Requests of one lane that are on their way at once. */
const PIPELINING = 16;

/** What kind of connection a request needs; those of one kind share them. */
interface Way {
  readonly url: URL;
  readonly write: boolean;
  readonly identified: boolean;
  /** Where the one who named the URL is; undefined where that was the user. */
  readonly source: Reach | undefined;
  readonly lane: number | undefined;
}

interface TlsSettings {
  rejectUnauthorized?: boolean;
  ca?: string[];
  cert?: string;
  key?: string;
}

type Library = typeof import("undici");

/** Loading the HTTP library takes longer than most commands that reach no registry. */
function loadLibrary(): Promise<Library> {
  return import("undici");
}

/**
 * HTTP over kept connections: one request, one answer. Follows no redirect, repeats nothing, knows no credentials. The one
 * place that knows the HTTP library.
 */
export class Transport {
  readonly #options: TransportOptions;
  readonly #environment: Environment;
  readonly #dispatchers = new Map<string, Dispatcher>();
  readonly #guard: Guard;
  #usual: readonly string[] | undefined;
  #closed = false;

  constructor(options: TransportOptions = {}) {
    this.#options = options;
    this.#environment = options.environment ?? process.env;
    this.#guard = new Guard(options.lookup);
  }

  /** How many connections to one origin read, and as many again write. */
  get connections(): number {
    return this.#options.connections ?? DEFAULTS.connections;
  }

  /**
   * Sends the request and returns the answer as soon as its headers are there, whatever its status. Fails with a
   * {@link RegistryError} (`REGISTRY`, or `LIMIT` for a time-out) where no answer arrives, with `DENIED` where the one who named
   * the URL may not lead there, with the error of the body's stream where that fails, and with the signal's reason.
   */
  async exchange(request: Request): Promise<Answer> {
    const { method, url, signal } = request;
    signal?.throwIfAborted();
    this.#checkHost(request);
    const library = await loadLibrary();
    if (this.#closed) throw new TypeError("the client is closed");
    const stall = this.#options.stallTimeout ?? DEFAULTS.stallTimeout;
    const outgoing = new Outgoing(request.body, stall);
    try {
      const { statusCode, headers, body } = await this.#dispatcher(await this.#way(request), library).request({
        origin: url.origin,
        path: `${url.pathname}${url.search}`,
        method,
        headers: {
          "user-agent": this.#options.userAgent ?? "stowage",
          ...request.headers,
          ...outgoing.headers(method),
        },
        body: outgoing.content(),
        signal: outgoing.signal(signal),
        // The library closes the connection after each HEAD otherwise, and HEAD is what is asked most.
        reset: false,
        ...(request.lane === undefined ? {} : { idempotent: true, blocking: false }),
        headersTimeout: isWrite(method) ? Math.max(stall, MINIMUM_WRITE_TIMEOUT) : stall,
        bodyTimeout: stall,
      });
      // An unread body that fails must not end the process.
      body.on("error", () => {});
      const asError = (cause: unknown): unknown => this.#asError(cause, request);
      const secrets = secretsOf(request.headers?.authorization);
      return new Answer(method, url, statusCode, headers, body, asError, stall * SMALL_BODY, secrets);
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

  #checkHost({ action, url }: Request): void {
    const { onlyHosts } = this.#options;
    if (onlyHosts === undefined || onlyHosts.some((host) => isAt(url, host))) return;
    throw new OciError("DENIED", `${action}: ${url.host} is not asked, this run is offline`, {
      hint: `--allow-host ${url.host} lets it be asked all the same.`,
    });
  }

  async #way({ method, url, namedBy, lane, identified = false }: Request): Promise<Way> {
    const named = namedBy === undefined || this.#options.internalHosts?.includes(url.host) === true;
    const source = named ? undefined : await this.#guard.reachOf(namedBy);
    if (source !== undefined) {
      this.#guard.checkName(source, url);
      // Whom the proxy connects to cannot be seen from here. What the name stands for here has to do.
      if (proxyFor(url, this.#environment) !== undefined)
        this.#guard.checkReach(source, await this.#guard.reachOf(url));
    }
    return { url, write: isWrite(method), identified, source, lane };
  }

  /**
   * Reading and writing have connections of their own. A request that writes reads its body from somewhere, often from the
   * same origin: in one pool all connections could be taken by writers that each wait for one to read from.
   */
  #dispatcher(way: Way, library: Library): Dispatcher {
    const key = [way.url.origin, way.write, way.identified, way.source, way.lane].join(" ");
    let dispatcher = this.#dispatchers.get(key);
    if (dispatcher === undefined) {
      dispatcher = this.#connect(way, library);
      this.#dispatchers.set(key, dispatcher);
    }
    return dispatcher;
  }

  #connect(way: Way, { Pool, ProxyAgent, buildConnector }: Library): Dispatcher {
    const { url } = way;
    const timeout = this.#options.connectTimeout ?? DEFAULTS.connectTimeout;
    const tls = { timeout, ...(url.protocol === "https:" ? this.#tls(url, way.identified) : {}) };
    const common = {
      connections: way.lane === undefined ? this.connections : 1,
      pipelining: way.lane === undefined ? 1 : PIPELINING,
      connectTimeout: timeout,
      keepAliveTimeout: KEEP_ALIVE,
      maxHeaderSize: MAXIMUM_HEADERS,
    };
    const proxy = proxyFor(url, this.#environment);
    if (proxy === undefined)
      return new Pool(url.origin, {
        ...common,
        connect: this.#guarded(way, buildConnector({ ...tls, lookup: this.#guard.lookup(url.origin, way.source) })),
      });
    const servername = url.hostname.replace(/^\[|\]$/g, "");
    return new ProxyAgent({
      ...common,
      uri: proxy.href,
      proxyTunnel: url.protocol === "https:",
      requestTls: { ...tls, servername },
      proxyTls: { timeout, ...(proxy.protocol === "https:" ? this.#tls(proxy, false) : {}) },
    });
  }

  /** Makes connections to addresses that may be connected to, and to no other. */
  #guarded({ url, source }: Way, connect: buildConnector.connector): buildConnector.connector {
    return (options, callback) =>
      connect(options, (error, socket) => {
        if (error !== null) return callback(error, null);
        try {
          this.#guard.check(url.origin, source, socket as Socket);
          callback(null, socket);
        } catch (cause) {
          socket.destroy();
          callback(cause as Error, null);
        }
      });
  }

  #asError(cause: unknown, request: Request): unknown {
    const { url, namedBy, signal } = request;
    if (signal?.aborted) return signal.reason;
    if (cause instanceof TooNear)
      return namedBy === undefined
        ? movedNearer(request, cause.reach)
        : tooNear(namedBy, url, cause.reach, "a request");
    if (isOciError(cause) || cause instanceof TypeError) return cause;
    return connectionError(cause, request, proxyFor(url, this.#environment));
  }

  /** True if something is set for TLS with this very host: it is named as `insecure`, or has certificates in a directory. */
  expectsTls(url: URL): boolean {
    return this.#isNamedInsecure(url) || hasCertificates(url, this.#certificateDirectories());
  }

  #isNamedInsecure(url: URL): boolean {
    const { insecure } = this.#options;
    return Array.isArray(insecure) && insecure.includes(url.host);
  }

  #certificateDirectories(): readonly string[] {
    return this.#options.certificateDirectories ?? certificateDirectories(this.#environment);
  }

  #tls(url: URL, identified: boolean): TlsSettings {
    const { insecure, caFile } = this.#options;
    const found = readCertificates(url, this.#certificateDirectories());
    const shown = identified ? (this.#clientCertificate() ?? found.client) : undefined;
    if (insecure === true || this.#isNamedInsecure(url)) return { ...shown, rejectUnauthorized: false };
    const authorities = [...found.authorities, ...(caFile === undefined ? [] : [readAuthority(caFile)])];
    if (authorities.length === 0) return { ...shown };
    this.#usual ??= usualAuthorities(this.#environment);
    return { ...shown, ca: [...this.#usual, ...authorities] };
  }

  #clientCertificate(): ClientCertificate | undefined {
    const { certFile, keyFile } = this.#options;
    if (certFile === undefined && keyFile === undefined) return undefined;
    if (certFile === undefined || keyFile === undefined)
      throw new TypeError("a client certificate needs both certFile and keyFile");
    return readClientCertificate(certFile, keyFile);
  }
}

function movedNearer({ action, url }: Request, reach: Reach): OciError {
  return new OciError(
    "DENIED",
    `${action}: ${url.host} stood for an address farther away, and now for a ${reach} one; that is refused`,
  );
}

/** True where the URL is at HOST[:PORT]; without a port it is that of the scheme. */
function isAt(url: URL, host: string): boolean {
  const wanted = host === "docker.io" ? DOCKER_HUB : host.toLowerCase();
  return wanted === url.host || wanted === `${url.hostname}:${url.protocol === "http:" ? 80 : 443}`;
}
