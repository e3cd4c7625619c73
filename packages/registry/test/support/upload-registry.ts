import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { sendError, serve, type TestServer } from "./server.js";

/** What arrived in one session. */
export interface Session {
  bytes: Buffer;
}

/** A registry that takes blobs in pieces and keeps what it got when a connection breaks off. */
export interface UploadRegistry extends TestServer {
  readonly blobs: Map<string, Buffer>;
  readonly sessions: Map<string, Session>;
  /** `METHOD` and the Content-Range, in order, without the requests for sessions and manifests. */
  readonly transfers: string[];
}

/** The faults of an {@link UploadRegistry}. */
export interface UploadFaults {
  /** The connection breaks when this many bytes of one request have arrived. */
  readonly cutEvery?: number;
  /** How many connections break. Default: all. */
  readonly cuts?: number;
  /** What arrived before a cut is forgotten. */
  readonly forgets?: boolean;
  /** Sees each request first. Returns true where it answered, or broke the connection. */
  readonly intercept?: (
    request: IncomingMessage,
    response: ServerResponse,
    registry: UploadRegistry,
  ) => boolean | undefined | Promise<boolean | undefined>;
  /** The value of OCI-Chunk-Min-Length. */
  readonly minimumChunk?: number;
}

/** Starts it. */
export async function serveUploads(faults: UploadFaults = {}): Promise<UploadRegistry> {
  const blobs = new Map<string, Buffer>();
  const sessions = new Map<string, Session>();
  const transfers: string[] = [];
  let cutsLeft = faults.cuts ?? Number.POSITIVE_INFINITY;
  let count = 0;
  const place = (id: string): Record<string, string> => {
    const size = sessions.get(id)?.bytes.byteLength ?? 0;
    return { location: `/v2/some/repo/blobs/uploads/${id}?at=${size}`, range: `0-${Math.max(0, size - 1)}` };
  };
  const server = await serve(async (request, response) => {
    const url = new URL(request.url ?? "", "http://registry.invalid");
    const id = /\/uploads\/([^/]+)$/.exec(url.pathname)?.[1] ?? "";
    if (id !== "" && request.method !== "DELETE")
      transfers.push(`${request.method} ${request.headers["content-range"] ?? ""}`.trim());
    if ((await faults.intercept?.(request, response, registry)) === true) return;
    if (request.method === "HEAD") {
      const blob = blobs.get(url.pathname.split("/").at(-1) as string);
      response.writeHead(blob === undefined ? 404 : 200, { "content-length": String(blob?.byteLength ?? 0) }).end();
      return;
    }
    if (request.method === "POST") {
      sessions.set(String(++count), { bytes: Buffer.alloc(0) });
      const { location } = place(String(count));
      const minimum: Record<string, string> =
        faults.minimumChunk === undefined ? {} : { "oci-chunk-min-length": String(faults.minimumChunk) };
      response.writeHead(202, { location: location as string, ...minimum }).end();
      return;
    }
    const session = sessions.get(id);
    if (session === undefined) return sendError(response, 404, "BLOB_UPLOAD_UNKNOWN");
    if (request.method === "GET") {
      response.writeHead(204, place(id)).end();
      return;
    }
    if (request.method === "DELETE") {
      sessions.delete(id);
      response.writeHead(204).end();
      return;
    }
    const start = /^(\d+)-\d+$/.exec(request.headers["content-range"] ?? "")?.[1];
    if (start !== undefined && Number(start) !== session.bytes.byteLength) {
      request.resume();
      response.writeHead(416, place(id)).end();
      return;
    }
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of request as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      size += chunk.byteLength;
      if (faults.cutEvery === undefined || size < faults.cutEvery || cutsLeft <= 0) continue;
      cutsLeft--;
      if (faults.forgets !== true) session.bytes = Buffer.concat([session.bytes, ...chunks]);
      request.socket.destroy();
      return;
    }
    session.bytes = Buffer.concat([session.bytes, ...chunks]);
    if (request.method === "PATCH") {
      response.writeHead(202, place(id)).end();
      return;
    }
    const digest = url.searchParams.get("digest") ?? "";
    const algorithm = digest.slice(0, digest.indexOf(":"));
    if (digest !== `${algorithm}:${createHash(algorithm).update(session.bytes).digest("hex")}`)
      return sendError(response, 400, "DIGEST_INVALID");
    sessions.delete(id);
    blobs.set(digest, session.bytes);
    response.writeHead(201, { "docker-content-digest": digest }).end();
  });
  const registry: UploadRegistry = Object.assign(server, { blobs, sessions, transfers });
  return registry;
}
