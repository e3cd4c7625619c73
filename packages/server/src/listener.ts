import { createServer, type IncomingMessage, type Server, type ServerOptions, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { OciError, systemError } from "@stowage/layout";
import type { Answer } from "./answer.js";
import { refusalAnswer, refusalOf } from "./errors.js";
import { Exchange } from "./exchange.js";
import { ConnectionCut } from "./layer.js";
import type { Limits } from "./limits.js";

/** A certificate, with those that lead to an authority, and its private key, both as PEM. */
export interface Tls {
  readonly cert: string | Uint8Array;
  readonly key: string | Uint8Array;
}

/** The options of {@link openListener}. */
export interface ListenerOptions {
  readonly host: string;
  readonly port: number;
  readonly limits: Limits;
  readonly tls?: Tls | undefined;
  /** Told of each request when it comes. */
  readonly onRequest?: (exchange: Exchange) => void;
  /** Told of each request when its answer is through, or its connection has broken. */
  readonly onEnd?: (exchange: Exchange) => void;
  /** Answers a request, or fails with {@link ConnectionCut}. */
  readonly answer: (exchange: Exchange) => Promise<Answer>;
  /** Told of what failed while an answer was on its way. */
  readonly onError: (error: unknown, exchange: Exchange) => void;
}

/** A port that is open. */
export interface Listener {
  /** `http://HOST:PORT` or, with a certificate, `https://HOST:PORT`; without a path. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  /** Takes no more connections and lets running requests finish. A second call waits for the first. */
  close(): Promise<void>;
}

/** How long a connection may wait for its next request, in ms. Longer than clients keep one, so that they are who closes it. */
const KEEP_ALIVE = 90_000;

/** Opens a port. Fails with `DENIED` or `REGISTRY` where it cannot. */
export async function openListener(options: ListenerOptions): Promise<Listener> {
  const { limits } = options;
  const running = new Set<Exchange>();
  let closing: Promise<void> | undefined;
  const settings: ServerOptions = {
    maxHeaderSize: limits.headerSize,
    headersTimeout: limits.stall,
    // A large blob takes as long as it takes; who stalls is cut off by the time-out of the socket.
    requestTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE,
    highWaterMark: 512 * 1024,
    noDelay: true,
  };
  const server = options.tls === undefined ? createServer(settings) : openTls(settings, options.tls);
  server.maxConnections = limits.connections;
  cutStalledClients(server, limits.stall, running);
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      // Node waits for a connection on which no request has come yet.
      const busy = new Set([...running].map(({ request }) => request.socket));
      for (const socket of sockets) if (!busy.has(socket)) socket.destroy();
    });
  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    const exchange = new Exchange(request, response);
    running.add(exchange);
    options.onRequest?.(exchange);
    if (closing !== undefined) response.shouldKeepAlive = false;
    // The only listener of its own that a request gets: they are not cheap.
    response.on("close", () => {
      exchange.end();
      running.delete(exchange);
      options.onEnd?.(exchange);
      // After its answer a connection would stay open for the next request.
      if (closing !== undefined) server.closeIdleConnections();
    });
    void reply(exchange, options);
  });
  await listen(server, options.host, options.port);
  const { address, family, port } = server.address() as AddressInfo;
  return {
    url: `${options.tls === undefined ? "http" : "https"}://${family === "IPv6" ? `[${address}]` : address}:${port}`,
    host: address,
    port,
    close: () => (closing ??= close()),
  };
}

function openTls(settings: ServerOptions, { cert, key }: Tls): Server {
  try {
    return createTlsServer({
      ...settings,
      handshakeTimeout: settings.headersTimeout ?? 60_000,
      cert: pem(cert),
      key: pem(key),
    });
  } catch (error) {
    // What OpenSSL says names no part of the key.
    const reason = error instanceof Error ? error.message : String(error);
    throw new OciError("INVALID", `the certificate and its key cannot be used: ${reason}`);
  }
}

function pem(value: string | Uint8Array): string | Buffer {
  return typeof value === "string" ? value : Buffer.from(value);
}

async function reply(exchange: Exchange, options: ListenerOptions): Promise<void> {
  try {
    await exchange.send(await options.answer(exchange));
  } catch (error) {
    if (error instanceof ConnectionCut) return exchange.cut();
    if (!exchange.gone) options.onError(error, exchange);
    if (!exchange.response.headersSent) await exchange.send(refusalAnswer(refusalOf(error)));
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
