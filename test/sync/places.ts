import { mkdtemp, rm } from "node:fs/promises";
import { createServer, request as forward } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseSyncFile, RegistryClient, type SyncOptions, type SyncReport, sync } from "@stowage/registry";
import { memoryStore, serve } from "@stowage/server";
import { afterAll } from "vitest";

const closing: (() => Promise<unknown>)[] = [];

afterAll(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** A registry on this machine that keeps everything in memory, and the requests it got. */
export interface TestRegistry {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  /** `METHOD /path`, since they were last taken away. */
  readonly requests: string[];
  /** Answers requests in place of the registry with this status, where it is given one. */
  refuse: (request: string) => number | undefined;
}

/** Starts our own server behind a plain proxy that writes down what is asked. */
export async function startRegistry(): Promise<TestRegistry> {
  const server = await serve({ store: memoryStore() });
  closing.push(() => server.close());
  const registry = { host: "", requests: [] as string[], refuse: (_request: string): number | undefined => undefined };
  const proxy = createServer((request, response) => {
    const line = `${request.method} ${request.url}`;
    registry.requests.push(line);
    const status = registry.refuse(line);
    if (status !== undefined) {
      request.resume();
      response.writeHead(status, { "content-type": "application/json" }).end('{"errors":[{"code":"DENIED"}]}');
      return;
    }
    const { method, url: path, headers } = request;
    const onward = forward({ host: server.host, port: server.port, method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode as number, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  closing.push(async () => {
    proxy.closeAllConnections();
    await new Promise((resolve) => proxy.close(resolve));
  });
  registry.host = `127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  return registry;
}

/** Something that listens and counts who connects. */
export async function startGuard(): Promise<{ readonly host: string; readonly connections: () => number }> {
  let connections = 0;
  const server = createTcpServer((socket) => {
    connections++;
    socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(() => new Promise((resolve) => server.close(resolve)));
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, connections: () => connections };
}

/** A client that has no credentials of whoever runs the tests. */
export function testClient(): RegistryClient {
  const client = new RegistryClient({ credentials: false, environment: {}, tries: 1 });
  closing.push(() => client.close());
  return client;
}

/** A directory that goes away after the tests of this file. */
export async function scratch(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "stowage-sync-"));
  closing.push(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** Syncs as a file in `directory` says whose items are these lines. */
export async function syncAs(
  directory: string,
  lines: readonly string[],
  options: SyncOptions = {},
): Promise<SyncReport> {
  const text = ["version: 1", "sync:", ...lines.map((line) => `  ${line}`)].join("\n");
  return sync(await parseSyncFile(text, join(directory, "sync.yaml")), { client: testClient(), ...options });
}

/** What became of the images: `created SOURCE -> TARGET`, or the code of the error; with `HOST` for each registry and without the directory. */
export function outcomes({ images }: SyncReport, ...names: readonly string[]): string[] {
  const short = (text: string): string => names.reduce((rest, name) => rest.replaceAll(name, ""), text);
  return images.map(({ change, error, source, target }) => {
    const word = error === undefined ? change : (error as { code?: string }).code;
    return `${word} ${short(source)} -> ${short(target)}`;
  });
}
