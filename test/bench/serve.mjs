// How much a registry gives and takes: blobs of 64 MiB for 8 clients at once, and manifests, one after the other for each of 8.
//   pnpm bench serve, or node test/bench/serve.mjs [--runs N] [--blobs N] [--manifests N]
// Each registry has the same content in files and is asked by the same sockets, which read and forget.
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { bench, benchOptions, findTool, inTurn, row } from "./measure.js";
import { startDockerRegistry, startOlareg, startStowage, startZot } from "./registries.js";

const CLIENTS = 8;
const SIZE = 64 * 1024 * 1024;
const options = benchOptions({
  blobs: { type: "string", default: "2" },
  manifests: { type: "string", default: "2000" },
});

const sha256 = (bytes) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
const type = "application/vnd.oci.image.manifest.v1+json";

/** A connection that sends one request after the other, and counts the bytes of each answer instead of keeping them. */
class Client {
  #socket;
  #head = "";
  #left = -1;
  #resolve;
  #reject;
  #accepted;

  constructor(host) {
    const [address, port] = host.split(":");
    this.#socket = connect({
      host: address,
      port: Number(port),
      noDelay: true,
      onread: { buffer: Buffer.allocUnsafeSlow(1024 * 1024), callback: (count, buffer) => this.#take(count, buffer) },
    });
    this.#socket.on("error", (error) => this.#reject?.(error));
    this.#socket.on("close", () => this.#reject?.(new Error(`${host} has closed the connection`)));
  }

  /** Resolves when all of the answer is there. Fails where its status is another one. */
  ask(accepted, head, body) {
    return new Promise((resolve, reject) => {
      [this.#resolve, this.#reject, this.#accepted] = [resolve, reject, accepted];
      this.#socket.write(`${head}\r\n\r\n`);
      if (body !== undefined) this.#socket.write(body);
    });
  }

  end() {
    this.#reject = undefined;
    this.#socket.destroy();
  }

  #take(count, buffer) {
    let at = 0;
    if (this.#left < 0) {
      const text = buffer.toString("latin1", 0, count);
      const end = (this.#head + text).indexOf("\r\n\r\n");
      if (end < 0) {
        this.#head += text;
        return true;
      }
      const whole = (this.#head + text).slice(0, end);
      at = end + 4 - this.#head.length;
      this.#head = "";
      this.#left = Number(/^content-length: *(\d+)/im.exec(whole)?.[1] ?? 0);
      if (!whole.startsWith(`HTTP/1.1 ${this.#accepted} `)) this.#reject(new Error(whole));
    }
    this.#left -= count - at;
    if (this.#left === 0) {
      this.#left = -1;
      this.#resolve();
    }
    return true;
  }
}

/** What `work` takes with all clients at once: `{ ms, cpu, memory }`; of the server its processor time in ms, and its largest resident set in MB. */
async function measured({ host, pid }, work) {
  const clients = Array.from({ length: CLIENTS }, () => new Client(host));
  const before = processorTimeOf(pid);
  const start = performance.now();
  try {
    await Promise.all(clients.map((client, at) => work(client, at)));
    return { ms: performance.now() - start, cpu: processorTimeOf(pid) - before, memory: memoryOf(pid) };
  } finally {
    for (const client of clients) client.end();
  }
}

/** In ms, where the system tells: it counts in hundredths of a second. proc_pid_stat(5), `utime` and `stime`. */
function processorTimeOf(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1).split(" ");
    return (Number(fields[11]) + Number(fields[12])) * 10;
  } catch {
    return Number.NaN;
  }
}

function memoryOf(pid) {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1024;
  } catch {
    return undefined;
  }
}

const get = (host, path) => `GET /v2/${path} HTTP/1.1\r\nHost: ${host}\r\nAccept: ${type}`;

async function push(host, path, bytes) {
  const opened = await fetch(`http://${host}/v2/${path}/blobs/uploads/`, { method: "POST" });
  const location = new URL(opened.headers.get("location"), `http://${host}`);
  location.searchParams.set("digest", sha256(bytes));
  const headers = { "Content-Type": "application/octet-stream" };
  const { status } = await fetch(location, { method: "PUT", body: bytes, headers });
  if (status !== 201) throw new Error(`${host} answers ${status} to a blob`);
}

/** Fills a registry with the large blobs and an image of one small layer. */
async function fill(host, blobs) {
  for (const blob of blobs) await push(host, "team/large", blob);
  const [config, layer] = [Buffer.from('{"architecture":"amd64","os":"linux"}'), Buffer.from("layer")];
  for (const blob of [config, layer]) await push(host, "team/app", blob);
  const descriptor = (bytes, mediaType) => ({ mediaType, digest: sha256(bytes), size: bytes.length });
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: type,
    config: descriptor(config, "application/vnd.oci.image.config.v1+json"),
    layers: [descriptor(layer, "application/vnd.oci.image.layer.v1.tar")],
  });
  const headers = { "Content-Type": type };
  await fetch(`http://${host}/v2/team/app/manifests/v1`, { method: "PUT", body: manifest, headers });
  return sha256(manifest);
}

await bench(options, async function* () {
  const starts = {
    stowage: startStowage,
    "docker-registry": findTool("docker-registry") && startDockerRegistry,
    olareg: findTool("olareg") && startOlareg,
    zot: (findTool("zot") ?? findTool("zot-1.4.3")) && startZot,
  };
  const blobs = Array.from({ length: CLIENTS }, () => randomBytes(SIZE));
  const digests = blobs.map(sha256);
  const servers = {};
  let manifest = "";
  for (const [name, start] of Object.entries(starts)) {
    if (start === undefined) process.stderr.write(`left out: ${name} is not installed\n`);
    else {
      servers[name] = await start();
      manifest = await fill(servers[name].host, blobs);
    }
  }
  const forAll = (work) =>
    inTurn(
      Object.fromEntries(
        Object.entries(servers).map(([name, server]) => [
          name,
          (turn) => measured(server, (client, at) => work(client, at, server.host, turn)),
        ]),
      ),
      options.runs,
    );
  const count = Number(options.blobs);
  const megabytes = (CLIENTS * count * SIZE) / 1e6;
  const pulled = await forAll(async (client, at, host) => {
    for (let round = 0; round < count; round++)
      await client.ask(200, get(host, `team/large/blobs/${digests[(at + round) % CLIENTS]}`));
  });
  yield row(`pull of ${megabytes.toFixed(0)} MB in blobs of 64 MiB by 8 clients`, pulled, {
    target: 1,
    against: ["olareg", "docker-registry"],
    why: "The server takes 580 ms of processor time where olareg takes 220: Node cannot have the kernel send a file, so each byte is read into memory and written out again.",
  });
  const requests = Number(options.manifests);
  for (const [how, reference] of Object.entries({ tag: "v1", digest: manifest })) {
    const got = await forAll(async (client, _at, host) => {
      for (let round = 0; round < requests; round++)
        await client.ask(200, get(host, `team/app/manifests/${reference}`));
    });
    const rate = ((CLIENTS * requests) / got.stowage.ms) * 1000;
    const note = `${rate.toFixed(0)} a second`;
    yield row(`${CLIENTS * requests} GETs of a manifest by ${how}, by 8 clients`, got, {
      target: 2,
      note,
      why: "Half of it is Node's HTTP, a tenth the look whether the files are still those that were verified.",
    });
  }
  const pushed = await forAll(async (client, at, host, turn) => {
    // Each time it is another blob: what is there already is not written again.
    const bytes = Buffer.from(blobs[at]);
    bytes.writeUInt32LE(turn + 1, 0);
    const digest = sha256(bytes);
    const opened = await fetch(`http://${host}/v2/team/pushed/blobs/uploads/`, { method: "POST" });
    const location = new URL(opened.headers.get("location"), `http://${host}`);
    location.searchParams.set("digest", digest);
    const head = `PUT ${location.pathname}${location.search} HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/octet-stream\r\nContent-Length: ${bytes.length}`;
    await client.ask(201, head, bytes);
  });
  yield row(`push of ${((CLIENTS * SIZE) / 1e6).toFixed(0)} MB in blobs of 64 MiB by 8 clients`, pushed);
});
