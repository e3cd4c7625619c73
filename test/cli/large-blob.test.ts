import { spawn } from "node:child_process";
import { createHash, type Hash } from "node:crypto";
import { once } from "node:events";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { rename, truncate, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import {
  contentOf,
  type Digest,
  digestOf,
  emptyBytes,
  emptyDescriptor,
  encodeJson,
  Layout,
  mediaTypes,
  parseDigest,
} from "@stowage/layout";
import { afterAll, beforeAll, expect, it } from "vitest";
import { stowageJson, temporaryDirectory } from "./stowage.js";

const command = fileURLToPath(new URL("../../packages/cli/bin/stowage.js", import.meta.url));

/** Seventeen times the heap that the processes get. */
const SIZE = 1088 * 1024 * 1024;
const HEAP = 64;
/** What a process may take at its peak, its buffers and Node itself included, in bytes. */
const MAXIMUM_MEMORY = 150 * 1024 * 1024;

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let cwd: string;
let registry: Server;
let host: string;
/** The SHA-256 of each blob that was pushed, as it arrived. */
const arrived: string[] = [];
let digest: Digest;
let inParts: Digest;
let notes: string;
let env: Record<string, string>;

beforeAll(async () => {
  directory = await temporaryDirectory();
  cwd = directory.path;
  notes = join(cwd, "memory.txt");
  const hook = join(cwd, "note-memory.mjs");
  await writeFile(
    hook,
    `import { appendFileSync } from "node:fs";
process.on("exit", () => appendFileSync(${JSON.stringify(notes)}, process.resourceUsage().maxRSS * 1024 + "\\n"));
`,
  );
  env = { NODE_OPTIONS: `--max-old-space-size=${HEAP} --import=${pathToFileURL(hook).href}` };
  const layout = await Layout.create(join(cwd, "large"));
  digest = await addImage(layout, "v1", SIZE);
  inParts = await addImage(layout, "v2", SIZE / 4);
  registry = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => registry.listen(0, "127.0.0.1", resolve));
  host = `127.0.0.1:${(registry.address() as AddressInfo).port}`;
}, 120_000);

afterAll(async () => {
  registry?.closeAllConnections();
  registry?.close();
  await directory.remove();
});

const zeros = Buffer.alloc(1024 * 1024);
const manifests = new Map<string, Buffer>();
const uploads = new Map<string, { readonly hash: Hash; size: number }>();

/** What the processes took at their peaks, in bytes, since this was asked last. */
function peaks(): readonly number[] {
  const found = readFileSync(notes, "utf8").trim().split("\n").map(Number);
  writeFileSync(notes, "");
  console.log(`peak memory: ${found.map((bytes) => `${Math.round(bytes / 2 ** 20)} MiB`).join(", ")}`);
  return found;
}

/** A registry that hashes blobs instead of keeping them, and sends back as many zeros as it was sent. */
async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? "", "http://registry.invalid");
  const [, name = "", kind = "", rest = ""] = /^\/v2\/(\w+)\/(blobs|manifests)\/(.*)$/.exec(url.pathname) ?? [];
  const { method } = request;
  if (kind === "manifests" && method === "PUT") {
    const bytes = Buffer.concat(await request.toArray());
    for (const key of [rest, digestOf(bytes)]) manifests.set(`${name} ${key}`, bytes);
    response.writeHead(201).end();
  } else if (kind === "manifests") {
    const bytes = manifests.get(`${name} ${rest}`);
    response.writeHead(bytes === undefined ? 404 : 200, {
      "content-type": mediaTypes.manifest,
      "content-length": String(bytes?.byteLength ?? 0),
    });
    response.end(method === "HEAD" ? undefined : bytes);
  } else if (method === "POST") {
    const id = String(uploads.size);
    uploads.set(id, { hash: createHash("sha256"), size: 0 });
    response.writeHead(202, { location: `/v2/${name}/blobs/uploads/${id}` }).end();
  } else if (method === "PUT" || method === "PATCH") {
    const upload = uploads.get(rest.slice("uploads/".length)) as { readonly hash: Hash; size: number };
    for await (const chunk of request as AsyncIterable<Buffer>) {
      upload.hash.update(chunk);
      upload.size += chunk.byteLength;
    }
    if (method === "PUT") arrived.push(`sha256:${upload.hash.digest("hex")}`);
    const headers = { location: url.pathname, range: `0-${upload.size - 1}` };
    response.writeHead(method === "PUT" ? 201 : 202, headers).end();
  } else if (method === "GET" && rest === digest) {
    response.writeHead(200, { "content-length": String(SIZE) });
    await pipeline(
      Readable.from(
        (function* () {
          for (let at = 0; at < SIZE; at += zeros.byteLength) yield zeros;
        })(),
        { objectMode: false, highWaterMark: zeros.byteLength },
      ),
      response,
    );
  } else if (method === "GET" && kind === "blobs") response.end("{}");
  else response.writeHead(404).end();
}

/** Adds an image whose layer is a hole in a file, so that it takes no room. Returns the digest of the layer. */
async function addImage(layout: Layout, tag: string, size: number): Promise<Digest> {
  const hole = join(layout.path, "hole");
  await writeFile(hole, "");
  await truncate(hole, size);
  const hash = createHash("sha256");
  for (let at = 0; at < size; at += zeros.byteLength) hash.update(zeros);
  const layer = parseDigest(`sha256:${hash.digest("hex")}`);
  await rename(hole, layout.blobPath(layer));
  await layout.push(contentOf(emptyBytes, emptyDescriptor));
  const manifest = await layout.write(
    [
      encodeJson({
        schemaVersion: 2,
        mediaType: mediaTypes.manifest,
        artifactType: "application/example",
        config: emptyDescriptor,
        layers: [{ mediaType: mediaTypes.layer, digest: layer, size }],
      }),
    ],
    mediaTypes.manifest,
  );
  await layout.tag(tag, manifest);
  return layer;
}

it("a blob seventeen times as large as the heap is pushed whole and in chunks, and pulled, in processes of less than 150 MiB", async () => {
  const to = (name: string): string => `${host}/${name}:v1`;
  const push = ["push", "oci:large:v1"];
  const reports = [
    await stowageJson<{ bytes: number }>([...push, to("whole")], { cwd, env }),
    await stowageJson<{ bytes: number }>([...push, to("chunks"), "--upload", "chunked"], { cwd, env }),
    await stowageJson<{ bytes: number }>(["pull", to("whole"), "oci:back:v1"], { cwd, env }),
  ];
  for (const { bytes } of reports) expect(bytes).toBeGreaterThan(SIZE);
  const taken = peaks();
  expect(taken).toHaveLength(3);
  expect(taken.filter((bytes) => bytes >= MAXIMUM_MEMORY)).toEqual([]);
  expect(arrived.filter((one) => one === digest)).toHaveLength(2);
  await expect((await Layout.open(join(cwd, "back"))).size(digest)).resolves.toBe(SIZE);
}, 240_000);

it("one four times as large as the heap goes through a pipe as an archive, and into a layout", async () => {
  const script = '"$0" "$1" export oci:large:v2 - | "$0" "$1" import - oci:piped:v2 --quiet';
  const child = spawn("sh", ["-c", script, process.execPath, command], {
    cwd,
    env: { ...process.env, ...env },
    stdio: ["ignore", "ignore", "inherit"],
  });
  expect((await once(child, "close"))[0]).toBe(0);
  const taken = peaks();
  expect(taken).toHaveLength(2);
  expect(taken.filter((bytes) => bytes >= MAXIMUM_MEMORY)).toEqual([]);
  await expect((await Layout.open(join(cwd, "piped"))).size(inParts)).resolves.toBe(SIZE / 4);
}, 240_000);

it("one four times as large as the heap is written into parts that are smaller than it, and read from them", async () => {
  const parts = ["export", "oci:large:v2", "parts.tar", "--max-part", "150MB"];
  const { parts: written } = await stowageJson<{ parts: { path: string }[] }>(parts, { cwd, env });
  expect(written.map(({ path }) => path)).toEqual(["parts.part-1-of-2.tar", "parts.part-2-of-2.tar"]);
  for (const { path } of written) expect(statSync(join(cwd, path)).size).toBeLessThanOrEqual(150e6);
  await stowageJson(["import", "parts.part-1-of-2.tar", "oci:whole"], { cwd, env });
  const taken = peaks();
  expect(taken).toHaveLength(2);
  expect(taken.filter((bytes) => bytes >= MAXIMUM_MEMORY)).toEqual([]);
  await expect((await Layout.open(join(cwd, "whole"))).size(inParts)).resolves.toBe(SIZE / 4);
}, 240_000);
