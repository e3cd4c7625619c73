import { afterEach, describe, expect, it } from "vitest";
import { type ClientOptions, RegistryClient } from "../src/index.js";
import { blobOf, failure, manifestOf, text } from "./support/artifacts.js";
import { closeServers, type Handler, sendError, serve } from "./support/server.js";
import { serveRegistry } from "./support/small-registry.js";

const clients: RegistryClient[] = [];

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await closeServers();
});

function repository(host: string, options: ClientOptions = {}) {
  const client = new RegistryClient({ credentials: false, environment: {}, retryDelay: 1, ...options });
  clients.push(client);
  return client.repository(`${host}/some/repo`);
}

/** Fails a number of times with `fault`, then answers 404. */
async function failing(times: number, fault: Handler) {
  let left = times;
  return serve((request, response, body) =>
    left-- > 0 ? fault(request, response, body) : response.writeHead(404).end(),
  );
}

describe("a request that fails for a while", () => {
  it("is sent again: after 408, 429, 5xx and a lost connection", async () => {
    for (const status of [408, 429, 500, 502, 503, 504]) {
      const server = await failing(2, (_, response) => response.writeHead(status).end());
      expect(await repository(server.host).has(blobOf("x").descriptor)).toBe(false);
      expect([status, server.received.length]).toEqual([status, 3]);
    }
    const server = await failing(2, (request) => request.socket.destroy());
    expect(await repository(server.host).has(blobOf("x").descriptor)).toBe(false);
    expect(server.received).toHaveLength(3);
  });

  it("is sent again with its body", async () => {
    const bodies: string[] = [];
    const server = await serve(async (request, response, body) => {
      if (request.method !== "PUT") return response.writeHead(404).end();
      bodies.push((await body()).toString());
      return bodies.length < 3 ? request.socket.destroy() : response.writeHead(201).end();
    });
    const manifest = manifestOf([]);
    expect(await repository(server.host).push(manifest)).toBe("written");
    expect(bodies).toEqual(Array(3).fill(JSON.stringify(JSON.parse(bodies[0] as string))));
  });

  it("is given up after the allowed number of tries, with the last failure", async () => {
    const server = await serve((_, response) => sendError(response, 503, "UNAVAILABLE", "come back later"));
    const error = await failure(text(repository(server.host, { tries: 3 }).fetch(blobOf("x").descriptor)));
    expect(error).toMatchObject({
      code: "REGISTRY",
      status: 503,
      diagnostics: [{ code: "UNAVAILABLE", message: "come back later" }],
    });
    expect(server.received).toHaveLength(3);
  });

  it("is not sent again where that would not help", async () => {
    for (const [status, code] of [
      [400, "INVALID"],
      [401, "UNAUTHORIZED"],
      [403, "DENIED"],
      [405, "UNSUPPORTED"],
      [409, "CONFLICT"],
      [413, "LIMIT"],
      [415, "UNSUPPORTED"],
      [418, "REGISTRY"],
    ] as const) {
      const server = await serve((_, response) => response.writeHead(status).end());
      await expect(text(repository(server.host).fetch(blobOf("x").descriptor))).rejects.toMatchObject({ code, status });
      expect(server.received).toHaveLength(1);
    }
  });

  it("waits as long as the registry asks, and so do all other requests to it", async () => {
    const times: number[] = [];
    const server = await serve((_, response) => {
      times.push(performance.now());
      if (times.length === 1) response.writeHead(429, { "retry-after": "1" }).end();
      else response.writeHead(404).end();
    });
    const target = repository(server.host);
    const first = target.has(blobOf("x").descriptor);
    while (times.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await new Promise((resolve) => setTimeout(resolve, 50));
    await Promise.all([first, target.has(blobOf("y").descriptor)]);
    // A lower bound, which no slow machine can break.
    for (const time of times.slice(1)) expect(time - (times[0] as number)).toBeGreaterThan(900);
    expect(times).toHaveLength(3);
  });

  it("is given up at once where the registry asks for too long a wait", async () => {
    const server = await serve((_, response) => response.writeHead(429, { "retry-after": "3600" }).end());
    const error = await failure(repository(server.host).has(blobOf("x").descriptor));
    expect(error).toMatchObject({ code: "LIMIT", status: 429, retryAfter: 3_600_000 });
    expect(error.hint).toContain("3600 s");
    expect(server.received).toHaveLength(1);
  });

  it("is given up where it would take longer than allowed in all", async () => {
    const server = await serve((_, response) => response.writeHead(503, { "retry-after": "2" }).end());
    const error = await failure(repository(server.host, { retryBudget: 1000 }).has(blobOf("x").descriptor));
    expect(error).toMatchObject({ status: 503, retryAfter: 2000 });
    expect(server.received).toHaveLength(1);
  });

  it("takes the date of Retry-After as well, and a body that is no JSON for what it is", async () => {
    const server = await failing(1, (_, response) =>
      response
        .writeHead(429, {
          "retry-after": new Date(Date.now() - 5000).toUTCString(),
          "content-type": "application/json",
        })
        .end("{ <html>too many"),
    );
    expect(await repository(server.host).has(blobOf("x").descriptor)).toBe(false);
    expect(server.received).toHaveLength(2);
    const far = await serve((_, response) =>
      response.writeHead(429, { "retry-after": new Date(Date.now() + 7_200_000).toUTCString() }).end("too many"),
    );
    const error = await failure(repository(far.host).has(blobOf("x").descriptor));
    expect(error).toMatchObject({ code: "LIMIT", diagnostics: [] });
    expect(far.received).toHaveLength(1);
  });

  it("ends with the signal while it waits", async () => {
    const server = await serve((_, response) => response.writeHead(429, { "retry-after": "30" }).end());
    const abort = new AbortController();
    const failed = failure(repository(server.host).has(blobOf("x").descriptor, { signal: abort.signal }));
    while (server.received.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    abort.abort(new Error("enough"));
    expect((await failed).message).toBe("enough");
  });
});

describe("a blob that is pushed over a bad line", () => {
  it("is sent again in a new session, then once more without a question, and its bytes are counted once", async () => {
    let cuts = 2;
    const registry = await serveRegistry({
      intercept: (request) => {
        if (request.method !== "PUT" || cuts === 0) return false;
        let size = 0;
        request.on("data", (chunk: Buffer) => {
          size += chunk.byteLength;
          if (size < 300_000) return;
          cuts--;
          request.socket.destroy();
        });
        return true;
      },
    });
    const content = blobOf(Buffer.alloc(2_000_000, "abcdefg"));
    const chunks = Array.from({ length: 20 }, (_, index) =>
      Buffer.alloc(2_000_000, "abcdefg").subarray(index * 100_000, (index + 1) * 100_000),
    );
    let counted = 0;
    const presence = await repository(registry.host).push(
      { ...content, open: () => chunks },
      { onBytes: (count) => (counted += count) },
    );
    expect(presence).toBe("written");
    expect(counted).toBe(2_000_000);
    expect(registry.blobs.get(`some/repo ${content.descriptor.digest}`)?.byteLength).toBe(2_000_000);
    expect(registry.received.filter(({ method }) => method === "POST")).toHaveLength(2);
    expect(registry.uploads.size).toBe(0);
  });

  it("is not sent again where only the answer was lost", async () => {
    const registry = await serveRegistry({
      intercept: async (request, _, { blobs }) => {
        if (request.method !== "PUT") return false;
        const chunks: Buffer[] = [];
        for await (const chunk of request) chunks.push(chunk as Buffer);
        const digest = new URL(request.url ?? "", "http://x").searchParams.get("digest");
        blobs.set(`some/repo ${digest}`, Buffer.concat(chunks));
        request.socket.destroy();
        return true;
      },
    });
    expect(await repository(registry.host).push(blobOf("content"))).toBe("written");
    expect(registry.received.filter(({ method }) => method === "PUT")).toHaveLength(1);
  });
});

describe("a blob that is fetched over a bad line", () => {
  const whole = Buffer.alloc(500_000, "0123456789");
  const content = blobOf(whole);

  it("is taken up where it broke off", async () => {
    const ranges: (string | undefined)[] = [];
    const server = await serve((request, response) => {
      ranges.push(request.headers.range);
      const from = Number(/\d+/.exec(request.headers.range ?? "0")?.[0]);
      response.writeHead(from > 0 ? 206 : 200, {
        "content-length": String(whole.byteLength - from),
        ...(from > 0 ? { "content-range": `bytes ${from}-${whole.byteLength - 1}/${whole.byteLength}` } : {}),
      });
      if (ranges.length === 4) response.end(whole.subarray(from));
      else response.write(whole.subarray(from, from + 100_000), () => request.socket.destroy());
    });
    expect(await text(repository(server.host).fetch(content.descriptor))).toBe(whole.toString());
    expect(ranges).toHaveLength(4);
    expect(ranges[0]).toBeUndefined();
    expect(ranges.slice(1).every((range) => /^bytes=[1-9]\d*-$/.test(range ?? ""))).toBe(true);
  });

  it("is taken up from a server that knows no ranges", async () => {
    let count = 0;
    const server = await serve((request, response) => {
      response.writeHead(200, { "content-length": String(whole.byteLength) });
      if (++count === 1) response.write(whole.subarray(0, 123_456), () => request.socket.destroy());
      else response.end(whole);
    });
    expect(await text(repository(server.host).fetch(content.descriptor))).toBe(whole.toString());
    expect(count).toBe(2);
  });

  it("is given up where it trickles", async () => {
    const server = await serve((request, response) => {
      const from = Number(/\d+/.exec(request.headers.range ?? "0")?.[0]);
      response.writeHead(from > 0 ? 206 : 200, {
        "content-range": `bytes ${from}-${whole.byteLength - 1}/${whole.byteLength}`,
      });
      response.write(whole.subarray(from, from + 10), () => request.socket.destroy());
    });
    await expect(text(repository(server.host, { tries: 4 }).fetch(content.descriptor))).rejects.toMatchObject({
      code: "REGISTRY",
    });
    expect(server.received).toHaveLength(4);
  });

  it("is given up where nothing more arrives", async () => {
    const server = await serve((request, response) => {
      response.writeHead(200, { "content-length": String(whole.byteLength) });
      response.flushHeaders();
      setTimeout(() => request.socket.destroy(), 5);
    });
    const error = await failure(text(repository(server.host).fetch(content.descriptor)));
    expect(error).toMatchObject({ code: "REGISTRY", temporary: true });
    expect(error.message).toContain("connection");
  });
});
