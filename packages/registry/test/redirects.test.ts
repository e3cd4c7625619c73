import { afterEach, describe, expect, it } from "vitest";
import { type ClientOptions, RegistryClient } from "../src/index.js";
import { blobOf, failure, manifestOf, text } from "./support/artifacts.js";
import { closeServers, serve } from "./support/server.js";

const clients: RegistryClient[] = [];

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await closeServers();
});

function repository(host: string, options: ClientOptions = {}) {
  const client = new RegistryClient({
    credentials: { username: "alice", password: "s3cret" },
    environment: {},
    tries: 1,
    ...options,
  });
  clients.push(client);
  return client.repository(`${host}/some/repo`);
}

/** Asks for Basic credentials, then redirects. */
const guarded = (location: (path: string) => string) =>
  serve((request, response) => {
    if (request.headers.authorization === undefined)
      response.writeHead(401, { "www-authenticate": 'Basic realm="r"' }).end();
    else response.writeHead(307, { location: location(request.url ?? "") }).end("redirected");
  });

const content = blobOf("content");

describe("a redirect", () => {
  it("to another origin takes no credential, cookie or custom header along", async () => {
    const elsewhere = await serve((_, response) => response.end("content"));
    const registry = await guarded((path) => `${elsewhere.url}/cdn${path}?X-Signature=abc`);
    const target = repository(registry.host, { headers: { "x-tenant": "acme" } });
    expect(await text(target.fetch(content.descriptor))).toBe("content");
    expect(registry.received.every(({ headers }) => headers["x-tenant"] === "acme")).toBe(true);
    expect(elsewhere.received).toHaveLength(1);
    expect(Object.keys(elsewhere.received[0]?.headers ?? {}).sort()).toEqual([
      "accept",
      "accept-encoding",
      "connection",
      "host",
      "user-agent",
    ]);
  });

  it("within the origin keeps the credentials", async () => {
    const registry = await serve((request, response) => {
      if (request.headers.authorization === undefined)
        response.writeHead(401, { "www-authenticate": 'Basic realm="r"' }).end();
      else if (request.url === "/moved") response.end("content");
      else response.writeHead(308, { location: "/moved" }).end();
    });
    expect(await text(repository(registry.host).fetch(content.descriptor))).toBe("content");
  });

  it.each(["X-Amz-Signature=ab", "sv=1&sig=ab", "X-Goog-Signature=ab", "Expires=1&Signature=ab&Key-Pair-Id=c"])(
    "to a URL that is signed shows nothing else, also within the origin: %s",
    async (query) => {
      const registry = await serve((request, response) => {
        if (request.url?.startsWith("/store")) response.end("content");
        else if (request.headers.authorization === undefined)
          response.writeHead(401, { "www-authenticate": 'Basic realm="r"' }).end();
        else response.writeHead(307, { location: `/store?${query}` }).end();
      });
      expect(await text(repository(registry.host).fetch(content.descriptor))).toBe("content");
      expect(registry.received.at(-1)).toMatchObject({ path: `/store?${query}` });
      expect(registry.received.at(-1)?.headers.authorization).toBeUndefined();
    },
  );

  it("back from another origin does not bring the credentials back", async () => {
    const registry = await serve((request, response) => {
      if (request.url?.startsWith("/back")) response.end("content");
      else if (request.headers.authorization === undefined)
        response.writeHead(401, { "www-authenticate": 'Basic realm="r"' }).end();
      else response.writeHead(307, { location: `${elsewhere.url}/x` }).end();
    });
    const elsewhere = await serve((_, response) => response.writeHead(307, { location: `${registry.url}/back` }).end());
    expect(await text(repository(registry.host).fetch(content.descriptor))).toBe("content");
    expect(registry.received.at(-1)).toMatchObject({ path: "/back" });
    expect(registry.received.at(-1)?.headers.authorization).toBeUndefined();
  });

  it("to an origin that asks for credentials gets none", async () => {
    const elsewhere = await serve((_, response) =>
      response.writeHead(401, { "www-authenticate": 'Basic realm="give"' }).end(),
    );
    const registry = await guarded((path) => `${elsewhere.url}${path}`);
    await expect(text(repository(registry.host).fetch(content.descriptor))).rejects.toMatchObject({
      code: "UNAUTHORIZED",
    });
    expect(elsewhere.received.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });

  it("to an origin that names a token server does not make us ask it", async () => {
    const elsewhere = await serve((_, response) =>
      response.writeHead(401, { "www-authenticate": `Bearer realm="${elsewhere.url}/token"` }).end(),
    );
    const registry = await guarded((path) => `${elsewhere.url}${path}`);
    await expect(text(repository(registry.host).fetch(content.descriptor))).rejects.toMatchObject({
      code: "UNAUTHORIZED",
    });
    expect(elsewhere.received.map(({ path }) => path)).not.toContain("/token");
  });

  it("that never ends is given up", async () => {
    const registry = await serve((request, response) => response.writeHead(302, { location: `${request.url}x` }).end());
    const error = await failure(text(repository(registry.host).fetch(content.descriptor)));
    expect(error.message).toContain("redirects more than");
    expect(registry.received.length).toBeLessThan(15);
  });

  it("to this link, where clouds keep their secrets, is refused", async () => {
    const registry = await serve((_, response) =>
      response.writeHead(302, { location: "http://169.254.169.254/latest/meta-data" }).end(),
    );
    await expect(text(repository(registry.host).fetch(content.descriptor))).rejects.toMatchObject({
      code: "DENIED",
      message: expect.stringContaining("link-local address"),
    });
  });

  it("of a write is followed with its body where it is 307, and refused where it is 302", async () => {
    const bodies: string[] = [];
    const registry = await serve(async (request, response, body) => {
      if (request.method !== "PUT") return response.writeHead(404).end();
      if (request.url === "/moved") {
        bodies.push((await body()).toString());
        return response.writeHead(201).end();
      }
      return response.writeHead(status, { location: "/moved" }).end();
    });
    const manifest = manifestOf([]);
    let status = 307;
    await repository(registry.host).push(manifest);
    expect(bodies).toHaveLength(1);
    status = 302;
    await expect(repository(registry.host).push(manifest)).rejects.toMatchObject({
      code: "REGISTRY",
      message: expect.stringContaining("cannot be followed"),
    });
    expect(bodies).toHaveLength(1);
  });

  it("appears in no message with the signature of its URL", async () => {
    const elsewhere = await serve((_, response) => response.writeHead(403).end());
    const registry = await guarded(() => `${elsewhere.url}/blob?X-Amz-Signature=topsecret&X-Amz-Credential=topsecret`);
    const error = await failure(text(repository(registry.host).fetch(content.descriptor)));
    expect(error).toMatchObject({
      code: "DENIED",
      url: `${elsewhere.url}/blob?X-Amz-Signature=...&X-Amz-Credential=...`,
    });
    expect(JSON.stringify(error) + error.message + error.stack).not.toContain("topsecret");
  });
});
