import { hashSync } from "bcryptjs";
import { describe, expect, test } from "vitest";
import { memoryStore, parseHtpasswd } from "../src/index.js";
import { content, errorCode, pushArtifact, type Registry, startRegistry } from "./registry.js";

const file = `# accounts\nalice:${hashSync("secret", 4)}\nbob:${hashSync("other", 4).replace("$2b$", "$2y$")}\n`;

const basic = (text: string): RequestInit => ({
  headers: { Authorization: `Basic ${Buffer.from(text).toString("base64")}` },
});

/** A registry for accounts only, which has an image. */
async function startGuarded(tokens = false): Promise<Registry> {
  const store = memoryStore();
  await pushArtifact(await startRegistry({ store }), "image", { tag: "v1" });
  return startRegistry({ store, accounts: parseHtpasswd(file), tokens });
}

async function tokenFor(
  registry: Registry,
  scope: string,
  init: RequestInit = basic("alice:secret"),
): Promise<RequestInit> {
  const response = await fetch(`${registry.server.url}/token?service=stowage&scope=${scope}`, init);
  const { token } = (await response.json()) as { token: string };
  return { headers: { Authorization: `Bearer ${token}` } };
}

describe("a registry with accounts", () => {
  test("lets in who has one, and nobody else", async () => {
    const registry = await startGuarded();
    for (const path of ["/v2/", "manifests/v1", "/v2/_catalog", "/v2/other/tags/list"]) {
      const response = await registry.request(path);
      expect([response.status, await errorCode(response)]).toEqual([401, "UNAUTHORIZED"]);
      expect(response.headers.get("www-authenticate")).toBe('Basic realm="stowage", charset="UTF-8"');
    }
    for (const account of ["alice:secret", "bob:other", "alice:secret"])
      expect((await registry.request("manifests/v1", basic(account))).status).toBe(200);
    for (const account of ["alice:other", "bob:secret", "carol:secret", "alice:", ":secret", "alice"])
      expect((await registry.request("manifests/v1", basic(account))).status).toBe(401);
    const push = { method: "POST", body: content("x") };
    expect((await registry.request("blobs/uploads/", push)).status).toBe(401);
    expect((await registry.request("/token")).status).toBe(401);
  });

  test("answers /healthz to anybody and /metrics to accounts", async () => {
    const { server } = await startGuarded();
    expect(await (await fetch(`${server.url}/healthz`)).json()).toEqual({ status: "ok" });
    expect((await fetch(`${server.url}/metrics`)).status).toBe(401);
    expect((await fetch(`${server.url}/metrics`, basic("alice:secret"))).status).toBe(200);
  });
});

describe("a registry that gives tokens", () => {
  test("names its token server and what a token has to be for", async () => {
    const registry = await startGuarded(true);
    const challenge = async (path: string, init?: RequestInit): Promise<string | null> =>
      (await registry.request(path, init)).headers.get("www-authenticate");
    const realm = `Bearer realm="${registry.server.url}/token",service="stowage"`;
    expect(await challenge("/v2/")).toBe(realm);
    expect(await challenge("manifests/v1")).toBe(`${realm},scope="repository:team/app:pull"`);
    expect(await challenge("blobs/uploads/?from=a/b", { method: "POST" })).toBe(
      `${realm},scope="repository:team/app:pull,push repository:a/b:pull"`,
    );
    expect(await challenge("manifests/v1", { method: "DELETE" })).toBe(`${realm},scope="repository:team/app:delete"`);
  });

  test("gives accounts a token that is good for what it was asked for and nothing else", async () => {
    const registry = await startGuarded(true);
    const pull = await tokenFor(registry, "repository:team/app:pull");
    expect((await registry.request("manifests/v1", pull)).status).toBe(200);
    expect((await registry.request("/v2/", pull)).status).toBe(200);
    for (const [path, method] of [
      ["blobs/uploads/", "POST"],
      ["manifests/v1", "DELETE"],
      ["/v2/team/other/tags/list", "GET"],
    ] as const) {
      const response = await registry.request(path, { ...pull, method });
      expect([response.status, response.headers.get("www-authenticate")?.includes("insufficient_scope")]).toEqual([
        401,
        true,
      ]);
    }
    const push = await tokenFor(registry, "repository:team/app:pull,push");
    expect((await registry.request("blobs/uploads/", { ...push, method: "POST" })).status).toBe(202);
    expect((await registry.request("manifests/v1", basic("alice:secret"))).status).toBe(200);
  });

  test("takes the form of OAuth 2.0 as well, and refuses wrong passwords either way", async () => {
    const { server } = await startGuarded(true);
    const ask = (password: string): Promise<Response> => {
      const form = { grant_type: "password", username: "alice", password, scope: "repository:team/app:pull" };
      return fetch(`${server.url}/token`, { method: "POST", body: new URLSearchParams(form) });
    };
    const { access_token: token } = (await (await ask("secret")).json()) as { access_token: string };
    const headers = { Authorization: `Bearer ${token}` };
    expect((await fetch(`${server.url}/v2/team/app/manifests/v1`, { headers })).status).toBe(200);
    expect((await ask("wrong")).status).toBe(401);
    expect((await fetch(`${server.url}/token`)).status).toBe(401);
    expect((await fetch(`${server.url}/token`, { method: "PUT", body: "x" })).status).toBe(405);
  });

  test("takes no token that it has not made, or that somebody has changed", async () => {
    const registry = await startGuarded(true);
    const { headers } = await tokenFor(registry, "repository:team/app:pull");
    const token = (headers as { Authorization: string }).Authorization.slice(7);
    const [body, signature] = token.split(".") as [string, string];
    const claims = JSON.parse(Buffer.from(body, "base64url").toString());
    const more = { ...claims, access: { "team/app": ["pull", "push"] } };
    const forged = `${Buffer.from(JSON.stringify(more)).toString("base64url")}.${signature}`;
    const foreign = (
      (await tokenFor(await startGuarded(true), "repository:team/app:pull")).headers as { Authorization: string }
    ).Authorization.slice(7);
    for (const wrong of [forged, foreign, body, `${body}.`, "x.y", ""]) {
      const response = await registry.request("manifests/v1", { headers: { Authorization: `Bearer ${wrong}` } });
      expect(response.status).toBe(401);
    }
    expect(registry.failures).toEqual([]);
  });
});

describe("an htpasswd file", () => {
  test("with anything but bcrypt is refused by its line, without what is in it", () => {
    for (const line of [
      "alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
      "alice:$apr1$x$y",
      "alice:secret",
      "no colon",
      "$2y$05$x",
    ]) {
      expect(() => parseHtpasswd(`\n${line}\n`)).toThrow(
        expect.objectContaining({ code: "INVALID", message: expect.stringContaining("line 2") }),
      );
      expect(() => parseHtpasswd(line)).not.toThrow(/secret|apr1/);
    }
  });
});
