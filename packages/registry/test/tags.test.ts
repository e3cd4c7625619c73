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
  const client = new RegistryClient({ credentials: false, environment: {}, tries: 1 });
  clients.push(client);
  return { server, tags: () => all(client.repository(`${server.host}/some/repo`).tags()) };
}

const page =
  (tags: unknown, link?: string): Handler =>
  (_, response) =>
    sendJson(response, 200, { name: "some/repo", tags }, link === undefined ? {} : { link });

describe("tags", () => {
  it("come in bytewise order, each once, without those that carry referrers", async () => {
    const { tags } = await listing(
      page(["b", "B", "a10", "a9", "_x", "b", `sha256-${"0".repeat(64)}`, "sha256-short", "Z"]),
    );
    expect(await tags()).toEqual(["B", "Z", "_x", "a10", "a9", "b", "sha256-short"]);
  });

  it("may be null, and need not all be tags", async () => {
    expect(await (await listing(page(null))).tags()).toEqual([]);
    expect(await (await listing(page(undefined))).tags()).toEqual([]);
    expect(await (await listing(page(["ok", 1, null, "../x", ""]))).tags()).toEqual(["ok"]);
  });

  it("that are no list are an error", async () => {
    await expect((await listing(page("x"))).tags()).rejects.toMatchObject({ code: "INVALID" });
    await expect((await listing((_, response) => response.end("<html>"))).tags()).rejects.toMatchObject({
      code: "INVALID",
    });
  });

  it("are read page by page as the registry links them, also when a page is short or empty", async () => {
    const { server, tags } = await listing((request, response, body) => {
      const last = new URL(request.url ?? "", "http://x").searchParams.get("last");
      const link = (next: string) =>
        `<http://${request.headers.host}/v2/some/repo/tags/list?last=${next}&n=2>; rel="next"`;
      if (last === null) return page(["a"], link("a"))(request, response, body);
      if (last === "a") return page([], link("b"))(request, response, body);
      return page(["c", "d"])(request, response, body);
    });
    expect(await tags()).toEqual(["a", "c", "d"]);
    expect(server.received).toHaveLength(3);
  });

  it("end where a page comes again", async () => {
    const { server, tags } = await listing((request, response, body) =>
      page(["a"], `<?n=1000&last=a&token=${Math.random()}>; rel="next"`)(request, response, body),
    );
    expect(await tags()).toEqual(["a"]);
    expect(server.received).toHaveLength(2);
  });

  it("without end are an error", async () => {
    let count = 0;
    const { tags } = await listing((request, response, body) =>
      page([`t${count}`], `<?last=t${count++}>; rel="next"`)(request, response, body),
    );
    await expect(tags()).rejects.toMatchObject({ code: "LIMIT" });
    expect(count).toBeLessThanOrEqual(1001);
  });

  it("are refused, rather than cut short, where another host is to have the rest", async () => {
    const evil = await serve((_, response) => sendJson(response, 200, { tags: ["evil"] }));
    for (const target of [`${evil.url}/v2/some/repo/tags/list?last=a`, `//${evil.host}/x`, "https://evil.invalid/x"]) {
      const { tags } = await listing(page(["a"], `<${target}>; rel="next"`));
      await expect(tags()).rejects.toMatchObject({ code: "DENIED" });
    }
    expect(evil.received).toEqual([]);
  });

  it("are read on as the list began, where the registry does not know that its clients speak another scheme", async () => {
    const { tags } = await listing((request, response, body) => {
      const next = `<https://${request.headers.host}/v2/some/repo/tags/list?last=a>; rel="next"`;
      return request.url?.includes("last=a")
        ? page(["b"])(request, response, body)
        : page(["a"], next)(request, response, body);
    });
    expect(await tags()).toEqual(["a", "b"]);
  });

  it("that only carry referrers are among them where all are asked for", async () => {
    const tag = `sha256-${"0".repeat(64)}`;
    const server = await serve(page(["v1", tag]));
    const client = new RegistryClient({ credentials: false, environment: {}, tries: 1 });
    clients.push(client);
    const repository = client.repository(`${server.host}/some/repo`);
    expect(await all(repository.tags({ all: true }))).toEqual([tag, "v1"]);
    expect(await all(repository.tags())).toEqual(["v1"]);
  });

  it("of a repository that is not there are an error", async () => {
    const { tags } = await listing((_, response) =>
      sendError(response, 404, "NAME_UNKNOWN", "repository name not known to registry"),
    );
    await expect(tags()).rejects.toMatchObject({ code: "NOT_FOUND", diagnostics: [{ code: "NAME_UNKNOWN" }] });
  });

  it("on a page too large to be one are an error", async () => {
    const { tags } = await listing((_, response) => {
      response.writeHead(200, { "content-type": "application/json" });
      const more = (): void => {
        for (; !response.destroyed; )
          if (!response.write(Buffer.alloc(1024 * 1024, " "))) return void response.once("drain", more);
      };
      more();
    });
    await expect(tags()).rejects.toMatchObject({ code: "LIMIT" });
  });
});
