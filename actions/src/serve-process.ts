// The program that `serve` leaves running until the job ends: `serve-process.mjs FOLDER OPTIONS`.
import { appendFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isOciError, parseLocation } from "@stowage/layout";
import { openSource, RegistryClient, userAgent } from "@stowage/registry";
import { memoryStore, openStore, proxyStore, type Store, serve, type Upstream } from "@stowage/server";
import type { Message, ServerOptions } from "./server-process.js";
import { version } from "./version.js";

const [folder = ".", text = "{}"] = process.argv.slice(2);
const options = JSON.parse(text) as ServerOptions;
const running = join(folder, "running");

const tell = (message: Message): void => {
  process.send?.(message);
};

try {
  const server = await serve({
    store: await storeOf(options),
    host: options.host,
    port: options.port,
    readonly: options.readonly || options.proxy !== undefined,
    onRequest: ({ method, path, status, sent, received }) =>
      log(JSON.stringify({ method, path, status, sent, received })),
    onError: (error, request) => log(`${request}: ${error instanceof Error ? error.message : String(error)}`),
  });
  writeFileSync(running, String(process.pid));
  const stop = async (): Promise<void> => {
    await server.close();
    rmSync(running, { force: true });
    process.exit(0);
  };
  process.once("SIGTERM", stop).once("SIGINT", stop);
  tell({ url: server.url });
} catch (error) {
  const known = isOciError(error) ? error : undefined;
  tell({ code: known?.code, message: error instanceof Error ? error.message : String(error), hint: known?.hint });
}

function log(line: string): void {
  appendFileSync(join(folder, "log"), `${line.replace(/[\r\n]+/g, " ")}\n`);
}

async function storeOf({ directory, proxy }: ServerOptions): Promise<Store> {
  const store = directory === undefined ? memoryStore() : await openStore(directory);
  return proxy === undefined ? store : proxyStore(store, upstreamOf(proxy));
}

/** The repositories of `HOST[/PREFIX]`, each opened when it is first asked for. */
function upstreamOf(proxy: string): Upstream {
  const { plainHttp, caFile, insecure, trustedRealms } = options;
  const client = new RegistryClient({
    plainHttp,
    caFile,
    insecure,
    trustedRealms,
    userAgent: userAgent(version, {}),
    headers: { "user-agent": userAgent(version, process.env) },
  });
  return async (name) => (await openSource(parseLocation(`docker://${proxy}/${name}`), { client })).source;
}
