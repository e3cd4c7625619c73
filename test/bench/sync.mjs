// How long it takes to sync many small images from one registry to another, first and again, beside regsync.
//   node test/bench/sync.mjs [IMAGES] [RUNS] [DELAY]
// DELAY is how long what is sent takes to the registry, in ms: on this machine it is otherwise next to nothing.
// Needs docker-registry, and regsync for the comparison: .ci/install-peers brings both.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { copy, descriptorOf, encodeJson, MemoryStore } from "@stowage/layout";
import { RegistryClient } from "@stowage/registry";

const images = Number(process.argv[2] ?? 200);
const runs = Number(process.argv[3] ?? 3);
const delay = Number(process.argv[4] ?? 0);
const stowage = fileURLToPath(new URL("../../packages/cli/bin/stowage.js", import.meta.url));
const regsync = [process.env.STOWAGE_PEERS ?? join(homedir(), ".cache", "stowage-peers"), "/usr/local/bin", "/usr/bin"]
  .map((directory) => join(directory, "regsync"))
  .find((path) => existsSync(path));
const directory = await mkdtemp(join(tmpdir(), "stowage-bench-"));
const children = [];

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Another port that leads to this one, with the delay on the way there. */
async function farther(port) {
  const server = createServer((near) => {
    const far = connect(port, "127.0.0.1").setNoDelay();
    near.setNoDelay().on("data", (chunk) => setTimeout(() => far.write(chunk), delay));
    far.on("data", (chunk) => near.write(chunk));
    near.on("close", () => far.destroy()).on("error", () => {});
    far.on("close", () => near.destroy()).on("error", () => {});
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  server.unref();
  return server.address().port;
}

async function startRegistry(name) {
  const port = await freePort();
  const config = join(directory, `${name}.yml`);
  const storage = `storage: {filesystem: {rootdirectory: ${join(directory, name)}}}`;
  await writeFile(
    config,
    `version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n${storage}\nhttp: {addr: 127.0.0.1:${port}}\n`,
  );
  children.push(spawn("docker-registry", ["serve", config], { stdio: "ignore" }));
  for (let tries = 0; tries < 100; tries++) {
    const up = await fetch(`http://127.0.0.1:${port}/v2/`).then(
      () => true,
      () => false,
    );
    if (up) return `127.0.0.1:${delay > 0 ? await farther(port) : port}`;
    await sleep(50);
  }
  throw new Error("docker-registry did not start");
}

/** Ten tags in each repository; each image has a layer of its own and one that all share. */
async function fill(host) {
  const client = new RegistryClient({ credentials: false });
  const store = new MemoryStore();
  const put = async (bytes, mediaType) => {
    const descriptor = descriptorOf(bytes, mediaType);
    await store.push({ descriptor, open: () => [bytes] });
    return descriptor;
  };
  const shared = await put(new Uint8Array(20_000).fill(7), "application/vnd.oci.image.layer.v1.tar");
  const names = [];
  for (let at = 0; at < images; at++) {
    const config = await put(
      encodeJson({ architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: [] }, at }),
      "application/vnd.oci.image.config.v1+json",
    );
    const layer = await put(new TextEncoder().encode(`${at} `.repeat(1000)), "application/vnd.oci.image.layer.v1.tar");
    const mediaType = "application/vnd.oci.image.manifest.v1+json";
    const root = await put(encodeJson({ schemaVersion: 2, mediaType, config, layers: [shared, layer] }), mediaType);
    const name = { repository: `team/app-${Math.floor(at / 10)}`, tag: `v${at % 10}` };
    await copy(store, client.repository(`${host}/${name.repository}`), root, { tags: [name.tag] });
    names.push(name);
  }
  await client.close();
  return names;
}

function timed(command, args) {
  const start = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: directory,
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, HOME: directory, DOCKER_CONFIG: directory },
    });
    let text = "";
    child.stderr.on("data", (chunk) => (text += chunk));
    child
      .once("error", reject)
      .once("close", (code) =>
        code === 0
          ? resolve(performance.now() - start)
          : reject(new Error(`${command} ended with ${code}: ${text.slice(-2000)}`)),
      );
  });
}

const median = (times) => [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)];

/** Runs a tool `runs` times into a place of its own each, and once more into the same. */
async function measure(title, sourceHost, names, command, argsFor) {
  const [first, again] = [[], []];
  for (let run = 0; run < runs; run++) {
    const target = await startRegistry(`${title.replace(/\W+/g, "-")}-${run}`);
    const args = await argsFor(sourceHost, target, names, run);
    first.push(await timed(command, args));
    again.push(await timed(command, args));
    children.pop().kill("SIGKILL");
  }
  console.log(
    `${title.padEnd(34)} first ${(median(first) / 1000).toFixed(2)} s, again ${(median(again) / 1000).toFixed(2)} s`,
  );
}

const byStowage = (extra) => async (source, target, names, run) => {
  const file = join(directory, `sync-${run}.yaml`);
  const items = names.map(
    ({ repository, tag }) =>
      `  - { source: "${source}/${repository}:${tag}", target: "${target}/${repository}:${tag}" }`,
  );
  await writeFile(file, `version: 1\n${extra}sync:\n${items.join("\n")}\n`);
  return [stowage, "sync", file, "-q"];
};

const byRegsync = (extra) => async (source, target, names, run) => {
  const file = join(directory, `regsync-${run}.yaml`);
  const items = names.map(
    ({ repository, tag }) =>
      `  - { source: "${source}/${repository}:${tag}", target: "${target}/${repository}:${tag}", type: image }`,
  );
  const hosts = [source, target].map((host) => `  - { registry: "${host}", tls: disabled }`).join("\n");
  await writeFile(file, `version: 1\ncreds:\n${hosts}\n${extra}sync:\n${items.join("\n")}\n`);
  return ["once", "-c", file, "-v", "error"];
};

try {
  await mkdir(directory, { recursive: true });
  const source = await startRegistry("source");
  const names = await fill(source);
  console.log(`${images} images, median of ${runs}`);
  await measure("stowage", source, names, process.execPath, byStowage(""));
  await measure(
    "stowage, referrers none",
    source,
    names,
    process.execPath,
    byStowage("defaults: { referrers: none }\n"),
  );
  await measure("stowage, fast", source, names, process.execPath, byStowage("defaults: { fast: true }\n"));
  if (regsync === undefined) console.log("regsync is not installed (.ci/install-peers does it)");
  else {
    await measure("regsync, as it comes", source, names, regsync, byRegsync(""));
    await measure("regsync, parallel 8", source, names, regsync, byRegsync("defaults: { parallel: 8 }\n"));
    await measure(
      "regsync, parallel 8, referrers",
      source,
      names,
      regsync,
      byRegsync("defaults: { parallel: 8, referrers: true }\n"),
    );
  }
} finally {
  for (const child of children) child.kill("SIGKILL");
  await rm(directory, { recursive: true, force: true });
}
