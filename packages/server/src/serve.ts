import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { systemError } from "@stowage/layout";
import { refusalOf } from "./errors.js";
import { Exchange } from "./exchange.js";
import { completeLimits, type Limits } from "./limits.js";
import type { Registry } from "./registry.js";
import { answer } from "./routes.js";
import type { Store } from "./store.js";
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
  readonly limits?: Partial<Limits>;
  /** Told of each failure that is this side's fault, with the request line; the client only learns that there was one. */
  readonly onError?: (error: unknown, request: string) => void;
}

/** A server that is listening. */
export interface RunningServer {
  /** `http://HOST:PORT`, without a path. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  /** Takes no more connections, lets running requests finish, gives up open uploads. A second call waits for the first. */
  close(): Promise<void>;
}

/** How long a connection may wait for its next request, in ms. Longer than clients keep one, so that they are who closes it. */
const KEEP_ALIVE = 90_000;

/**
 * Serves the distribution API (distribution-spec v1.1.1) until it is closed. Resolves when it listens; fails with `DENIED` or
 * `REGISTRY` where it cannot, and with a `TypeError` where a limit is no positive integer. There is no authentication:
 * whoever can reach the address can read, and write unless `readonly` is set.
 */
export async function serve(options: ServeOptions): Promise<RunningServer> {
  const limits = completeLimits(options.limits);
  const registry: Registry = {
    store: options.store,
    limits,
    uploads: new Uploads(limits),
    readonly: options.readonly ?? false,
    sparse: options.sparse ?? false,
  };
  const running = new Set<Exchange>();
  let closing: Promise<void> | undefined;
  const server = createServer({
    maxHeaderSize: limits.headerSize,
    headersTimeout: limits.stall,
    // A large blob takes as long as it takes; who stalls is cut off by the time-out of the socket.
    requestTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE,
    highWaterMark: 512 * 1024,
    noDelay: true,
  });
  server.maxConnections = limits.connections;
  cutStalledClients(server, limits.stall, running);
  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    const exchange = new Exchange(request, response);
    running.add(exchange);
    if (closing !== undefined) response.shouldKeepAlive = false;
    response.once("close", () => {
      running.delete(exchange);
      // After its answer a connection would stay open for the next request.
      if (closing !== undefined) server.closeIdleConnections();
    });
    void handle(exchange, registry, options.onError);
  });
  await listen(server, options.host ?? "127.0.0.1", options.port ?? 0);
  const { address, family, port } = server.address() as AddressInfo;
  return {
    url: `http://${family === "IPv6" ? `[${address}]` : address}:${port}`,
    host: address,
    port,
    close: () => (closing ??= close(server, registry)),
  };
}

async function handle(exchange: Exchange, registry: Registry, onError: ServeOptions["onError"]): Promise<void> {
  exchange.response.setHeader("Docker-Distribution-Api-Version", "registry/2.0");
  exchange.response.setHeader("X-Content-Type-Options", "nosniff");
  try {
    await answer(exchange, registry);
  } catch (error) {
    if (exchange.gone) return;
    const refusal = refusalOf(error);
    if (refusal.status >= 500) onError?.(error, `${exchange.method} ${exchange.path}`);
    if (!exchange.response.headersSent) exchange.sendJson(refusal.status, refusal, refusal.headers);
  }
}

/** Closes connections on which nothing moves although it is the client's turn. Others may be quiet: the store may be busy. */
function cutStalledClients(server: Server, stall: number, running: ReadonlySet<Exchange>): void {
  server.setTimeout(stall, (socket: Socket) => {
    const current = [...running].filter((exchange) => exchange.request.socket === socket);
    if (current.some((exchange) => !exchange.waitsForClient)) socket.setTimeout(stall);
    else socket.destroy();
  });
}

async function listen(server: Server, host: string, port: number): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(port, host, () => {
        server.off("error", reject);
        resolve();
      });
    });
  } catch (error) {
    throw systemError(error, `cannot listen on ${host} port ${port}`);
  }
}

async function close(server: Server, registry: Registry): Promise<void> {
  await new Promise<void>((resolve) => server.close(() => resolve()));
  await registry.uploads.close();
}
