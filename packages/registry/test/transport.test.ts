import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, createServer as createSocketServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseDigest } from "@stowage/layout";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { type ClientOptions, RegistryClient } from "../src/index.js";
import { blobOf, failure, text } from "./support/artifacts.js";
import { freePort } from "./support/real-registry.js";
import { closeServers, serve } from "./support/server.js";

const clients: RegistryClient[] = [];

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await closeServers();
});

function repository(host: string, options: ClientOptions = {}) {
  const client = new RegistryClient({ credentials: false, tries: 1, environment: {}, ...options });
  clients.push(client);
  return client.repository(`${host}/some/repo`);
}

describe("a request", () => {
  it("says that nothing listens, and where", async () => {
    const host = `127.0.0.1:${await freePort()}`;
    const error = await failure(repository(host, { tries: 5 }).resolve("v1"));
    expect(error).toMatchObject({ code: "REGISTRY", status: undefined, method: "HEAD" });
    expect(error.message).toContain(`nothing listens on ${host}`);
    expect(error.hint).toBeDefined();
  });

  it("says that a name cannot be resolved", async () => {
    const error = await failure(repository("no-such-host.invalid").resolve("v1"));
    expect(error.code).toBe("REGISTRY");
    expect(error.message).toContain("no-such-host.invalid cannot be resolved");
  });

  it("gives up on a server that never answers", async () => {
    const server = await serve(() => {});
    const error = await failure(repository(server.host, { stallTimeout: 200 }).resolve("v1"));
    expect(error).toMatchObject({ code: "LIMIT" });
    expect(error.message).toContain("did not answer in time");
  });

  it("gives up on a connection that does not come about, and says so", async () => {
    // It takes the connection and never answers to what would make it TLS.
    const server = createSocketServer(() => {});
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const error = await failure(repository(host, { plainHttp: false, connectTimeout: 200 }).resolve("v1"));
    expect(error).toMatchObject({ code: "LIMIT", temporary: true });
    expect(error.message).toContain(`no connection to ${host} came about in time`);
    server.close();
  });

  it("gives up on a body that is not taken, and says so", async () => {
    const server = await serve((request, response) => {
      if (request.method === "POST") response.writeHead(202, { location: "/upload" }).end();
      else if (request.method === "PUT") request.socket.pause();
      else response.writeHead(404).end();
    });
    const part = Buffer.alloc(1024 * 1024, "x");
    const size = 64;
    const hash = createHash("sha256");
    for (let index = 0; index < size; index++) hash.update(part);
    const descriptor = {
      mediaType: "application/octet-stream",
      digest: parseDigest(`sha256:${hash.digest("hex")}`),
      size: size * part.byteLength,
    };
    const pushed = repository(server.host, { stallTimeout: 200 }).push({
      descriptor,
      open: () => Array(size).fill(part),
    });
    const error = await failure(pushed);
    expect(error).toMatchObject({ code: "LIMIT", temporary: true });
    expect(error.message).toContain("stopped reading");
  });

  it("waits for a body whose source is slow, however long", async () => {
    const received: number[] = [];
    const server = await serve(async (request, response, body) => {
      if (request.method === "POST") response.writeHead(202, { location: "/upload" }).end();
      else if (request.method === "PUT") {
        received.push((await body()).byteLength);
        response.writeHead(201).end();
      } else response.writeHead(404).end();
    });
    const content = blobOf("slow content");
    const open = async function* () {
      for (const letter of "slow content") {
        await new Promise((resolve) => setTimeout(resolve, 30));
        yield Buffer.from(letter);
      }
    };
    expect(await repository(server.host, { stallTimeout: 100 }).push({ ...content, open })).toBe("written");
    expect(received).toEqual([content.descriptor.size]);
  });

  it("gives up on a body that stops coming", async () => {
    const server = await serve((_, response) => {
      response.writeHead(200, { "content-length": "1000" });
      response.write("beginning");
    });
    const error = await failure(
      text(repository(server.host, { stallTimeout: 200 }).fetch(blobOf("x".repeat(1000)).descriptor)),
    );
    expect(error).toMatchObject({ code: "LIMIT" });
    expect(error.message).toContain("stopped sending");
  });

  it.each([200, 307, 500])("gives up on a body that trickles, with status %s", async (status) => {
    const timers: NodeJS.Timeout[] = [];
    const server = await serve((_, response) => {
      response.writeHead(status, {
        "content-type": "application/json",
        ...(status === 307 ? { location: "/again" } : {}),
      });
      response.write("[");
      timers.push(setInterval(() => response.write(" "), 10));
    });
    const listing = repository(server.host, { stallTimeout: 60 }).tags()[Symbol.asyncIterator]();
    await expect(listing.next()).rejects.toThrow(status === 200 ? "sends too slowly" : /redirects more than|500/);
    for (const timer of timers) clearInterval(timer);
  });

  it("ends with the signal's reason, also while a body is read", async () => {
    const server = await serve((_, response) => {
      response.writeHead(200, { "content-length": "1000" });
      response.write("beginning");
    });
    const abort = new AbortController();
    const fetching = failure(
      text(repository(server.host).fetch(blobOf("x".repeat(1000)).descriptor, { signal: abort.signal })),
    );
    while (server.received.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    abort.abort(new Error("enough"));
    expect((await fetching).message).toBe("enough");
    await expect(repository(server.host).resolve("v1", { signal: abort.signal })).rejects.toThrow("enough");
  });

  it("tells its name, and asks for content as it is", async () => {
    const server = await serve((_, response) => response.writeHead(404).end());
    await failure(repository(server.host, { userAgent: "stowage/9" }).resolve("v1"));
    await failure(repository(server.host).resolve("v1"));
    expect(server.received.map(({ headers }) => headers["user-agent"])).toEqual(["stowage/9", "stowage"]);
    expect(server.received[0]?.headers["accept-encoding"]).toBe("identity");
  });

  it("uses no more connections than allowed, and uses them again", async () => {
    const sockets = new Set<unknown>();
    const server = await serve((request, response) => {
      sockets.add(request.socket);
      setTimeout(() => response.writeHead(404).end(), 5);
    });
    const target = repository(server.host, { connections: 2 });
    await Promise.all(Array.from({ length: 20 }, (_, index) => target.has(blobOf(`${index}`).descriptor)));
    expect(server.received).toHaveLength(20);
    expect(sockets.size).toBeLessThanOrEqual(2);
  });

  it("moves content from a registry to itself with a single connection for each direction", async () => {
    const content = blobOf(Buffer.alloc(200_000, "z"));
    const stored = new Map<string, Buffer>();
    const server = await serve(async (request, response, body) => {
      const path = request.url ?? "";
      if (request.method === "POST") response.writeHead(202, { location: "/v2/upload/1" }).end();
      else if (request.method === "PUT") {
        stored.set(path, await body());
        response.writeHead(201).end();
      } else if (request.method === "GET") response.end(Buffer.alloc(200_000, "z"));
      else response.writeHead(404).end();
    });
    const target = repository(server.host, { connections: 1 });
    const push = () => target.push({ descriptor: content.descriptor, open: () => target.fetch(content.descriptor) });
    await Promise.all([push(), push(), push()]);
    expect([...stored.values()].map(({ byteLength }) => byteLength)).toEqual([200_000]);
  });

  it("fails after close", async () => {
    const server = await serve((_, response) => response.writeHead(404).end());
    const client = new RegistryClient({ credentials: false });
    await client.close();
    await expect(client.repository(`${server.host}/a/b`).resolve("v1")).rejects.toThrow(TypeError);
  });

  it("goes through a proxy where the environment names one", async () => {
    const proxy = await serve((request, response) => {
      response.writeHead(404, { "content-type": "text/plain" }).end(request.url);
    });
    const environment = { http_proxy: `http://user:secret@${proxy.host}` };
    const error = await failure(repository("registry.invalid", { plainHttp: true, environment }).resolve("v1"));
    expect(error.code).toBe("NOT_FOUND");
    expect(proxy.received[0]?.path).toBe("http://registry.invalid/v2/some/repo/manifests/v1");
    expect(proxy.received[0]?.headers["proxy-authorization"]).toBe(
      `Basic ${Buffer.from("user:secret").toString("base64")}`,
    );
  });
});

describe("a proxy", () => {
  it("that is not there is named beside the registry", async () => {
    const proxy = `127.0.0.1:${await freePort()}`;
    for (const scheme of ["http", "https"]) {
      const environment = { [`${scheme}_proxy`]: `http://user:secret@${proxy}` };
      const error = await failure(
        repository("registry.invalid", { plainHttp: scheme === "http", environment }).resolve("v1"),
      );
      expect(error.message).toContain(`nothing listens on registry.invalid or the proxy ${proxy}`);
      expect(error.message).not.toContain("secret");
    }
  });

  it("that refuses is quoted", async () => {
    const proxy = createSocketServer((socket) =>
      socket.once("data", () => socket.end("HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")),
    );
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    const environment = { https_proxy: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}` };
    const error = await failure(repository("registry.invalid", { environment }).resolve("v1"));
    expect(error).toMatchObject({ code: "REGISTRY", message: expect.stringContaining("407") });
    proxy.close();
  });
});

describe("a client that is done", () => {
  it("does not keep its process alive, closed or not", async () => {
    const server = await serve((_, response) => response.writeHead(404).end());
    const source = fileURLToPath(new URL("../dist/index.js", import.meta.url));
    execFileSync("npx", ["tsc", "-b", fileURLToPath(new URL("..", import.meta.url))]);
    const script = `
      import { RegistryClient } from ${JSON.stringify(source)};
      const client = new RegistryClient({ credentials: false });
      await client.repository("${server.host}/a/b").resolve("v1").catch((error) => console.log(error.code));
    `;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    child.stdout.on("data", (chunk) => (output += chunk));
    expect(await new Promise((resolve) => child.on("close", resolve))).toBe(0);
    expect(output).toBe("NOT_FOUND\n");
  });
});

describe("TLS", () => {
  let folder: string;
  let host: string;
  let close: () => void;
  const file = (name: string) => join(folder, name);

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "stowage-tls-"));
    const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
    execFileSync(
      "openssl",
      [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-keyout",
        file("key.pem"),
        "-out",
        file("cert.pem"),
        ...subject,
      ],
      { stdio: "ignore" },
    );
    const server = createTlsServer(
      { key: readFileSync(file("key.pem")), cert: readFileSync(file("cert.pem")) },
      (_, response) => response.writeHead(404).end(),
    );
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    close = () => server.close();
  });
  afterAll(() => {
    close();
    rmSync(folder, { recursive: true });
  });

  it("refuses a certificate nobody known has signed, and says what can be done", async () => {
    const error = await failure(repository(host, { plainHttp: false, tries: 5 }).resolve("v1"));
    expect(error.code).toBe("REGISTRY");
    expect(error.message).toContain(`the certificate of ${host} is not trusted`);
    expect(error.hint).toContain("--ca-file");
  });

  it("takes the certificate with its authority, or without the check for the hosts that are named", async () => {
    for (const options of [{ caFile: file("cert.pem") }, { insecure: true }, { insecure: [host] }]) {
      await expect(repository(host, { plainHttp: false, ...options }).resolve("v1")).rejects.toMatchObject({
        code: "NOT_FOUND",
      });
    }
    await expect(repository(host, { plainHttp: false, insecure: ["other:1"] }).resolve("v1")).rejects.toMatchObject({
      code: "REGISTRY",
    });
  });

  it("says that a file of authorities cannot be read", async () => {
    const failed = repository(host, { plainHttp: false, caFile: file("absent.pem") }).resolve("v1");
    await expect(failed).rejects.toMatchObject({ code: "NOT_FOUND", message: expect.stringContaining("absent.pem") });
    writeFileSync(file("rubbish.pem"), "rubbish");
    await expect(
      repository(host, { plainHttp: false, caFile: file("rubbish.pem") }).resolve("v1"),
    ).rejects.toBeInstanceOf(Error);
  });

  it("hints at --plain-http where the other side speaks no TLS", async () => {
    const server = await serve((_, response) => response.end());
    const error = await failure(repository(server.host, { plainHttp: false }).resolve("v1"));
    expect(error.message).toContain("does not speak TLS");
    expect(error.hint).toContain("--plain-http");
  });

  it("is not spoken where the registry is reached over http, and the registry's word for it is understood", async () => {
    const server = await serve((_, response) =>
      response.writeHead(400).end("Client sent an HTTP request to an HTTPS server.\n"),
    );
    const error = await failure(repository(server.host).resolve("v1"));
    expect(error).toMatchObject({ code: "INVALID", hint: expect.stringContaining("speaks TLS") });
  });

  it("is needed: bytes that are not HTTP are an error", async () => {
    const server = createSocketServer((socket) => socket.end("SSH-2.0-OpenSSH\r\n"));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const error = await failure(repository(`127.0.0.1:${(server.address() as AddressInfo).port}`).resolve("v1"));
    expect(error.code).toBe("REGISTRY");
    server.close();
  });
});
