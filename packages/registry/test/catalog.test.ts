import { afterEach, describe, expect, it } from "vitest";
import { RegistryClient } from "../src/index.js";
import { all } from "./support/artifacts.js";
import { closeServers, type Handler, sendError, sendJson, serve } from "./support/server.js";

const clients: RegistryClient[] = [];

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await closeServers();
});

async function listing(handler: Handler) {
  const server = await serve(handler);
  const credentials = { username: "me", password: "secret" };
  const client = new RegistryClient({ credentials, environment: {}, tries: 1 });
  clients.push(client);
  return { server, repositories: () => all(client.repositories(server.host)) };
}

const page =
  (repositories: unknown, link?: string): Handler =>
  (_, response) =>
    sendJson(response, 200, { repositories }, link === undefined ? {} : { link });

describe("the repositories of a registry", () => {
  it("come in bytewise order, each once, and only where they are names", async () => {
    const { server, repositories } = await listing(page(["b/c", "a", "b/c", "../x", "Upper", 1, null, "b-c"]));
    expect(await repositories()).toEqual(["a", "b-c", "b/c"]);
    expect(server.received.map(({ path }) => path)).toEqual(["/v2/_catalog?n=1000"]);
  });

  it("are read page by page, and not for ever", async () => {
    const { server, repositories } = await listing((request, response, body) => {
      const last = new URL(request.url ?? "", "http://x").searchParams.get("last");
      return last === null
        ? page(["a"], '</v2/_catalog?last=a&n=1>; rel="next"')(request, response, body)
        : page(["b"], '</v2/_catalog?last=a&n=1>; rel="next"')(request, response, body);
    });
    expect(await repositories()).toEqual(["a", "b"]);
    expect(server.received).toHaveLength(2);
    let count = 0;
    const endless = await listing((request, response, body) =>
      page([`r${count}`], `</v2/_catalog?last=${count++}>; rel="next"`)(request, response, body),
    );
    await expect(endless.repositories()).rejects.toMatchObject({ code: "LIMIT" });
  });

  it("that a registry does not list are UNSUPPORTED, with what to write instead", async () => {
    for (const status of [404, 405]) {
      const { repositories } = await listing((_, response) => sendError(response, status, "UNSUPPORTED"));
      await expect(repositories()).rejects.toMatchObject({
        code: "UNSUPPORTED",
        hint: expect.stringContaining("Name the repositories"),
      });
    }
  });

  it("that are no list are INVALID", async () => {
    await expect((await listing(page("x"))).repositories()).rejects.toMatchObject({ code: "INVALID" });
    await expect((await listing((_, response) => response.end("<html>"))).repositories()).rejects.toMatchObject({
      code: "INVALID",
    });
  });

  it("need a token of their own kind", async () => {
    const { server, repositories } = await listing((request, response, body) => {
      if (request.url?.startsWith("/token")) return sendJson(response, 200, { token: "listing" });
      if (request.headers.authorization === "Bearer listing") return page(["a"])(request, response, body);
      const realm = `http://${request.headers.host}/token`;
      const challenge = `Bearer realm="${realm}",service="s",scope="registry:catalog:*"`;
      return sendJson(response, 401, {}, { "www-authenticate": challenge });
    });
    expect(await repositories()).toEqual(["a"]);
    const asked = server.received.find(({ path }) => path.startsWith("/token"));
    expect(new URL(asked?.path ?? "", "http://x").searchParams.getAll("scope")).toEqual(["registry:catalog:*"]);
  });
});
