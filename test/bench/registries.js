// Registries for the benchmarks, each a process of its own on 127.0.0.1, and the links that lead to them.
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { findTool, launch, scratch } from "./measure.js";

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

/** Docker's own registry. */
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
  launch(findTool("docker-registry"), ["serve", config]);
  return whenUp(host);
}

/** olareg, which has the referrers API. */
export async function startOlareg() {
  const port = await freePort();
  const directory = join(scratch(), "data");
  mkdirSync(directory);
  launch(findTool("olareg"), ["serve", "--addr", "127.0.0.1", "--port", String(port), "--dir", directory]);
  return whenUp(`127.0.0.1:${port}`);
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
