// Registries for the benchmarks, each a process of its own on 127.0.0.1, and the links that lead to them.
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { findTool, launch, scratch, stowage } from "./measure.js";

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function whenUp(host) {
  for (let tries = 0; tries < 200; tries++) {
    const up = await fetch(`http://${host}/v2/`).then(
      () => true,
      () => false,
    );
    if (up) return host;
    await sleep(50);
  }
  throw new Error(`nothing answers at ${host}`);
}

/** Docker's own registry: `{ host, pid }`. */
export async function startDockerRegistry() {
  const directory = scratch();
  const host = `127.0.0.1:${await freePort()}`;
  const config = join(directory, "config.yml");
  writeFileSync(
    config,
    `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: ${join(directory, "data")}}, delete: {enabled: true}}
http: {addr: "${host}"}
`,
  );
  const { pid } = launch(findTool("docker-registry"), ["serve", config]);
  return { host: await whenUp(host), pid };
}

/** olareg, which has the referrers API: `{ host, pid }`. */
export async function startOlareg() {
  const port = await freePort();
  const directory = join(scratch(), "data");
  mkdirSync(directory);
  const place = ["--addr", "127.0.0.1", "--port", String(port), "--dir", directory];
  const { pid } = launch(findTool("olareg"), ["serve", ...place]);
  return { host: await whenUp(`127.0.0.1:${port}`), pid };
}

/** `stowage serve` with a directory of layouts: `{ host, pid }`. */
export async function startStowage() {
  const host = `127.0.0.1:${await freePort()}`;
  const [program, ...args] = stowage;
  const { pid } = launch(program, [...args, "serve", join(scratch(), "data"), "--listen", host]);
  return { host: await whenUp(host), pid };
}

/** zot: `{ host, pid }`. Where there is no zot 2, an old one. */
export async function startZot() {
  const [address, port] = ["127.0.0.1", String(await freePort())];
  const directory = scratch();
  const found = findTool("zot");
  const config = {
    distSpecVersion: found === undefined ? "1.0.1-dev" : "1.1.1",
    storage: { rootDirectory: join(directory, "data"), dedupe: false },
    http: { address, port },
    log: { level: "error" },
  };
  writeFileSync(join(directory, "zot.json"), JSON.stringify(config));
  const { pid } = launch(found ?? findTool("zot-1.4.3"), ["serve", join(directory, "zot.json")], { cwd: directory });
  return { host: await whenUp(`${address}:${port}`), pid };
}

/**
 * A link to `host` on which everything takes `delay` ms to arrive, either way: `{ host, requests() }`. A connection that is made
 * waits for as long as its first answer would, for its handshake. `requests` tells how many were sent through it since it was last asked.
 */
export async function link(host, delay = 0) {
  const program = fileURLToPath(new URL("link.mjs", import.meta.url));
  const child = launch(process.execPath, [program, host, String(delay)], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = [];
  let waiting;
  let rest = "";
  child.stdout.setEncoding("utf8").on("data", (text) => {
    rest += text;
    for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
      lines.push(rest.slice(0, end));
      rest = rest.slice(end + 1);
    }
    waiting?.();
  });
  const line = async () => {
    while (lines.length === 0)
      await new Promise((resolve) => {
        waiting = resolve;
      });
    return lines.shift();
  };
  return {
    host: `127.0.0.1:${await line()}`,
    async requests() {
      child.stdin.write("\n");
      return Number(await line());
    },
  };
}

/** A place for layouts that goes away at the end. */
export function place(name) {
  return mkdtempSync(join(scratch(), name));
}
