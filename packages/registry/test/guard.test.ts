import type { LookupFunction } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { Guard, TooNear } from "../src/http/guard.js";
import { type ClientOptions, RegistryClient } from "../src/index.js";
import { Transport } from "../src/transport.js";
import { blobOf, failure, text } from "./support/artifacts.js";
import { closeServers, sendJson, serve } from "./support/server.js";

const clients: RegistryClient[] = [];
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await closeServers();
});

function repository(host: string, options: ClientOptions) {
  const client = new RegistryClient({ credentials: false, environment: {}, tries: 1, ...options });
  clients.push(client);
  return client.repository(`${host}/some/repo`);
}

/** Names that stand for these addresses, one after the other; the last stays. */
function names(addresses: Readonly<Record<string, readonly string[]>>) {
  const asked: string[] = [];
  const lookup: LookupFunction = (hostname, _options, callback) => {
    const all = addresses[hostname] ?? ["127.0.0.1"];
    const address = all[Math.min(asked.filter((name) => name === hostname).length, all.length - 1)] as string;
    asked.push(hostname);
    callback(
      null,
      address.split(",").map((one) => ({ address: one, family: one.includes(":") ? 6 : 4 })),
    );
  };
  return { lookup, asked };
}

const content = blobOf("content");

describe("a guarded look-up", () => {
  const ask = (guard: Guard, source: "public" | "private" | "loopback" | undefined) =>
    new Promise<unknown>((resolve) =>
      guard.lookup("https://moving.test", source)("moving.test", { all: true }, (error, found) =>
        resolve(error ?? found),
      ),
    );

  it("leaves out addresses that are too near, and fails where none is left", async () => {
    const both = new Guard(names({ "moving.test": ["127.0.0.1,8.8.8.8,::1"] }).lookup);
    expect(await ask(both, "public")).toEqual([{ address: "8.8.8.8", family: 4 }]);
    expect(await ask(both, undefined)).toHaveLength(3);
    for (const address of ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fd00::1"]) {
      const guard = new Guard(names({ "moving.test": [address] }).lookup);
      expect([address, await ask(guard, "public")]).toEqual([address, expect.any(TooNear)]);
    }
    expect(await ask(new Guard(names({ "moving.test": ["169.254.169.254"] }).lookup), "loopback")).toBeInstanceOf(
      TooNear,
    );
    expect(await ask(new Guard(names({ "moving.test": ["10.0.0.7"] }).lookup), "private")).toHaveLength(1);
  });
});

describe("a name that stands for another address when it is connected to", () => {
  it("is not followed in a redirect", async () => {
    const { lookup, asked } = names({ "moving.test": ["169.254.169.254"] });
    const registry = await serve((_, response) =>
      response.writeHead(307, { location: "http://moving.test:9/x" }).end(),
    );
    const error = await failure(text(repository(registry.host, { lookup }).fetch(content.descriptor)));
    expect(error).toMatchObject({ code: "DENIED", message: expect.stringContaining("link-local address") });
    expect(error.message).toContain("moving.test:9");
    expect(asked).toEqual(["moving.test"]);
  });

  it("is not followed in the Location of an upload", async () => {
    const { lookup } = names({ "moving.test": ["169.254.169.254"] });
    const registry = await serve((request, response) =>
      request.method === "POST"
        ? response.writeHead(202, { location: "http://moving.test:9/upload" }).end()
        : response.writeHead(404).end(),
    );
    const error = await failure(repository(registry.host, { lookup }).push(content));
    expect(error).toMatchObject({ code: "DENIED" });
  });

  it("is not asked for a token", async () => {
    const { lookup } = names({ "moving.test": ["169.254.169.254"] });
    const registry = await serve((_, response) =>
      response.writeHead(401, { "www-authenticate": 'Bearer realm="http://moving.test:9/token"' }).end(),
    );
    const error = await failure(repository(registry.host, { lookup }).has(content.descriptor));
    expect(error).toMatchObject({ code: "DENIED" });
  });

  it("is not gone on with where it was farther away before", async () => {
    const server = await serve((_, response) => response.writeHead(404, { connection: "close" }).end());
    const { lookup } = names({ "moving.test": ["127.0.0.1", "169.254.169.254"] });
    const target = repository(`moving.test:${server.port}`, { lookup, plainHttp: true });
    expect(await target.has(content.descriptor)).toBe(false);
    const error = await failure(target.has(content.descriptor));
    expect(error).toMatchObject({ code: "DENIED", message: expect.stringContaining("moving.test") });
    expect(server.received).toHaveLength(1);
  });

  it("is reached where the user named it, or a neighbour did", async () => {
    const { lookup } = names({});
    const store = await serve((_, response) => response.end("content"));
    const registry = await serve((_, response) =>
      response.writeHead(307, { location: `http://near.test:${store.port}/blob` }).end(),
    );
    const target = repository(`near.test:${registry.port}`, { lookup, plainHttp: true });
    expect(await text(target.fetch(content.descriptor))).toBe("content");
  });
});

describe("hosts that are allowed by hand", () => {
  it("may be led to from farther away, and no others", async () => {
    const store = await serve((_, response) => response.end("content"));
    const request = {
      action: "cannot look",
      method: "GET",
      url: new URL(store.url),
      namedBy: new URL("https://8.8.8.8"),
    } as const;
    const [careful, trusting] = [
      new Transport({ environment: {} }),
      new Transport({ environment: {}, internalHosts: [store.host] }),
    ];
    await expect(careful.exchange(request)).rejects.toMatchObject({
      code: "DENIED",
      message: expect.stringContaining("8.8.8.8"),
    });
    // Nor is a connection used that somebody may use who is nearer.
    const named = await careful.exchange({ ...request, namedBy: undefined });
    await named.discard();
    await expect(careful.exchange(request)).rejects.toMatchObject({ code: "DENIED" });
    const answer = await trusting.exchange(request);
    expect(answer.status).toBe(200);
    await answer.discard();
    await Promise.all([careful.close(), trusting.close()]);
    expect(store.received).toHaveLength(2);
  });

  it("may be the token server of a registry that is farther away", async () => {
    const tokens = await serve((_, response) => sendJson(response, 200, { token: "t" }));
    const { checkRealm } = await import("../src/auth/realm.js");
    const request = {
      registry: new URL("http://203.0.113.1"),
      realm: `${tokens.url}/token`,
      withCredentials: false,
      trusted: [],
    };
    await expect(checkRealm(request)).rejects.toMatchObject({ code: "DENIED" });
    expect((await checkRealm({ ...request, internal: [tokens.host] })).href).toBe(`${tokens.url}/token`);
  });
});
