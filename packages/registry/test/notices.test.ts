import { afterEach, describe, expect, it } from "vitest";
import { parseWarnings } from "../src/http/warning.js";
import { RegistryClient, userAgent } from "../src/index.js";
import { blobOf, text } from "./support/artifacts.js";
import { closeServers, serve } from "./support/server.js";

const clients: RegistryClient[] = [];
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await closeServers();
});

function makeClient(options = {}): RegistryClient {
  const client = new RegistryClient({ credentials: false, environment: {}, tries: 1, ...options });
  clients.push(client);
  return client;
}

/** The client after one request that is answered with these headers. */
async function heard(headers: Record<string, string | string[]>) {
  const server = await serve((_, response) => response.writeHead(404, headers).end());
  const client = makeClient();
  await client.repository(`${server.host}/a/b`).has(blobOf("x").descriptor);
  return { client, host: server.host };
}

describe("parseWarnings", () => {
  it("reads repeated headers and lists, unescaped", () => {
    expect(
      parseWarnings([
        '299 - "one, two", 299 - "a \\"quoted\\" \\\\ text"',
        '299 - "three" "Sun, 06 Nov 1994 08:49:37 GMT"',
      ]),
    ).toEqual(["one, two", 'a "quoted" \\ text', "three"]);
  });

  it("takes the code 299 without an agent only, as the spec says", () => {
    expect(parseWarnings(['199 - "other"', '299 proxy "other"', "299 - other", '299 - ""', "", '299 - "open'])).toEqual(
      [],
    );
  });

  it("leaves no control character for a terminal, and bounds the length", () => {
    expect(parseWarnings([`299 - "red \u001b[31m text\u0007 \u202egnp"`])).toEqual(["red  [31m text   gnp"]);
    expect(parseWarnings([`299 - "${"x".repeat(10_000)}"`])).toEqual([]);
    expect(parseWarnings([`299 - "${"x".repeat(4000)}"`])[0]).toHaveLength(4000);
  });
});

describe("warnings of a registry", () => {
  it("are told once each", async () => {
    const server = await serve((_, response) =>
      response.setHeader("warning", ['299 - "this is deprecated"', '299 - "so is that"']).writeHead(404).end(),
    );
    const client = makeClient();
    for (let count = 0; count < 3; count++) await client.repository(`${server.host}/a/b`).has(blobOf("x").descriptor);
    expect(client.warnings).toEqual([
      { host: server.host, text: "this is deprecated" },
      { host: server.host, text: "so is that" },
    ]);
  });

  it("without end are told up to a number, and those of other origins not at all", async () => {
    let count = 0;
    const elsewhere = await serve((_, response) => response.writeHead(200, { warning: '299 - "ad"' }).end("content"));
    const server = await serve((request, response) => {
      const warning = `299 - "number ${++count}"`;
      if (request.method === "GET") response.writeHead(307, { location: elsewhere.url, warning }).end();
      else response.writeHead(404, { warning }).end();
    });
    const client = makeClient();
    const repository = client.repository(`${server.host}/a/b`);
    expect(await text(repository.fetch(blobOf("content").descriptor))).toBe("content");
    for (let index = 0; index < 80; index++) await repository.has(blobOf("x").descriptor);
    expect(client.warnings).toHaveLength(50);
    expect(client.warnings.map(({ host }) => host)).not.toContain(elsewhere.host);
  });
});

describe("rate limits", () => {
  const cases: [string, Record<string, string>, object | undefined][] = [
    [
      "Docker Hub",
      { "ratelimit-limit": "100;w=21600", "ratelimit-remaining": "98;w=21600", "docker-ratelimit-source": "192.0.2.1" },
      { limit: 100, remaining: 98, window: 21_600_000, reset: undefined },
    ],
    [
      "GitHub and others with X-",
      { "x-ratelimit-limit": "60", "x-ratelimit-remaining": "7", "x-ratelimit-reset": "30" },
      { limit: 60, remaining: 7, window: undefined, reset: 30_000 },
    ],
    [
      "the IETF's draft with named policies",
      {
        "ratelimit-policy": '"burst";q=100;w=60, "day";q=1000;w=86400',
        ratelimit: '"burst";r=50;t=30, "day";r=5;t=4000',
      },
      { limit: 1000, remaining: 5, window: 86_400_000, reset: 4_000_000 },
    ],
    [
      "its older draft",
      { ratelimit: "limit=100, remaining=50, reset=5" },
      { limit: 100, remaining: 50, window: undefined, reset: 5000 },
    ],
    ["nobody", {}, undefined],
    ["somebody who writes rubbish", { "ratelimit-remaining": "many", ratelimit: "x;r=-1" }, undefined],
  ];
  it.each(cases)("are read as %s sends them", async (_, headers, expected) => {
    const { client, host } = await heard(headers);
    expect(client.rateLimits).toEqual(expected === undefined ? [] : [{ host, ...expected }]);
  });

  it("are those of the last answer", async () => {
    let left = 10;
    const server = await serve((_, response) =>
      response.writeHead(404, { "ratelimit-limit": "10", "ratelimit-remaining": String(--left) }).end(),
    );
    const client = makeClient();
    for (let count = 0; count < 3; count++) await client.repository(`${server.host}/a/b`).has(blobOf("x").descriptor);
    expect(client.rateLimits.map(({ remaining }) => remaining)).toEqual([7]);
  });
});

describe("userAgent", () => {
  it("names the version, and in Actions the repository and the workflow, whatever they are called", () => {
    expect(userAgent("1.2.3", {})).toBe("stowage/1.2.3");
    expect(userAgent("1.2.3", { GITHUB_REPOSITORY: "a/b" })).toBe("stowage/1.2.3");
    const actions = { GITHUB_ACTIONS: "true", GITHUB_REPOSITORY: "acme/app" };
    expect(userAgent("1.2.3", { ...actions, GITHUB_WORKFLOW: "Release" })).toBe(
      "stowage/1.2.3 (GitHub Actions; acme/app; Release)",
    );
    expect(userAgent("1", { ...actions, GITHUB_WORKFLOW: "a(b)\r\nX: y;\u00e9" })).toBe(
      "stowage/1 (GitHub Actions; acme/app; a_b___X: y__)",
    );
  });

  it("that is given as a header goes to the registry and not to where it redirects", async () => {
    const elsewhere = await serve((_, response) => response.end("content"));
    const server = await serve((_, response) => response.writeHead(307, { location: elsewhere.url }).end());
    const client = makeClient({
      userAgent: "stowage/1",
      headers: { "user-agent": "stowage/1 (GitHub Actions; acme/app)" },
    });
    await text(client.repository(`${server.host}/a/b`).fetch(blobOf("content").descriptor));
    expect(server.received[0]?.headers["user-agent"]).toBe("stowage/1 (GitHub Actions; acme/app)");
    expect(elsewhere.received[0]?.headers["user-agent"]).toBe("stowage/1");
  });
});

describe("a warning that repeats what a request showed", () => {
  it("is told without it", async () => {
    const server = await serve((request, response) => {
      const shown = request.headers.authorization ?? "nothing";
      const account = shown.startsWith("Basic ") ? Buffer.from(shown.slice(6), "base64").toString() : "";
      response.writeHead(401, {
        "www-authenticate": 'Basic realm="x"',
        warning: `299 - "${shown} ${account} for you"`,
      });
      response.end();
    });
    const client = makeClient({ credentials: { username: "me", password: "not-for-logs" } });
    await expect(client.repository(`${server.host}/a/b`).has(blobOf("x").descriptor)).rejects.toThrow();
    const told = client.warnings.map((warning) => warning.text);
    expect(told).toContain("Basic *** me:*** for you");
    expect(told.join()).not.toContain("not-for-logs");
  });
});
