import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer as createHttpServer, type Server } from "node:http";
import { createServer, type Server as TlsServer } from "node:https";
import { type AddressInfo, connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { type ClientOptions, RegistryClient } from "../src/index.js";
import { blobOf, failure } from "./support/artifacts.js";
import { makeAuthority } from "./support/certificates.js";

/**
 * Docker Hub as it is, on this machine: its registry and its token server under their own names with TLS, behind a proxy that
 * connects those names to them.
 */
let folder: string;
let caFile: string;
let hub: TlsServer;
let proxy: Server;
const sockets = new Set<Socket>();
const received: { host: string; path: string; authorization: string | undefined }[] = [];
const tunnels: string[] = [];
const clients: RegistryClient[] = [];
let realm: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "stowage-hub-"));
  const authority = makeAuthority(folder);
  caFile = authority.caFile;
  const names = ["registry-1.docker.io", "auth.docker.io", "auth.evil.example", "evil.docker.io"];
  const { certFile, keyFile } = authority.issue("hub", names);
  hub = createServer({ cert: readFileSync(certFile), key: readFileSync(keyFile) }, (request, response) => {
    const { host = "", authorization } = request.headers;
    received.push({ host, path: request.url ?? "", authorization });
    if (host !== "registry-1.docker.io") response.end(JSON.stringify({ token: "t" }));
    else if (authorization === "Bearer t") response.writeHead(404).end();
    else {
      const challenge = `Bearer realm="${realm}",service="registry.docker.io",scope="repository:library/alpine:pull"`;
      response.writeHead(401, { "www-authenticate": challenge }).end();
    }
  });
  await new Promise<void>((resolve) => hub.listen(0, "127.0.0.1", resolve));
  proxy = createHttpServer().on("connect", (request, socket: Socket) => {
    tunnels.push(request.url ?? "");
    const onward = connect((hub.address() as AddressInfo).port, "127.0.0.1", () => {
      socket.write("HTTP/1.1 200 Connection Established\r\n\r\n");
      onward.pipe(socket).pipe(onward);
    });
    for (const end of [socket, onward]) sockets.add(end.on("error", () => {}));
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  received.splice(0);
  tunnels.splice(0);
});
afterAll(() => {
  for (const socket of sockets) socket.destroy();
  hub.close();
  proxy.close();
  rmSync(folder, { recursive: true });
});

function alpine(options: ClientOptions = {}) {
  const environment = { HTTPS_PROXY: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}` };
  const credentials = { username: "alice", password: "s3cret" };
  const client = new RegistryClient({ credentials, environment, caFile, tries: 1, ...options });
  clients.push(client);
  return client.repository("alpine");
}

const basic = `Basic ${Buffer.from("alice:s3cret").toString("base64")}`;

describe("Docker Hub", () => {
  it("gets its credentials at its token server on another host, and only there", async () => {
    realm = "https://auth.docker.io/token";
    expect(await alpine().has(blobOf("x").descriptor)).toBe(false);
    expect(tunnels).toEqual(["registry-1.docker.io:443", "auth.docker.io:443"]);
    expect(received.map(({ host, authorization }) => [host, authorization])).toEqual([
      ["registry-1.docker.io", undefined],
      ["auth.docker.io", basic],
      ["registry-1.docker.io", "Bearer t"],
    ]);
    expect(received[1]?.path).toContain("scope=repository%3Alibrary%2Falpine%3Apull");
  });

  it("whose challenge names another token server gets nothing sent there", async () => {
    for (const other of ["https://auth.evil.example/token", "https://evil.docker.io/token"]) {
      realm = other;
      const error = await failure(alpine().has(blobOf("x").descriptor));
      expect(error).toMatchObject({ code: "DENIED", message: expect.stringContaining(new URL(other).host) });
    }
    expect(tunnels.every((name) => name === "registry-1.docker.io:443")).toBe(true);
  });

  it("whose challenge names another token server gives a stranger a token from it, without any credentials", async () => {
    realm = "https://auth.evil.example/token";
    expect(await alpine({ credentials: false }).has(blobOf("x").descriptor)).toBe(false);
    expect(received.map(({ host, authorization }) => [host, authorization])[1]).toEqual([
      "auth.evil.example",
      undefined,
    ]);
  });
});
