import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, request as forward, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Authority, makeAuthority } from "../../packages/registry/test/support/certificates.js";
import { stowage } from "../cli/stowage.js";
import { attachAll, type Graph, type SmallImage, smallImage, stowageGraph } from "./images.js";
import { findTool, launch, needs, run, scratch } from "./peers.js";
import { freePort, type PeerRegistry, startDockerRegistry } from "./registries.js";

const account = { name: "alice", password: "s3cret" };
const opensslIsThere = findTool("openssl") !== undefined;

let image: SmallImage;
let graph: Graph;
let authority: Authority;
let server: { certFile: string; keyFile: string };

beforeAll(async () => {
  image = await smallImage();
  graph = await attachAll(image.directory, "oci:out", image.digest);
  if (!opensslIsThere) return;
  authority = makeAuthority(await scratch());
  server = authority.issue("server", ["127.0.0.1", "registry.test"]);
});

/** Runs the command in the image's directory. */
const inImage = (args: readonly string[], env: Readonly<Record<string, string | undefined>> = {}) =>
  stowage(args, { cwd: image.directory, env });

/** A certs.d directory in a configuration directory of its own, which XDG_CONFIG_HOME can name. */
async function configHome(host: string, files: Readonly<Record<string, string>>): Promise<string> {
  const home = await scratch();
  const directory = join(home, "containers", "certs.d", host);
  mkdirSync(directory, { recursive: true });
  for (const [name, from] of Object.entries(files)) cpSync(from, join(directory, name));
  return home;
}

// Registries go by names of their own here, which only the proxy knows: this machine is reached without TLS and without a proxy.
describe("docker-registry with a private authority", () => {
  let started: Promise<PeerRegistry> | undefined;
  const registry = (): Promise<PeerRegistry> => (started ??= startDockerRegistry(account, server));

  it("is refused until its authority is named, by file or by certs.d", async (context) => {
    needs(context, "docker-registry", "htpasswd", "openssl", "tinyproxy", "skopeo");
    const { host } = await registry();
    const proxy = await startProxy({ "registry.test:443": host });
    const env = { ...proxy.env, STOWAGE_PASSWORD: account.password, STOWAGE_DST_PASSWORD: account.password };
    const reference = "registry.test/private/tls:v1";
    const refused = await inImage(["push", "oci:out:v1", reference, "--dst-creds", account.name], env);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("the certificate of registry.test");
    expect(refused.stderr).toContain("--ca-file");
    const pushed = await inImage(
      ["push", "oci:out:v1", reference, "--dst-creds", account.name, "--ca-file", authority.caFile],
      env,
    );
    expect(pushed).toMatchObject({ code: 0, stderr: "" });
    const XDG_CONFIG_HOME = await configHome("registry.test", { "ca.crt": authority.caFile });
    const pulled = await inImage(["pull", reference, "oci:tls:v1", "--src-creds", account.name], {
      ...env,
      XDG_CONFIG_HOME,
      STOWAGE_SRC_PASSWORD: account.password,
    });
    expect(pulled).toMatchObject({ code: 0, stderr: "" });
    expect(await stowageGraph(image.directory, "oci:tls:v1")).toEqual(graph);
    // Others read the same directory.
    const certDir = join(XDG_CONFIG_HOME, "containers", "certs.d", "registry.test");
    const creds = ["--creds", `${account.name}:${account.password}`, "--cert-dir", certDir];
    expect(await run("skopeo", ["inspect", ...creds, `docker://${reference}`], { env: proxy.env })).toContain(
      image.digest,
    );
    expect(proxy.log()).toContain("CONNECT registry.test:443");
  });

  it("is taken unchecked where that is asked for by name", async (context) => {
    needs(context, "docker-registry", "htpasswd", "openssl", "tinyproxy");
    const { host } = await registry();
    const proxy = await startProxy({ "registry.test:443": host });
    const env = { ...proxy.env, STOWAGE_PASSWORD: account.password };
    const list = (insecure: string) =>
      inImage(["list", "registry.test/private/none", "--creds", account.name, "--insecure", insecure], env);
    expect((await list("registry.test")).stderr).toContain("404");
    expect((await list("other.test")).stderr).toContain("the certificate of registry.test");
  });
});

describe("docker-registry that asks for client certificates", () => {
  it("lets in who shows one, by options or by certs.d, and the message names what is missing", async (context) => {
    needs(context, "docker-registry", "openssl", "tinyproxy");
    const alice = authority.issue("alice");
    const { host } = await startDockerRegistry(undefined, { ...server, clientCaFile: authority.caFile });
    const proxy = await startProxy({ "registry.test:443": host });
    const reference = "registry.test/private/mutual:v1";
    const ca = ["--ca-file", authority.caFile];
    const refused = await inImage(["push", "oci:out:v1", reference, ...ca], proxy.env);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("client certificate");
    const options = [...ca, "--cert", alice.certFile, "--key", alice.keyFile];
    expect(await inImage(["push", "oci:out:v1", reference, ...options], proxy.env)).toMatchObject({
      code: 0,
      stderr: "",
    });
    const files = { "ca.crt": authority.caFile, "client.cert": alice.certFile, "client.key": alice.keyFile };
    const XDG_CONFIG_HOME = await configHome("registry.test", files);
    const pulled = await inImage(["pull", reference, "oci:mutual:v1"], { ...proxy.env, XDG_CONFIG_HOME });
    expect(pulled).toMatchObject({ code: 0, stderr: "" });
    expect(await stowageGraph(image.directory, "oci:mutual:v1")).toEqual(graph);
  });
});

describe("tinyproxy", () => {
  it("carries plain http as well, with a name and a password of its own", async (context) => {
    needs(context, "docker-registry", "tinyproxy");
    const { host } = await startDockerRegistry();
    const proxy = await startProxy({ "plain.test:80": host }, { name: "user", password: "pr0xy" });
    const reference = "plain.test/through/proxy:v1";
    const pushed = await inImage(["push", "oci:out:v1", reference, "--plain-http", "plain.test"], proxy.env);
    expect(pushed).toMatchObject({ code: 0, stderr: "" });
    const pulled = await inImage(["pull", reference, "oci:proxied:v1", "--plain-http", "plain.test"], proxy.env);
    expect(pulled).toMatchObject({ code: 0, stderr: "" });
    expect(await stowageGraph(image.directory, "oci:proxied:v1")).toEqual(graph);
  });

  it("that refuses the password is named, and the password is not", async (context) => {
    needs(context, "docker-registry", "tinyproxy");
    const proxy = await startProxy({}, { name: "user", password: "pr0xy" });
    const wrong = proxy.env.HTTPS_PROXY.replace("pr0xy", "wr0ng");
    const refused = await inImage(["list", "registry.test/a/b"], { HTTPS_PROXY: wrong });
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/the proxy 127\.0\.0\.1:\d+ answered 40[17]\n.*password of the proxy/);
    expect(refused.stderr).not.toContain("wr0ng");
  });

  it("is left alone where NO_PROXY says so", async (context) => {
    needs(context, "tinyproxy");
    const proxy = await startProxy({});
    for (const NO_PROXY of ["*", ".invalid", "registry.invalid:443", "example.com, registry.invalid"]) {
      const direct = await inImage(["list", "registry.invalid/a/b"], { ...proxy.env, NO_PROXY });
      expect([NO_PROXY, direct.stderr]).toEqual([
        NO_PROXY,
        expect.stringContaining("registry.invalid cannot be resolved"),
      ]);
    }
    expect(proxy.log()).not.toContain("registry.invalid");
  });
});

const servers: { server: Server; sockets: Set<Socket> }[] = [];
afterAll(() => {
  for (const { server: one, sockets } of servers) {
    for (const socket of sockets) socket.destroy();
    one.close();
  }
});

/**
 * Starts tinyproxy. What it is asked for goes on to a second proxy of our own, which stands for the world: it connects `names`
 * (HOST:PORT) to places on this machine, and nothing else.
 */
async function startProxy(names: Readonly<Record<string, string>>, user?: { name: string; password: string }) {
  const world = await startWorld(names);
  const directory = await scratch();
  const port = await freePort();
  const log = join(directory, "log");
  const config = [
    `Port ${port}`,
    "Listen 127.0.0.1",
    "Allow 127.0.0.1",
    "Timeout 60",
    "LogLevel Info",
    `LogFile "${log}"`,
    `Upstream http 127.0.0.1:${world}`,
    ...(user === undefined ? [] : [`BasicAuth ${user.name} ${user.password}`]),
  ];
  writeFileSync(join(directory, "tinyproxy.conf"), `${config.join("\n")}\n`);
  const child = await launch("tinyproxy", ["-d", "-c", "tinyproxy.conf"], directory);
  for (let count = 0; !(await listens(port)); count++) {
    if (count > 200 || child.exitCode !== null) throw new Error("tinyproxy did not start");
    await sleep(50);
  }
  const credentials = user === undefined ? "" : `${user.name}:${user.password}@`;
  const url = `http://${credentials}127.0.0.1:${port}`;
  return { env: { HTTPS_PROXY: url, HTTP_PROXY: url }, log: () => readFileSync(log, "utf8") };
}

async function startWorld(names: Readonly<Record<string, string>>): Promise<number> {
  const sockets = new Set<Socket>();
  const world = createServer();
  // Bytes are passed on as they are: CONNECT as a tunnel, plain http request by request.
  const join = (name: string, near: Socket, begin: (far: Socket) => void): void => {
    const [host, port] = (names[name] ?? "").split(":");
    if (host === undefined || port === undefined) {
      near.end("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n");
      return;
    }
    const far = connect(Number(port), host, () => begin(far));
    for (const end of [near, far]) sockets.add(end.on("error", () => end.destroy()));
    near.pipe(far).pipe(near);
  };
  world.on("connect", (request, socket: Socket) =>
    join(request.url ?? "", socket, () => socket.write("HTTP/1.1 200 OK\r\n\r\n")),
  );
  world.on("request", (request, response) => {
    const url = new URL(request.url ?? "", "http://nowhere.test");
    const [host, port] = (names[`${url.hostname}:${url.port || "80"}`] ?? "").split(":");
    if (host === undefined || port === undefined) return response.writeHead(502).end();
    const path = `${url.pathname}${url.search}`;
    const { method, headers } = request;
    const onward = forward({ host, port, method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode as number, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    return request.pipe(onward);
  });
  await new Promise<void>((resolve) => world.listen(0, "127.0.0.1", resolve));
  servers.push({ server: world, sockets });
  return (world.address() as AddressInfo).port;
}

async function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => resolve(true));
    socket.on("error", () => resolve(false)).on("connect", () => socket.destroy());
  });
}
