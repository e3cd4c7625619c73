import { digestOf } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { memoryStore } from "../src/index.js";
import { type FaultOptions, faulty } from "../src/testing.js";
import { content, errorCode, pushArtifact, type Registry, startRegistry } from "./registry.js";

/** A server with this fault, which has an image. */
async function startFaulty(name: string, options: FaultOptions = {}): Promise<Registry> {
  const store = memoryStore();
  await pushArtifact(await startRegistry({ store }), "image", { tag: "v1" });
  return startRegistry({ store, layers: faulty([name], options) });
}

const authorized = (credential: string): RequestInit => ({ headers: { Authorization: credential } });
const basic = (text: string): RequestInit => authorized(`Basic ${Buffer.from(text).toString("base64")}`);

async function challengeOf(registry: Registry): Promise<string> {
  const response = await registry.request("manifests/v1");
  expect([response.status, await errorCode(response)]).toEqual([401, "UNAUTHORIZED"]);
  return response.headers.get("www-authenticate") ?? "";
}

const realmIn = (challenge: string): string => /realm="([^"]+)"/.exec(challenge)?.[1] as string;

async function tokenFrom(response: Response): Promise<RequestInit> {
  return authorized(`Bearer ${((await response.json()) as { token: string }).token}`);
}

describe("a registry that asks for a login", () => {
  it("basic lets the account in and nobody else", async () => {
    const registry = await startFaulty("basic");
    expect(await challengeOf(registry)).toBe('Basic realm="registry"');
    expect((await registry.request("manifests/v1", basic("user:password"))).status).toBe(200);
    expect((await registry.request("manifests/v1", basic("user:wrong"))).status).toBe(401);
    expect((await registry.request("/token")).status).toBe(401);
  });

  it.each(["bearer", "bearer-elsewhere"])("%s gives the account a token and nobody else", async (name) => {
    const registry = await startFaulty(name);
    const challenge = await challengeOf(registry);
    expect(challenge).toContain('service="registry",scope="repository:team/app:pull"');
    const realm = realmIn(challenge);
    expect(realm.startsWith(registry.server.url)).toBe(name === "bearer");
    for (const init of [{}, basic("user:wrong")]) expect((await fetch(realm, init)).status).toBe(401);
    const token = await tokenFrom(await fetch(realm, basic("user:password")));
    expect((await registry.request("manifests/v1", token)).status).toBe(200);
    expect((await registry.request("manifests/v1", authorized("Bearer other"))).status).toBe(401);
  });

  it("bearer-anonymous and bearer-no-service give anybody a token", async () => {
    for (const name of ["bearer-anonymous", "bearer-no-service"]) {
      const registry = await startFaulty(name);
      const challenge = await challengeOf(registry);
      expect(challenge.includes("service=")).toBe(name === "bearer-anonymous");
      const token = await tokenFrom(await fetch(realmIn(challenge)));
      expect((await registry.request("manifests/v1", token)).status).toBe(200);
      expect((await fetch(realmIn(challenge), basic("user:wrong"))).status).toBe(401);
    }
  });

  it("bearer-refresh takes a refresh token with POST, and no password with GET", async () => {
    const registry = await startFaulty("bearer-refresh");
    const realm = realmIn(await challengeOf(registry));
    expect((await fetch(realm, basic("user:password"))).status).toBe(401);
    const body = new URLSearchParams({ grant_type: "refresh_token", refresh_token: "password" });
    const token = await tokenFrom(await fetch(realm, { method: "POST", body }));
    expect((await registry.request("manifests/v1", token)).status).toBe(200);
    const wrong = new URLSearchParams({ grant_type: "refresh_token", refresh_token: "other" });
    expect((await fetch(realm, { method: "POST", body: wrong })).status).toBe(401);
  });

  it("bearer-expires refuses a token after so many requests", async () => {
    const registry = await startFaulty("bearer-expires=2");
    const token = await tokenFrom(await fetch(realmIn(await challengeOf(registry))));
    const statuses: number[] = [];
    for (let count = 0; count < 3; count++) statuses.push((await registry.request("manifests/v1", token)).status);
    expect(statuses).toEqual([200, 200, 401]);
  });

  it("hidden says 404 to a login without the right, as if nothing were there", async () => {
    const store = memoryStore();
    const registry = await startRegistry({ store, layers: faulty(["hidden", "basic"]) });
    expect((await registry.request("manifests/v1")).status).toBe(401);
    const response = await registry.request("manifests/v1", basic("user:wrong"));
    expect([response.status, await errorCode(response)]).toEqual([404, "NAME_UNKNOWN"]);
  });

  it("asks for the account it is given, and nobody where it is given none", async () => {
    const own = await startFaulty("basic", { account: { name: "me", password: "mine" } });
    expect((await own.request("manifests/v1", basic("user:password"))).status).toBe(401);
    expect((await own.request("manifests/v1", basic("me:mine"))).status).toBe(200);
    for (const name of ["basic", "bearer", "bearer-elsewhere", "ecr", "acr"]) {
      const open = await startFaulty(name, { account: false });
      const statuses = [(await open.request("manifests/v1")).status, (await open.request("manifests/v1")).status];
      expect([name, statuses]).toEqual([name, name === "ecr" ? [429, 200] : [200, 200]]);
    }
  });
});

describe("a credential that comes to another host", () => {
  it.each(["redirect", "redirect-login", "foreign-pages"])("is told of, without the secret: %s", async (name) => {
    const leaks: string[] = [];
    const store = memoryStore();
    const blob = await (await startRegistry({ store })).pushBlob(content("blob"));
    const registry = await startRegistry({ store, layers: faulty([name], { onLeak: (leak) => leaks.push(leak) }) });
    const first = await registry.request(name === "foreign-pages" ? "tags/list" : `blobs/${blob.digest}`, {
      redirect: "manual",
    });
    const link = /<(.*)>/.exec(first.headers.get("link") ?? "")?.[1];
    const elsewhere = link ?? (first.headers.get("location") as string);
    const sound = await fetch(elsewhere);
    if (name === "redirect") expect(digestOf(Buffer.from(await sound.arrayBuffer()))).toBe(blob.digest);
    expect(leaks).toEqual([]);
    const refused = await fetch(elsewhere, authorized("Bearer secret"));
    if (name === "redirect") expect(refused.status).toBe(400);
    expect(leaks.length).toBe(1);
    expect(leaks[0]).not.toContain("secret");
  });
});
