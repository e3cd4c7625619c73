import { mkdir, writeFile } from "node:fs/promises";
import { createServer, request as forward, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll } from "vitest";
import { findTool, launch, run, scratch } from "./peers.js";

/** A registry program of somebody else, listening on 127.0.0.1 until the tests of this file are done. */
export interface PeerRegistry {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  /** The program. */
  readonly program: string;
  /** Where it runs and keeps what it has. */
  readonly directory: string;
}

/** The certificates of a registry that speaks TLS, as files. */
export interface RegistryTls {
  readonly certFile: string;
  readonly keyFile: string;
  /** The authority whose clients it lets in, and nobody else. */
  readonly clientCaFile?: string;
}

/** Docker's own registry 2.8, which has no referrers API. With an account it lets nobody else in. */
export async function startDockerRegistry(
  account?: { name: string; password: string },
  tls?: RegistryTls,
): Promise<PeerRegistry> {
  return start("docker-registry", async (directory, port) => {
    const config = [
      "version: 0.1",
      "log: {level: error}",
      `storage: {filesystem: {rootdirectory: ${directory}/data}, delete: {enabled: true}}`,
      `http: {addr: 127.0.0.1:${port}${tls === undefined ? "" : `, tls: ${tlsConfig(tls)}`}}`,
    ];
    if (account !== undefined) {
      const entry = await run("htpasswd", ["-Bin", account.name], { input: account.password });
      await writeFile(join(directory, "htpasswd"), entry);
      config.push(`auth: {htpasswd: {realm: test, path: ${directory}/htpasswd}}`);
    }
    await writeFile(join(directory, "config.yml"), config.join("\n"));
    return ["serve", "config.yml"];
  });
}

function tlsConfig({ certFile, keyFile, clientCaFile }: RegistryTls): string {
  return JSON.stringify({
    certificate: certFile,
    key: keyFile,
    ...(clientCaFile === undefined ? {} : { clientcas: [clientCaFile] }),
  });
}

/** olareg, which has the referrers API. */
export async function startOlareg(): Promise<PeerRegistry> {
  return start("olareg", async (directory, port) => {
    await mkdir(join(directory, "data"));
    const place = ["--addr", "127.0.0.1", "--port", String(port), "--dir", join(directory, "data")];
    return ["serve", ...place, "--api-delete", "--api-blob-delete"];
  });
}

/** The zot there is: a zot 2, or else one so old that its referrers API is a draft. */
export const zot = findTool("zot") === undefined ? "zot-1.4.3" : "zot";

/** Starts {@link zot}. */
export async function startZot(): Promise<PeerRegistry> {
  return start(zot, async (directory, port) => {
    const config = {
      distSpecVersion: zot === "zot" ? "1.1.1" : "1.0.1-dev",
      storage: { rootDirectory: join(directory, "data"), gc: true, dedupe: false },
      http: { address: "127.0.0.1", port: String(port) },
      log: { level: "error" },
    };
    await writeFile(join(directory, "zot.json"), JSON.stringify(config));
    return ["serve", "zot.json"];
  });
}

async function start(
  program: string,
  prepare: (directory: string, port: number) => Promise<readonly string[]>,
): Promise<PeerRegistry> {
  // The port was free a moment ago; where somebody was faster, another one is tried.
  for (let trial = 1; ; trial++) {
    const directory = await scratch();
    const port = await freePort();
    const child = await launch(program, await prepare(directory, port), directory);
    for (let count = 0; count < 400 && child.exitCode === null && child.signalCode === null; count++) {
      if (await answers(port)) return { host: `127.0.0.1:${port}`, program, directory };
      await sleep(50);
    }
    if (trial === 3) throw new Error(`${program} did not start to listen on 127.0.0.1:${port}`);
  }
}

async function answers(port: number): Promise<boolean> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/v2/`, { signal: AbortSignal.timeout(2_000) });
    await response.arrayBuffer();
    // One that speaks TLS answers 400 to plain http.
    return [200, 400, 401].includes(response.status);
  } catch {
    return false;
  }
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A second address of a registry, where the requests that reach it are written down. */
export interface WatchedRegistry extends PeerRegistry {
  /** `METHOD path`, in order. */
  readonly requests: readonly string[];
  /** The Range of each request that has one. */
  readonly ranges: readonly string[];
}

/** Passes everything on to the registry, both ways, unchanged. */
export async function watch(registry: PeerRegistry): Promise<WatchedRegistry> {
  const requests: string[] = [];
  const ranges: string[] = [];
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    if (request.headers.range !== undefined) ranges.push(request.headers.range);
    const [host, port] = registry.host.split(":");
    const { method, url: path, headers } = request;
    const onward = forward({ host, port, method, path, headers }, (answer: IncomingMessage) => {
      response.writeHead(answer.statusCode as number, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { ...registry, host: `127.0.0.1:${(server.address() as AddressInfo).port}`, requests, ranges };
}

const closing: (() => void)[] = [];
afterAll(() => {
  for (const close of closing.splice(0)) close();
});
