import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { systemError } from "@stowage/layout";
import type { BinaryCache, CacheFile } from "./binary-cache.js";

/** The options of {@link serveCache}. */
export interface ServeCacheOptions {
  /** The address to listen on. Default: 127.0.0.1, where only this machine reaches it. */
  readonly host?: string;
  /** The port to listen on; 0, the default, is any that is free. */
  readonly port?: number;
  /** Told of each failure that is this side's fault, with the request line. */
  readonly onError?: (error: unknown, request: string) => void;
  /** Told of each request that was answered. */
  readonly onRequest?: (method: string, path: string, status: number) => void;
}

/** A cache that is listening. */
export interface RunningCache {
  /** `http://HOST:PORT`, for `--substituters`. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  /** Takes no more connections and lets running requests finish. A second call waits for the first. */
  close(): Promise<void>;
}

/** A connection on which nothing moves is closed, in ms. */
const STALL = 120_000;
const MAXIMUM_CONNECTIONS = 512;
const MAXIMUM_HEADER = 16 * 1024;

/**
 * Serves a binary cache over HTTP, read-only, until it is closed. Resolves when it listens; fails with `DENIED` or `REGISTRY`
 * where it cannot. A NAR that turns out not to be what its narinfo says is cut off before its end.
 */
export async function serveCache(cache: BinaryCache, options: ServeCacheOptions = {}): Promise<RunningCache> {
  const server = createServer({ maxHeaderSize: MAXIMUM_HEADER, headersTimeout: STALL, requestTimeout: STALL });
  server.maxConnections = MAXIMUM_CONNECTIONS;
  server.setTimeout(STALL);
  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    void answer(cache, request, response, options);
  });
  const host = options.host ?? "127.0.0.1";
  await listen(server, host, options.port ?? 0);
  const { address, family, port } = server.address() as AddressInfo;
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeIdleConnections();
    });
  return {
    url: `http://${family === "IPv6" ? `[${address}]` : address}:${port}`,
    host: address,
    port,
    close: () => (closing ??= close()),
  };
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

async function answer(
  cache: BinaryCache,
  request: IncomingMessage,
  response: ServerResponse,
  options: ServeCacheOptions,
): Promise<void> {
  const { method = "GET", url = "/" } = request;
  const path = url.replace(/[?#].*$/s, "");
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  request.resume();
  const end = (status: number, headers: Record<string, string | number> = {}): void => {
    response.writeHead(status, { "content-length": 0, ...headers }).end();
  };
  try {
    if (method !== "GET" && method !== "HEAD") end(405, { allow: "GET, HEAD" });
    else {
      const file = await cache.file(path, { signal: gone.signal });
      if (file === undefined) end(404);
      else await send(file, method, response);
    }
  } catch (error) {
    if (!gone.signal.aborted) options.onError?.(error, `${method} ${path}`);
    if (response.headersSent) response.destroy();
    else end(500);
  }
  options.onRequest?.(method, path, response.statusCode);
}

async function send(file: CacheFile, method: string, response: ServerResponse): Promise<void> {
  const headers = { "content-type": file.mediaType, "content-length": file.size };
  if (method === "HEAD") {
    response.writeHead(200, headers).end();
    return;
  }
  const bytes = file.open();
  const chunks = Symbol.asyncIterator in bytes ? bytes[Symbol.asyncIterator]() : bytes[Symbol.iterator]();
  // What cannot be read at all is answered with 500.
  const first = await chunks.next();
  response.writeHead(200, headers);
  async function* all(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for (let next = first; next.done !== true; next = await chunks.next()) yield next.value;
    } finally {
      await chunks.return?.();
    }
  }
  await pipeline(Readable.from(all(), { objectMode: true, highWaterMark: 1 }), response);
}
