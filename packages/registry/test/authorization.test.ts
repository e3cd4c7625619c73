import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { type ClientOptions, type Credentials, RegistryClient } from "../src/index.js";
import { blobOf, emptyBlob, failure, manifestOf, text } from "./support/artifacts.js";
import { closeServers, type Handler, sendError, sendJson, serve, type TestServer } from "./support/server.js";
import { type SmallRegistry, serveRegistry } from "./support/small-registry.js";

const clients: RegistryClient[] = [];

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await closeServers();
});

function client(options: ClientOptions = {}): RegistryClient {
  const made = new RegistryClient({ credentials: false, environment: {}, tries: 2, retryDelay: 1, ...options });
  clients.push(made);
  return made;
}

const alice = { username: "alice", password: "s3cret" };
const basic = (name: string, password: string) => `Basic ${Buffer.from(`${name}:${password}`).toString("base64")}`;
const content = blobOf("content");

/** A registry that takes tokens of the form `token:SCOPES` that its token server at `/token` hands out. */
async function serveWithTokens(
  options: {
    readonly realm?: (registry: TestServer) => string;
    readonly service?: string;
    readonly scope?: string;
    readonly token?: Handler;
    readonly isGood?: (token: string) => boolean;
  } = {},
): Promise<SmallRegistry & { tokenRequests(): URL[] }> {
  const registry: SmallRegistry = await serveRegistry({
    intercept: async (request, response) => {
      const url = new URL(request.url ?? "", "http://x");
      if (url.pathname === "/token") {
        if (options.token !== undefined) await options.token(request, response, async () => Buffer.alloc(0));
        else sendJson(response, 200, { token: `token:${url.searchParams.getAll("scope").join(";")}`, expires_in: 300 });
        return true;
      }
      const [, repository] = /^\/v2\/(.+?)\/(?:blobs|manifests|tags|referrers)\//.exec(url.pathname) ?? [];
      const action =
        request.method === "GET" || request.method === "HEAD"
          ? "pull"
          : request.method === "DELETE"
            ? "delete"
            : "push";
      const token = /^Bearer (.*)$/.exec(request.headers.authorization ?? "")?.[1] ?? "";
      const granted = token
        .split(";")
        .some((scope) => scope.replace("token:", "").startsWith(`repository:${repository}:`) && scope.includes(action));
      if (options.isGood === undefined ? granted : options.isGood(token)) return false;
      const realm = options.realm?.(registry) ?? `${registry.url}/token`;
      const service = options.service === undefined ? "" : `,service="${options.service}"`;
      response.setHeader(
        "www-authenticate",
        `Bearer realm="${realm}"${service},scope="${options.scope ?? `repository:${repository}:${action}`}"`,
      );
      sendError(response, 401, "UNAUTHORIZED");
      return true;
    },
  });
  const tokenRequests = () =>
    registry.received.filter(({ path }) => path.startsWith("/token")).map(({ path }) => new URL(path, "http://x"));
  return Object.assign(registry, { tokenRequests });
}

describe("a registry that asks for nothing", () => {
  it("is shown nothing, though there are credentials", async () => {
    const registry = await serveRegistry();
    await client({ credentials: alice }).repository(`${registry.host}/a/b`).has(content.descriptor);
    expect(registry.received.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });
});

describe("a registry that asks for Basic", () => {
  const guarded = () =>
    serveRegistry({
      intercept: (request, response) => {
        if (request.headers.authorization === basic("alice", "s3cret")) return false;
        response.writeHead(401, { "www-authenticate": 'Basic realm="r"' }).end();
        return true;
      },
    });

  it("is asked once without credentials, then always with them", async () => {
    const registry = await guarded();
    const target = client({ credentials: alice }).repository(`${registry.host}/a/b`);
    expect(await target.push(content)).toBe("written");
    expect(registry.received.filter(({ headers }) => headers.authorization === undefined)).toHaveLength(1);
  });

  it("refuses a wrong password once, and is not asked again", async () => {
    const registry = await guarded();
    const target = client({ credentials: { ...alice, password: "wrong" } }).repository(`${registry.host}/a/b`);
    const error = await failure(target.has(content.descriptor));
    expect(error).toMatchObject({ code: "UNAUTHORIZED", status: 401 });
    expect(error.message + error.hint).not.toContain("wrong");
    expect(registry.received).toHaveLength(2);
  });

  it("is refused without credentials with a hint to log in", async () => {
    const registry = await guarded();
    const error = await failure(client().repository(`${registry.host}/a/b`).has(content.descriptor));
    expect(error).toMatchObject({ code: "UNAUTHORIZED", hint: `Log in with: stowage login ${registry.host}` });
  });

  it("gets the credentials that were found for the repository", async () => {
    const asked: string[] = [];
    const registry = await guarded();
    const lookup = async (host: string, repository: string): Promise<Credentials | undefined> => {
      asked.push(`${host} ${repository}`);
      return repository === "a/b" ? alice : undefined;
    };
    const one = client({ credentials: lookup });
    expect(await one.repository(`${registry.host}/a/b`).has(content.descriptor)).toBe(false);
    expect(await one.repository(`${registry.host}/a/b`).has(content.descriptor)).toBe(false);
    await expect(one.repository(`${registry.host}/c/d`).has(content.descriptor)).rejects.toMatchObject({
      code: "UNAUTHORIZED",
    });
    expect(asked).toEqual([`${registry.host} a/b`, `${registry.host} c/d`]);
  });
});

describe("a registry that asks for tokens", () => {
  it("gets one without credentials, for reading, and the same one again", async () => {
    const registry = await serveWithTokens({ service: "the registry" });
    const target = client().repository(`${registry.host}/a/b`);
    for (let count = 0; count < 3; count++) await target.has(content.descriptor);
    expect(registry.tokenRequests().map(({ search }) => search)).toEqual([
      "?service=the%20registry&scope=repository%3Aa%2Fb%3Apull",
    ]);
    expect(registry.received.find(({ path }) => path.startsWith("/token"))?.headers.authorization).toBeUndefined();
  });

  it("gets one for writing, which also serves for reading", async () => {
    const registry = await serveWithTokens();
    const target = client({ credentials: alice }).repository(`${registry.host}/a/b`);
    for (const part of [emptyBlob, content, manifestOf([content])]) await target.push(part);
    await target.has(content.descriptor);
    expect(registry.tokenRequests().map(({ searchParams }) => searchParams.getAll("scope"))).toEqual([
      ["repository:a/b:pull,push"],
    ]);
    expect(registry.tokenRequests()[0]?.searchParams.get("account")).toBe("alice");
    expect(registry.received.find(({ path }) => path.startsWith("/token"))?.headers.authorization).toBe(
      basic("alice", "s3cret"),
    );
  });

  it("is asked for one token when many requests need it at once", async () => {
    const registry = await serveWithTokens();
    const target = client().repository(`${registry.host}/a/b`);
    await Promise.all(Array.from({ length: 12 }, (_, index) => target.has(blobOf(`${index}`).descriptor)));
    expect(registry.tokenRequests()).toHaveLength(1);
  });

  it("gets a new token where one was refused, in the middle of a push too", async () => {
    let issued = 0;
    let good = 1;
    const registry = await serveWithTokens({
      token: (_, response) => sendJson(response, 200, { access_token: `t${++issued}` }),
      isGood: (token) => token === `t${good}`,
    });
    const target = client().repository(`${registry.host}/a/b`);
    expect(await target.push(content)).toBe("written");
    good = 2;
    expect(await target.push(blobOf("more"))).toBe("written");
    expect(issued).toBe(2);
  });

  it.each(["HEAD", "POST", "PUT"])(
    "gets a new token where the old one expires before the %s of an upload",
    async (method) => {
      let issued = 0;
      const registry = await serveWithTokens({
        token: (_, response) => sendJson(response, 200, { token: `t${++issued}` }),
        isGood: (token) => token === `t${issued}`,
      });
      const bodies: string[] = [];
      const expire = await serve(async (request, response, body) => {
        const bytes = await body();
        if (request.method === "PUT") bodies.push(bytes.toString());
        if (request.method === method && issued === 1) {
          response.writeHead(401, { "www-authenticate": `Bearer realm="${expire.url}/token"` }).end();
          return;
        }
        const url = new URL(request.url ?? "", registry.url);
        const answer = await fetch(url, {
          method: request.method as string,
          headers: { authorization: request.headers.authorization ?? "" },
          ...(bytes.byteLength > 0 ? { body: bytes } : {}),
          redirect: "manual",
        });
        const headers = Object.fromEntries(
          [...answer.headers].map(([name, value]) => [name, value.replace(registry.url, expire.url)]),
        );
        delete headers["transfer-encoding"];
        response
          .writeHead(answer.status, headers)
          .end(request.method === "HEAD" ? undefined : Buffer.from(await answer.arrayBuffer()));
      });
      expect(await client().repository(`${expire.host}/a/b`).push(content)).toBe("written");
      expect(issued).toBe(2);
      // What was refused with the old token is sent again from its beginning.
      expect(bodies).toEqual(method === "PUT" ? ["content", "content"] : ["content"]);
      expect(registry.blobs.get(`a/b ${content.descriptor.digest}`)?.toString()).toBe("content");
    },
  );

  it("gets a new token in time where the server says how long one is good for", async () => {
    let issued = 0;
    const registry = await serveWithTokens({
      token: (_, response) =>
        sendJson(response, 200, { token: `t${++issued}`, expires_in: issued === 1 ? 0.001 : 300 }),
      isGood: (token) => token !== "",
    });
    const target = client().repository(`${registry.host}/a/b`);
    await target.has(content.descriptor);
    await new Promise((resolve) => setTimeout(resolve, 5));
    await target.has(content.descriptor);
    await target.has(content.descriptor);
    expect(issued).toBe(2);
    expect(
      registry.received.filter(({ path, headers }) => path.startsWith("/v2") && headers.authorization === undefined),
    ).toHaveLength(1);
  });

  it("that refuses every token ends in an error, not in a loop", async () => {
    const registry = await serveWithTokens({
      isGood: () => false,
      token: (_, response) => sendJson(response, 200, { token: `t${Math.random()}` }),
    });
    const error = await failure(client({ credentials: alice }).repository(`${registry.host}/a/b`).push(content));
    expect(error).toMatchObject({ code: "UNAUTHORIZED", status: 401 });
    expect(registry.received.length).toBeLessThan(10);
  });

  it("is told to log in where its token server gives nothing to strangers", async () => {
    const registry = await serveWithTokens({
      token: (_, response) => sendError(response, 401, "UNAUTHORIZED", "who are you"),
    });
    const error = await failure(client().repository(`${registry.host}/a/b`).has(content.descriptor));
    expect(error).toMatchObject({
      code: "UNAUTHORIZED",
      hint: `Log in with: stowage login ${registry.host}`,
      diagnostics: [{ message: "who are you" }],
    });
  });

  it("has a token server that is asked again where it fails for a while", async () => {
    let count = 0;
    const registry = await serveWithTokens({
      token: (_, response) => (++count === 1 ? response.writeHead(503).end() : sendJson(response, 200, { token: "t" })),
      isGood: (token) => token === "t",
    });
    expect(await client().repository(`${registry.host}/a/b`).has(content.descriptor)).toBe(false);
    expect(count).toBe(2);
  });

  it("may not hand out what is no token", async () => {
    for (const value of [{}, { token: 1 }, { token: "" }, { token: "a\r\nx: y" }, [], "t"]) {
      const registry = await serveWithTokens({ token: (_, response) => sendJson(response, 200, value) });
      await expect(client().repository(`${registry.host}/a/b`).has(content.descriptor)).rejects.toMatchObject({
        code: "INVALID",
      });
    }
    const registry = await serveWithTokens({ token: (_, response) => response.end("secret-token") });
    const error = await failure(client().repository(`${registry.host}/a/b`).has(content.descriptor));
    expect(error.message + error.cause).not.toContain("secret-token");
    const endless = await serveWithTokens({ token: (_, response) => response.end("x".repeat(2_000_000)) });
    await expect(client().repository(`${endless.host}/a/b`).has(content.descriptor)).rejects.toMatchObject({
      code: "LIMIT",
    });
  });

  it("gets a refresh token exchanged by POST, and a registry token as it is", async () => {
    let form = "";
    const registry = await serveWithTokens({
      service: "svc",
      token: async (request, response) => {
        for await (const chunk of request) form += chunk;
        sendJson(response, 200, { access_token: "exchanged" });
      },
      isGood: (token) => token === "exchanged" || token === "as-it-is",
    });
    expect(
      await client({ credentials: { identityToken: "refresh" } })
        .repository(`${registry.host}/a/b`)
        .has(content.descriptor),
    ).toBe(false);
    expect(Object.fromEntries(new URLSearchParams(form))).toEqual({
      grant_type: "refresh_token",
      client_id: "stowage",
      refresh_token: "refresh",
      service: "svc",
      scope: "repository:a/b:pull",
    });
    expect(
      await client({ credentials: { registryToken: "as-it-is" } })
        .repository(`${registry.host}/a/b`)
        .has(content.descriptor),
    ).toBe(false);
    expect(registry.received.filter(({ path }) => path.startsWith("/token"))).toHaveLength(1);
  });

  it("gets reading of the other repository in the same token for a mount", async () => {
    const registry = await serveWithTokens();
    const one = client();
    const source = one.repository(`${registry.host}/from/here`);
    await source.push(content);
    expect(await one.repository(`${registry.host}/to/there`).push({ ...content, origin: source })).toBe("mounted");
    expect(registry.tokenRequests().at(-1)?.searchParams.getAll("scope")).toEqual([
      "repository:to/there:pull,push",
      "repository:from/here:pull",
    ]);
  });

  it("gets a token for deleting where a tag is deleted", async () => {
    const registry = await serveWithTokens();
    const target = client().repository(`${registry.host}/a/b`);
    for (const part of [emptyBlob, manifestOf([])]) await target.push(part);
    await target.tag("v1", manifestOf([]).descriptor);
    await target.untag("v1");
    expect(registry.tokenRequests().at(-1)?.searchParams.get("scope")).toBe("repository:a/b:pull,delete");
  });

  it("that keeps the repository under another name gets reading of that as well, and no writing", async () => {
    const registry = await serveWithTokens({
      scope: "repository:upstream/b:pull,push",
      isGood: (token) => token.includes("upstream/b"),
    });
    await client().repository(`${registry.host}/a/b`).has(content.descriptor);
    expect(registry.tokenRequests().map(({ searchParams }) => searchParams.getAll("scope"))).toEqual([
      ["repository:a/b:pull", "repository:upstream/b:pull"],
    ]);
  });
});

describe("a token server elsewhere", () => {
  it("gets no credentials, and the message says who wanted them", async () => {
    const evil = await serve((_, response) => sendJson(response, 200, { token: "t" }));
    const registry = await serveWithTokens({ realm: () => `${evil.url}/token` });
    const error = await failure(
      client({ credentials: alice }).repository(`${registry.host}/a/b`).has(content.descriptor),
    );
    expect(error.code).toBe("DENIED");
    expect(error.message).toContain(registry.host);
    expect(error.message).toContain(evil.url);
    expect(evil.received).toEqual([]);
  });

  it("gets them where it is trusted by hand, and is asked without them by strangers", async () => {
    const other = await serve((_, response) => sendJson(response, 200, { token: "t" }));
    const registry = await serveWithTokens({ realm: () => `${other.url}/token`, isGood: (token) => token === "t" });
    await client({ credentials: alice, trustedRealms: [other.host] })
      .repository(`${registry.host}/a/b`)
      .has(content.descriptor);
    await client().repository(`${registry.host}/a/b`).has(content.descriptor);
    expect(other.received.map(({ headers }) => headers.authorization)).toEqual([basic("alice", "s3cret"), undefined]);
  });

  it("gets no custom headers of the registry", async () => {
    const other = await serve((_, response) => sendJson(response, 200, { token: "t" }));
    const registry = await serveWithTokens({ realm: () => `${other.url}/token`, isGood: (token) => token === "t" });
    await client({ headers: { "x-tenant": "acme" } })
      .repository(`${registry.host}/a/b`)
      .has(content.descriptor);
    expect(other.received[0]?.headers["x-tenant"]).toBeUndefined();
    expect(registry.received.every(({ headers }) => headers["x-tenant"] === "acme")).toBe(true);
  });

  it("is not reached by a redirect from the right one", async () => {
    const evil = await serve((_, response) => sendJson(response, 200, { token: "t" }));
    for (const credentials of [alice, { identityToken: "refresh" }]) {
      const registry = await serveWithTokens({
        token: (_, response) => response.writeHead(307, { location: `${evil.url}/token` }).end(),
      });
      await expect(
        client({ credentials }).repository(`${registry.host}/a/b`).has(content.descriptor),
      ).rejects.toMatchObject({ code: "REGISTRY", status: 307 });
    }
    expect(evil.received).toEqual([]);
  });

  it("on this machine's link is not asked", async () => {
    const registry = await serveWithTokens({ realm: () => "http://169.254.169.254/token" });
    await expect(client().repository(`${registry.host}/a/b`).has(content.descriptor)).rejects.toMatchObject({
      code: "DENIED",
      message: expect.stringContaining("link-local address"),
    });
  });
});

describe("Docker's configuration", () => {
  it("gives registries its HttpHeaders, and nobody they lead to", async () => {
    const folder = await mkdtemp(join(tmpdir(), "stowage-config-"));
    const elsewhere = await serve((request, response) =>
      request.url?.startsWith("/token") ? sendJson(response, 200, { token: "t" }) : response.end("content"),
    );
    const registry = await serve((request, response) => {
      if (request.headers.authorization === undefined)
        response.writeHead(401, { "www-authenticate": `Bearer realm="${elsewhere.url}/token"` }).end();
      else response.writeHead(307, { location: `${elsewhere.url}/blob` }).end();
    });
    await writeFile(join(folder, "config.json"), JSON.stringify({ HttpHeaders: { "X-Meta": "acme" } }));
    const source = client({ credentials: undefined, environment: { DOCKER_CONFIG: folder } });
    expect(await text(source.repository(`${registry.host}/a/b`).fetch(content.descriptor))).toBe("content");
    expect(registry.received.map(({ headers }) => headers["x-meta"])).toEqual(["acme", "acme"]);
    expect(elsewhere.received.map(({ headers }) => headers["x-meta"])).toEqual([undefined, undefined]);
    await rm(folder, { recursive: true });
  });

  it("is used where no credentials are given", async () => {
    const registry = await serveRegistry({
      intercept: (request, response) => {
        if (request.headers.authorization !== undefined) return false;
        response.writeHead(401, { "www-authenticate": "Basic realm=x" }).end();
        return true;
      },
    });
    const folder = await mkdtemp(join(tmpdir(), "stowage-config-"));
    await writeFile(
      join(folder, "config.json"),
      JSON.stringify({ auths: { [registry.host]: { username: "carol", password: "p" } } }),
    );
    await client({ credentials: undefined, environment: { DOCKER_CONFIG: folder } })
      .repository(`${registry.host}/a/b`)
      .has(content.descriptor);
    expect(registry.received.at(-1)?.headers.authorization).toBe(basic("carol", "p"));
    await rm(folder, { recursive: true });
  });
});

describe("an answer that quotes what it was shown", () => {
  const quoting = (shown: string) => ({ errors: [{ code: "DENIED", message: `no: ${shown}`, detail: { shown } }] });

  it.each([
    ["a password", alice, [alice.password, basic(alice.username, alice.password).slice(6)]],
    ["a token", { registryToken: "a.b.c-secret" }, ["a.b.c-secret"]],
  ])("does not bring %s into the message", async (_what, credentials, secrets) => {
    const server = await serve((request, response) => {
      const shown = request.headers.authorization;
      if (shown === undefined) response.setHeader("www-authenticate", 'Basic realm="r"');
      const account = Buffer.from(shown?.split(" ")[1] ?? "", "base64").toString();
      sendJson(response, shown === undefined ? 401 : 403, quoting(`${shown} ${account}`));
    });
    const error = await failure(client({ credentials }).repository(`${server.host}/a/b`).resolve("v1"));
    expect(error.message).toContain("403 DENIED: no: ");
    for (const secret of secrets) expect(error.message + JSON.stringify(error)).not.toContain(secret);
  });

  it("does not bring a refresh token into the message", async () => {
    const identityToken = "refresh-me-please";
    const registry = await serveWithTokens({
      token: (_request, response) => sendJson(response, 400, quoting(`refresh_token=${identityToken}`)),
    });
    const error = await failure(
      client({ credentials: { identityToken } }).repository(`${registry.host}/a/b`).resolve("v1"),
    );
    expect(error).toMatchObject({ code: "UNAUTHORIZED", message: expect.stringContaining("refresh_token=***") });
    expect(error.message + JSON.stringify(error)).not.toContain(identityToken);
  });
});
