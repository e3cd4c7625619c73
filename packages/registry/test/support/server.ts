import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";

/** A request as it arrived. */
export interface Received {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
}

/** A real HTTP server on a free port of 127.0.0.1. */
export interface TestServer {
  readonly port: number;
  /** `127.0.0.1:PORT` */
  readonly host: string;
  readonly url: string;
  /** All requests so far, in order of arrival. */
  readonly received: Received[];
  close(): Promise<void>;
}

export type Handler = (request: IncomingMessage, response: ServerResponse, body: () => Promise<Buffer>) => unknown;

const open = new Set<TestServer>();

/** Starts a server that answers with `handler`. A handler that fails breaks the connection. */
export async function serve(handler: Handler): Promise<TestServer> {
  const received: Received[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((request, response) => {
    received.push({ method: request.method ?? "", path: request.url ?? "", headers: request.headers });
    const body = async (): Promise<Buffer> => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      return Buffer.concat(chunks);
    };
    Promise.resolve(handler(request, response, body)).catch(() => request.socket.destroy());
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const result: TestServer = {
    port,
    host: `127.0.0.1:${port}`,
    url: `http://127.0.0.1:${port}`,
    received,
    close: async () => {
      open.delete(result);
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  open.add(result);
  return result;
}

/** Stops all servers that were started. For `afterEach`. */
export async function closeServers(): Promise<void> {
  await Promise.all([...open].map((server) => server.close()));
}

/** Answers with JSON. */
export function sendJson(
  response: ServerResponse,
  status: number,
  value: unknown,
  headers: Record<string, string> = {},
): void {
  const bytes = Buffer.from(JSON.stringify(value));
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": String(bytes.byteLength),
    ...headers,
  });
  response.end(bytes);
}

/** Answers with an error as registries do. */
export function sendError(response: ServerResponse, status: number, code: string, message = code.toLowerCase()): void {
  sendJson(response, status, { errors: [{ code, message }] });
}
