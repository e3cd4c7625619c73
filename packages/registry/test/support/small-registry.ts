import { createHash, randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { sendError, sendJson, serve, type TestServer } from "./server.js";

/** A small registry in this process, to which faults are added. */
export interface SmallRegistry extends TestServer {
  /** Blobs by `repository digest`. */
  readonly blobs: Map<string, Buffer>;
  /** Manifests by `repository tag-or-digest`. */
  readonly manifests: Map<string, { type: string; bytes: Buffer }>;
  /** Sessions that are open. */
  readonly uploads: Map<string, string>;
}

/** What a {@link SmallRegistry} does besides. */
export interface SmallRegistryOptions {
  /** Sees each request first. Returns true where it answered, or broke the connection. */
  readonly intercept?: (
    request: IncomingMessage,
    response: ServerResponse,
    registry: SmallRegistry,
  ) => boolean | undefined | Promise<boolean | undefined>;
  /** `works`: lists referrers and says OCI-Subject; `lies`: says OCI-Subject only; default: neither. */
  readonly referrers?: "works" | "lies";
  /** Honour If-Match and answer with ETag. */
  readonly etags?: boolean;
}

const INDEX = "application/vnd.oci.image.index.v1+json";

const digestOf = (bytes: Buffer): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** Starts a registry that keeps everything in memory and implements what the tests need. */
export async function serveRegistry(options: SmallRegistryOptions = {}): Promise<SmallRegistry> {
  const blobs = new Map<string, Buffer>();
  const manifests = new Map<string, { type: string; bytes: Buffer }>();
  const uploads = new Map<string, string>();
  const server = await serve(async (request, response, body) => {
    if ((await options.intercept?.(request, response, registry)) === true) return;
    const url = new URL(request.url ?? "", "http://registry.invalid");
    const [, repository = "", kind = "", rest = ""] =
      /^\/v2\/(.+)\/(blobs|manifests|tags|referrers)\/(.*)$/.exec(url.pathname) ?? [];
    const at = { repository, rest, url, request, response, body };
    if (kind === "blobs") await (rest.startsWith("uploads/") ? upload(at) : blob(at));
    else if (kind === "manifests") await manifest(at);
    else if (kind === "tags") tags(at);
    else if (kind === "referrers" && options.referrers === "works") referrers(at);
    else sendError(response, 404, "NOT_FOUND");
  });
  const registry: SmallRegistry = Object.assign(server, { blobs, manifests, uploads });
  return registry;

  interface At {
    repository: string;
    rest: string;
    url: URL;
    request: IncomingMessage;
    response: ServerResponse;
    body: () => Promise<Buffer>;
  }

  function blob({ repository, rest, request, response }: At): void {
    const bytes = blobs.get(`${repository} ${rest}`);
    if (bytes === undefined) {
      sendError(response, 404, "BLOB_UNKNOWN");
      return;
    }
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? "0");
    const headers: Record<string, string> = {
      "content-type": "application/octet-stream",
      "docker-content-digest": rest,
      "content-length": String(bytes.byteLength - from),
    };
    if (from > 0) headers["content-range"] = `bytes ${from}-${bytes.byteLength - 1}/${bytes.byteLength}`;
    response.writeHead(from > 0 ? 206 : 200, headers);
    response.end(request.method === "HEAD" ? undefined : bytes.subarray(from));
  }

  async function upload({ repository, rest, url, request, response, body }: At): Promise<void> {
    if (request.method === "POST") {
      const mounted = blobs.get(`${url.searchParams.get("from")} ${url.searchParams.get("mount")}`);
      if (mounted !== undefined) {
        blobs.set(`${repository} ${url.searchParams.get("mount")}`, mounted);
        response.writeHead(201, { location: `/v2/${repository}/blobs/${url.searchParams.get("mount")}` }).end();
        return;
      }
      const id = randomUUID();
      uploads.set(id, repository);
      response.writeHead(202, { location: `/v2/${repository}/blobs/uploads/${id}?state=a%2Bb~` }).end();
      return;
    }
    const id = rest.slice("uploads/".length);
    if (uploads.get(id) !== repository) return sendError(response, 404, "BLOB_UPLOAD_UNKNOWN");
    if (request.method === "DELETE") {
      uploads.delete(id);
      response.writeHead(204).end();
      return;
    }
    const bytes = await body();
    const digest = url.searchParams.get("digest") ?? "";
    if (digestOf(bytes) !== digest) return sendError(response, 400, "DIGEST_INVALID");
    uploads.delete(id);
    blobs.set(`${repository} ${digest}`, bytes);
    response.writeHead(201, { location: `/v2/${repository}/blobs/${digest}`, "docker-content-digest": digest }).end();
  }

  async function manifest({ repository, rest, request, response, body }: At): Promise<void> {
    const key = `${repository} ${rest}`;
    const found = manifests.get(key);
    if (request.method === "PUT") {
      const bytes = await body();
      const digest = digestOf(bytes);
      if (rest.startsWith("sha256:") && rest !== digest) return sendError(response, 400, "DIGEST_INVALID");
      const condition = request.headers["if-match"];
      if (options.etags && condition !== undefined && condition !== (found && `"${digestOf(found.bytes)}"`)) {
        return sendError(response, 412, "PRECONDITION_FAILED");
      }
      const stored = { type: request.headers["content-type"] ?? "", bytes };
      manifests.set(key, stored);
      manifests.set(`${repository} ${digest}`, stored);
      const subject = (JSON.parse(bytes.toString()) as { subject?: { digest: string } }).subject?.digest;
      response
        .writeHead(201, {
          location: `/v2/${repository}/manifests/${digest}`,
          "docker-content-digest": digest,
          ...(subject !== undefined && options.referrers !== undefined ? { "oci-subject": subject } : {}),
        })
        .end();
      return;
    }
    if (found === undefined) return sendError(response, 404, "MANIFEST_UNKNOWN");
    if (request.method === "DELETE") {
      manifests.delete(key);
      response.writeHead(202).end();
      return;
    }
    response.writeHead(200, {
      "content-type": found.type,
      "content-length": String(found.bytes.byteLength),
      "docker-content-digest": digestOf(found.bytes),
      ...(options.etags ? { etag: `"${digestOf(found.bytes)}"` } : {}),
    });
    response.end(request.method === "HEAD" ? undefined : found.bytes);
  }

  function tags({ repository, response }: At): void {
    const names = [...manifests.keys()].map((key) => key.split(" ") as [string, string]);
    const found = names.filter(([name, tag]) => name === repository && !tag.includes(":")).map(([, tag]) => tag);
    if (names.every(([name]) => name !== repository)) sendError(response, 404, "NAME_UNKNOWN");
    else sendJson(response, 200, { name: repository, tags: found });
  }

  function referrers({ repository, rest, response }: At): void {
    const found = [...manifests].flatMap(([key, { type, bytes }]) => {
      const value = JSON.parse(bytes.toString()) as { subject?: { digest: string } };
      const isOurs = key.startsWith(`${repository} sha256:`) && value.subject?.digest === rest;
      return isOurs ? [{ mediaType: type, digest: digestOf(bytes), size: bytes.byteLength }] : [];
    });
    sendJson(response, 200, { schemaVersion: 2, mediaType: INDEX, manifests: found }, { "content-type": INDEX });
  }
}
